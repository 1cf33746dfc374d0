//! How a page was asked for, and what it costs: the way of a handler to the store and to its answer.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use chrono::{DateTime, SecondsFormat, Utc};
use gristmill_core::access::{Principal, Subject};
use gristmill_store::StoreError;
use maud::{Markup, PreEscaped};

use super::answer::{Page, tag};
use super::flash::{self, Flash};
use super::preferences::{Theme, theme};
use super::shell::{self, Frame};
use super::tenancy;
use crate::gate::costs::PageRoute;
use crate::gate::describe::{Argument, Endpoint};
use crate::gate::respond::tags;
use crate::gate::text::{decoded, encoded};
use crate::gate::{Api, Caller, Result};
use crate::live::Topic;

/// The header by which the script asks for the part of a page that changes.
pub const FRAGMENT: &str = "x-fragment";

/// How long a panel may take that the rest of its page does not wait for.
const PANEL: Duration = Duration::from_secs(1);

/// How a page was asked for. Its readings are counted, and its time runs.
#[derive(Debug)]
pub struct View {
    uri: Uri,
    theme: Theme,
    flash: Option<Flash>,
    known: Option<Vec<String>>,
    began: Instant,
    at: DateTime<Utc>,
    readings: AtomicU32,
    /// How long the store took for them, in microseconds.
    took: AtomicU64,
    /// Its route, by which it is counted what pages cost.
    route: Option<PageRoute>,
}

/// What a page is, before its text.
#[derive(Debug, Clone, Default)]
pub struct Head {
    title: String,
    nav: &'static str,
    topics: Vec<Topic>,
    poll: Option<u32>,
}

impl Head {
    /// A page with a title, under the entry of the navigation that has this path.
    pub fn new(title: impl Into<String>, nav: &'static str) -> Self {
        Self { title: title.into(), nav, ..Self::default() }
    }

    /// The same, renewed when one of these topics changes.
    #[must_use]
    pub fn live(self, topics: impl IntoIterator<Item = Topic>) -> Self {
        Self { topics: topics.into_iter().collect(), ..self }
    }

    /// The same, renewed every so many seconds: for what no topic tells of.
    #[must_use]
    pub fn poll(self, seconds: u32) -> Self {
        Self { poll: Some(seconds), ..self }
    }
}

impl View {
    /// Reads the head of a request.
    pub fn of(parts: &Parts) -> Self {
        let texts = parts.headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let known = parts.headers.contains_key(FRAGMENT).then(|| texts.flat_map(tags).collect());
        Self {
            uri: parts.uri.clone(),
            theme: theme(&parts.headers),
            flash: flash::of(&parts.headers),
            known,
            began: Instant::now(),
            at: Utc::now(),
            readings: AtomicU32::new(0),
            took: AtomicU64::new(0),
            route: parts.extensions.get().cloned(),
        }
    }

    /// When the page was asked for: what its times are compared with.
    pub fn now(&self) -> DateTime<Utc> {
        self.at
    }

    /// Whether only the part is wanted that changes.
    pub fn is_fragment(&self) -> bool {
        self.known.is_some()
    }

    /// The path and query that were asked for.
    pub fn address(&self) -> &str {
        self.uri.path_and_query().map_or("/", |address| address.as_str())
    }

    /// The same path with one parameter set to something else, or without it.
    pub fn with(&self, name: &str, value: Option<&str>) -> String {
        let query = decoded(self.uri.query().unwrap_or_default());
        let others = query.into_iter().filter(|(known, _)| known != name);
        let pairs = others.chain(value.map(|value| (name.to_owned(), value.to_owned())));
        let query: Vec<String> = pairs.map(|(name, value)| format!("{}={}", encoded(&name), encoded(&value))).collect();
        let path = self.uri.path();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
    }

    /// Reads something that the page cannot do without.
    ///
    /// # Errors
    ///
    /// Those of the reading.
    pub async fn read<T>(&self, reading: impl Future<Output = Result<T, StoreError>>) -> Result<T> {
        Ok(self.counted(reading).await?)
    }

