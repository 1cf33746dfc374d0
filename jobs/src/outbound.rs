//! HTTP requests to addresses that an enqueuer chose: guarded, bounded and never redirected.
//!
//! An enqueuer chooses its job's URL. Without a guard that would open every service that only this machine or its
//! network can reach, including the cloud's metadata. The guard resolves a name once, refuses it when any address is
//! not public, and connects to exactly the addresses that it has checked, so that a second answer of the name server
//! changes nothing.

mod address;
mod charset;
mod framing;
mod retry_after;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gristmill_core::causes::with_causes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use url::{Host, Url};

use address::is_public;

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// Made at the first request: reading the system's certificates may fail, and plain HTTP needs none.
    client: OnceLock<Result<Client, String>>,
    allow_private: bool,
    timeout: Duration,
    bytes_max: usize,
    /// The setting that opens the guard, for messages.
    key: &'static str,
}

/// What the other side answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// A wait that it asked for.
    pub(crate) retry_after: Option<Duration>,
    /// The first bytes of the body.
    pub(crate) body: Vec<u8>,
    /// Whether there was more of it.
    pub(crate) cut: bool,
    /// Its `Content-Type`, as it was sent.
    pub(crate) content_type: Option<String>,
}

impl Answer {
    /// The body as text, in the charset that the answer names.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        charset::decode(&self.body, self.content_type.as_deref())
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The URL is malformed or not allowed: no retry helps.
    NotAllowed(String),
    /// The other side did not accept the connection.
    Unreachable(String),
    /// The connection broke off, or it took too long.
    Broken(String),
}

impl NoAnswer {
    /// What went wrong, without the URL's query.
    pub(crate) fn message(self) -> String {
        match self {
            Self::NotAllowed(text) | Self::Unreachable(text) | Self::Broken(text) => text,
        }
    }
}

impl Outbound {
    /// `key` is the setting that allows private addresses.
    pub(crate) fn new(key: &'static str, allow_private: bool, timeout: Duration, bytes_max: usize) -> Self {
        Self { client: OnceLock::new(), allow_private, timeout, bytes_max, key }
    }

    /// One request and its answer, within the timeout.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, NoAnswer> {
        let url = check(url, self.key, self.allow_private).map_err(NoAnswer::NotAllowed)?;
        framing::settle(&mut headers, body.as_ref().map_or(0, Vec::len)).map_err(NoAnswer::NotAllowed)?;
        let client =
            self.client.get_or_init(|| self.build()).as_ref().map_err(|error| NoAnswer::Unreachable(error.clone()))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut request = client.request(method, url).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let exchange = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let retry_after = retry_after::read(response.headers(), chrono::Utc::now());
            let content_type = response.headers().get(CONTENT_TYPE);
            let content_type = content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            let (body, cut) = self.read(response).await?;
            Ok(Answer { status, retry_after, body, cut, content_type })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(no_answer(&host, error)),
            Err(_) => Err(NoAnswer::Broken(format!("{host} has not answered within {:?}", self.timeout))),
        }
    }

    fn build(&self) -> Result<Client, String> {
        let mut builder = builder().pool_max_idle_per_host(4);
        if !self.allow_private {
            // A proxy would connect in our place, to unchecked addresses.
            builder = builder.no_proxy().dns_resolver(Arc::new(Guard { key: self.key }));
        }
        builder.build().map_err(|error| format!("HTTP cannot be set up: {}", with_causes(&error)))
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<(Vec<u8>, bool), reqwest::Error> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            let room = self.bytes_max - body.len();
            if piece.len() > room {
                body.extend_from_slice(&piece[..room]);
                return Ok((body, true));
            }
            body.extend_from_slice(&piece);
        }
        Ok((body, false))
    }
}

/// Checks whether a URL may be called as far as its text alone shows; a name is looked up later. `key` is the setting
/// that allows private addresses.
pub(crate) fn check(text: &str, key: &str, allow_private: bool) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("`url` is not a URL: {error}; write for example `https://example.com/hook`"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        "http" => {
            return Err(format!(
                "plain `http://` can be read and changed on its way; use `https://`, or set `{key} = true`"
            ));
        }
        other => return Err(format!("`{other}://` is not spoken here; use `https://`")),
    }
    let literal = match url.host() {
        None => return Err("`url` names no host".to_owned()),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
    };
    match literal {
        Some(ip) if !allow_private && !is_public(ip) => Err(refused(&ip.to_string(), key)),
        _ => Ok(url),
    }
}

/// Has our one TLS provider used wherever none is named.
pub fn one_tls_provider() {
    // An earlier caller may have installed the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Our own client: our one TLS provider, our name, no redirects.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    one_tls_provider();
    Client::builder().redirect(Policy::none()).user_agent(concat!("gristmill/", env!("CARGO_PKG_VERSION")))
}

pub(crate) fn no_answer(host: &str, error: reqwest::Error) -> NoAnswer {
    let error = error.without_url();
    let text = with_causes(&error);
    if error.is_connect() {
        // The resolver's refusal comes back wrapped in a connect error.
        return match text.contains(NOT_PUBLIC) {
            true => NoAnswer::NotAllowed(text),
            false => NoAnswer::Unreachable(format!("{host} cannot be reached: {text}")),
        };
    }
    if error.is_builder() {
        return NoAnswer::NotAllowed(format!("the request cannot be built: {text}"));
    }
    NoAnswer::Broken(format!("the exchange with {host} broke off: {text}"))
}

const NOT_PUBLIC: &str = "is not a public address";

fn refused(what: &str, key: &str) -> String {
    format!("{what} {NOT_PUBLIC}; a job may only call public ones unless `{key} = true`")
}

/// Resolves names and refuses those that have an address of a private network.
struct Guard {
    key: &'static str,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (host, key) = (name.as_str().to_owned(), self.key);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if found.iter().any(|address| !is_public(address.ip())) {
                return Err(refused(&host, key).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_to_this_machine_is_refused_in_every_spelling() {
        let check = |url| check(url, "webhook.allow_private", false);
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:7f00:1]/",
        ] {
            let error = check(url).expect_err(url);
            assert!(error.contains("webhook.allow_private"), "{error}");
        }
        for url in ["http://example.com/", "ftp://example.com/", "example.com", "https://"] {
            check(url).expect_err(url);
        }
        check("https://example.com/hook").expect("a public name");
    }
}
