//! The query of a request: read and described by the same code, all faults at once.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use gristmill_core::Instant;
use gristmill_core::duration::Span;
use gristmill_core::query::{self as core_query, List, parse};
use gristmill_core::schedule::{Zone, instant};
use gristmill_store::Page;
use utoipa::PartialSchema;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};

use super::describe::{Argument, Endpoint, Parameter, plain};
use super::error::{ApiError, Fault};
use super::text::decoded;

/// The most rows of a page.
const PAGE_ROWS_MAX: u32 = 1_000;

/// What a handler reads of the query.
pub trait Parameters: Sized + Send {
    /// Reads it. Whatever it asks for is described as well.
    fn read(query: &mut Query) -> Self;
}

/// The query of a request; or, when nothing was asked for yet, the list of what is read of it.
#[derive(Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
    asked: Vec<Parameter>,
    others: bool,
}

impl Query {
    fn of(text: &str) -> Self {
        Self { pairs: decoded(text), ..Self::default() }
    }

    /// Another program may put further values into it, which are not read.
    pub fn may_have_others(&mut self) {
        self.others = true;
    }

    /// A value that may be missing.
    pub fn one<T: FromStr<Err: Display> + PartialSchema>(
        &mut self,
        name: &'static str,
        about: &'static str,
    ) -> Option<T> {
        self.asked.push(Parameter { name, about, schema: plain::<T>(), many: false });
        let mut texts = self.pairs.iter().filter(|(known, _)| known == name).map(|(_, text)| text.clone());
        let (first, second) = (texts.next(), texts.next());
        if second.is_some() {
            self.fault(name, "is given twice; once is enough");
            return None;
        }
        first.and_then(|text| self.parse(name, &text))
    }

    /// Values: the parameter may be repeated, or hold several, separated by commas.
    pub fn many<T: FromStr<Err: Display> + PartialSchema>(
        &mut self,
        name: &'static str,
        about: &'static str,
    ) -> Vec<T> {
        self.asked.push(Parameter { name, about, schema: plain::<T>(), many: true });
        let texts: Vec<String> =
            self.pairs.iter().filter(|(known, _)| known == name).map(|(_, text)| text.clone()).collect();
        let words = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty());
        words.filter_map(|word| self.parse(name, word)).collect()
    }

    /// Whether something is wanted.
    pub fn flag(&mut self, name: &'static str, about: &'static str) -> bool {
        self.one::<bool>(name, about).unwrap_or(false)
    }

    /// Something is wrong with a parameter.
    pub fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(format!("?{name}"), message));
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, name: &'static str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(name, error.to_string());
                None
            }
        }
    }
}

/// What a handler reads of the query.
#[derive(Debug, Clone, PartialEq)]
pub struct Params<T>(pub T);

impl<T: Parameters, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut query = Query::of(parts.uri.query().unwrap_or_default());
        let read = T::read(&mut query);
        if query.faults.is_empty() { Ok(Self(read)) } else { Err(ApiError::invalid(query.faults)) }
    }
}

impl<T: Parameters> Argument for Params<T> {
    fn describe(endpoint: &mut Endpoint) {
        let mut query = Query::default();
        T::read(&mut query);
        endpoint.others |= query.others;
        endpoint.parameters.extend(query.asked);
    }
}

/// Checks that a query holds nothing that its endpoint does not read: a filter that is misspelt would select everything.
///
/// # Errors
///
/// 422 with each of them.
pub fn check_known(endpoint: &Endpoint, query: Option<&str>) -> Result<(), ApiError> {
    let unknown = |(name, _): (String, String)| {
        let known: Vec<&str> = endpoint.parameters.iter().map(|parameter| parameter.name).collect();
        let right =
            if known.is_empty() { "none is read here".to_owned() } else { format!("there are {}", known.join(", ")) };
        (!endpoint.knows(&name))
            .then(|| Fault::new(format!("?{name}"), format!("is no parameter of this address: {right}")))
    };
    let faults: Vec<Fault> = decoded(query.unwrap_or_default()).into_iter().filter_map(unknown).collect();
    if faults.is_empty() { Ok(()) } else { Err(ApiError::invalid(faults)) }
}

/// Reads `q=`, a query of a list.
pub fn asked(query: &mut Query, list: List) -> core_query::Query {
    let text: Option<String> = query.one("q", list.about());
    match text.map(|text| parse(list, &text)).transpose() {
        Ok(asked) => asked.unwrap_or_default(),
        Err(wrong) => {
            query.fault("q", wrong.to_string());
            core_query::Query::default()
        }
    }
}

/// Which part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Paging(pub Page);