    /// Reads something for a panel of its own. `None` when it cannot be read, or not within a second: the rest of the page
    /// is shown, and the panel says so.
    pub async fn panel<T>(&self, reading: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        match self.counted(tokio::time::timeout(PANEL, reading)).await {
            Ok(Ok(read)) => Some(read),
            Ok(Err(error)) => {
                tracing::warn!(page = self.uri.path(), %error, "a panel cannot be read");
                None
            }
            Err(_) => {
                tracing::warn!(page = self.uri.path(), "a panel took too long to read");
                None
            }
        }
    }

    /// A reading, whose time is counted.
    async fn counted<T>(&self, reading: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let read = reading.await;
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.took.fetch_add(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        read
    }

    /// The page, or its part: what is within `<main>`.
    pub fn page(&self, caller: &Caller, head: Head, main: Markup) -> Page {
        let topics = head.topics.into_iter().filter(|topic| caller.may(topic.permission())).collect();
        self.framed(caller.api(), Some(&caller.principal), Head { topics, ..head }, main)
    }

    /// A page for those who are not recognized, without navigation.
    pub fn bare(&self, api: &Api, title: &str, main: Markup) -> Page {
        self.framed(api, None, Head::new(title, ""), main)
    }

    /// The page of an error, for a caller if one is recognized.
    pub(super) fn error(&self, api: &Api, caller: Option<&Principal>, title: &str, main: Markup) -> Page {
        self.framed(api, caller, Head::new(title, ""), main)
    }

    fn framed(&self, api: &Api, caller: Option<&Principal>, head: Head, main: Markup) -> Page {
        let ms = self.began.elapsed().as_millis();
        let readings = self.readings.load(Ordering::Relaxed);
        if let Some(PageRoute(route)) = &self.route {
            api.costs().add(route, readings, Duration::from_micros(self.took.load(Ordering::Relaxed)));
        }
        let at = self.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let cost = format!("{readings} {ms} {at}");
        let main = match caller {
            Some(Principal { subject: Subject::User(_), tenant, .. }) => PreEscaped(tenancy::bound(&main.0, tenant)),
            _ => main,
        };
        let frame = Frame {
            settings: api.settings(),
            caller,
            theme: self.theme,
            title: &head.title,
            nav: head.nav,
            address: self.address(),
            topics: &head.topics,
            poll: head.poll,
            tag: tag(&main.0),
            flash: self.flash.as_ref(),
            readings,
            ms,
            at: self.at,
        };
        let (html, cookies) = match &self.known {
            Some(_) => (main.into_string(), Vec::new()),
            None => (shell::document(&frame, &main).into_string(), self.seen().collect()),
        };
        Page { html, status: StatusCode::OK, known: self.known.clone(), cost, cookies, secret: false }
    }

    /// Removes the message that is shown now.
    fn seen(&self) -> impl Iterator<Item = HeaderValue> {
        self.flash.iter().map(|_| flash::gone())
    }
}

impl<S: Sync> FromRequestParts<S> for View {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

impl Argument for View {
    fn describe(_: &mut Endpoint) {}
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn view(address: &str) -> View {
        let (parts, ()) = Request::builder().uri(address).body(()).expect("a request").into_parts();
        View::of(&parts)
    }

    #[test]
    fn an_address_is_changed_in_one_parameter() {
        let filtered = view("/batches?state=open&name=a%26b&after=7");
        assert_eq!(filtered.with("after", None), "/batches?state=open&name=a%26b");
        assert_eq!(filtered.with("state", Some("a b")), "/batches?name=a%26b&after=7&state=a%20b");
        assert_eq!(view("/batches?after=7").with("after", None), "/batches");
    }

    #[tokio::test]
    async fn a_panel_that_cannot_be_read_leaves_the_page_alone() {
        let view = view("/");
        assert_eq!(view.panel(async { Ok(7) }).await, Some(7));
        let away = async { Err::<u8, _>(StoreError::Unavailable("no".to_owned())) };
        assert_eq!(view.panel(away).await, None);
        assert_eq!(view.readings.load(Ordering::Relaxed), 2);
    }
}