impl Parameters for Paging {
    fn read(query: &mut Query) -> Self {
        let after = query.one("after", "Begin after this key: `nextCursor` of the page before");
        let limit = query.one::<u32>("limit", "How many rows, 1 to 1000; 50 unless said");
        if limit.is_some_and(|limit| !(1..=PAGE_ROWS_MAX).contains(&limit)) {
            query.fault("limit", format!("must be 1 to {PAGE_ROWS_MAX}"));
        }
        Self(Page { after, limit: limit.unwrap_or(Page::default().limit) })
    }
}

impl Paging {
    /// The key at which the next page begins, if this one is full.
    pub fn next<T>(&self, rows: &[T], key: impl Fn(&T) -> String) -> Option<String> {
        let full = rows.len() >= self.0.limit as usize;
        rows.last().filter(|_| full).map(key)
    }
}

/// How a change is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Report what would change, and change nothing.
    pub dry_run: bool,
    /// Why.
    pub reason: Option<String>,
}

/// The most characters of a reason.
const REASON_CHARS_MAX: usize = 1_000;

impl Parameters for Change {
    fn read(query: &mut Query) -> Self {
        let dry_run = query.flag("dry_run", "Say what would change, and change nothing");
        let reason = query.one::<String>("reason", "Why: whoever looks later is shown it");
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
            query.fault("reason", format!("has more than {REASON_CHARS_MAX} characters"));
        }
        Self { dry_run, reason: reason.filter(|reason| !reason.trim().is_empty()) }
    }
}

impl<A: Parameters, B: Parameters> Parameters for (A, B) {
    fn read(query: &mut Query) -> Self {
        (A::read(query), B::read(query))
    }
}

/// An instant of RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub Instant);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // chrono's own reader takes `26` for the year 26.
        let known = chrono::DateTime::parse_from_rfc3339(text).ok().and_then(|_| instant(text, Zone::UTC));
        known.map(Self).ok_or_else(|| format!("`{text}` is not an instant; write one such as 2030-01-31T08:00:00Z"))
    }
}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(SchemaType::new(Type::String));
        RefOr::T(Schema::Object(text.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).build()))
    }
}

/// A duration such as `90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub std::time::Duration);

impl FromStr for Time {
    type Err = gristmill_core::duration::BadDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        gristmill_core::duration::parse(text).map(Self)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        plain::<Span>()
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::job::JobState;

    use super::*;

    struct Wanted {
        states: Vec<JobState>,
        queue: Option<String>,
    }

    impl Parameters for Wanted {
        fn read(query: &mut Query) -> Self {
            Self { states: query.many("state", "Only in this state"), queue: query.one("queue", "Only on this queue") }
        }
    }

    fn read<T: Parameters>(text: &str) -> (T, Vec<String>) {
        let mut query = Query::of(text);
        let read = T::read(&mut query);
        (read, query.faults.into_iter().map(|fault| format!("{} {}", fault.path, fault.message)).collect())
    }

    #[test]
    fn values_may_be_repeated_or_separated_by_commas() {
        let (wanted, faults) = read::<Wanted>("state=dead&state=done,retry&queue=a%20b%2Bc+d");
        assert_eq!(wanted.states, [JobState::Dead, JobState::Done, JobState::Retry]);
        assert_eq!((wanted.queue.as_deref(), faults.len()), (Some("a b+c d"), 0));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let (_, faults) = read::<(Wanted, Paging)>("state=asleep&state=dead&queue=a&queue=b&limit=0");
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].starts_with("?state `asleep` is not one of scheduled"), "{faults:?}");
        let (_, faults) = read::<Change>("dry_run=yes");
        assert!(faults[0].starts_with("?dry_run"), "{faults:?}");
    }

    #[test]
    fn a_fault_of_a_query_says_where_it_is() {
        struct OfJobs(core_query::Query);
        impl Parameters for OfJobs {
            fn read(query: &mut Query) -> Self {
                Self(asked(query, List::Jobs))
            }
        }
        let (jobs, faults) = read::<OfJobs>("q=state:dead%20kind:a*");
        assert_eq!((jobs.0.to_string().as_str(), faults.len()), ("state:dead kind:a*", 0));
        let (_, faults) = read::<OfJobs>("q=kind:a%20sate:dead");
        assert!(faults[0].starts_with("?q at 8: `sate` is no key of jobs; did you mean `state`?"), "{faults:?}");
    }

    #[test]
    fn what_is_read_is_described_and_nothing_else_is_known() {
        let mut endpoint = Endpoint { method: "GET", ..Endpoint::default() };
        Params::<(Wanted, Paging)>::describe(&mut endpoint);
        let names: Vec<&str> = endpoint.parameters.iter().map(|parameter| parameter.name).collect();
        assert_eq!(names, ["state", "queue", "after", "limit"]);
        check_known(&endpoint, Some("state=dead&limit=5&fields=id")).expect("known");
        let error = check_known(&endpoint, Some("sate=dead&a=b")).expect_err("misspelt");
        assert_eq!((error.faults.len(), error.faults[0].path.as_str()), (2, "?sate"));
    }
}
