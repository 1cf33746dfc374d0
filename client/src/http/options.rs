//! Where a server is, and what is sent to it with each request.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;

use super::error::HttpError;

/// How long an ordinary request may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A token that nothing shows: neither logs nor messages of errors.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Keeps a token, without blanks and line ends around it.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().trim().to_owned())
    }

    /// The header that carries it.
    pub(super) fn header(&self) -> Result<HeaderValue, HttpError> {
        let plain = !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::try_from(format!("Bearer {}", self.0)).ok().filter(|_| plain);
        let wrong = || HttpError::Options("the token is empty, or has characters that no token has".to_owned());
        let mut value = value.ok_or_else(wrong)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Where a server is, and what is sent to it with each request.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerOptions {
    /// Its address without `/api/v1`, such as `https://jobs.example.com`.
    pub url: String,
    /// Who calls; `None` where callers need not say.
    pub token: Option<Token>,
    /// Further authorities whose certificates are trusted, in PEM.
    pub ca: Option<Vec<u8>>,
    /// The tenant; `None` is the token's own.
    pub tenant: Option<String>,
    /// Speaks plain `http://` to another machine, where everybody on the way reads the token.
    pub in_the_clear: bool,
    /// How long an ordinary request may take; 60 s by default. 0 is as good as nothing.
    pub timeout: Duration,
}

impl ServerOptions {
    /// A server at this address, with nothing else said.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), token: None, ca: None, tenant: None, in_the_clear: false, timeout: TIMEOUT }
    }

    /// The address, checked.
    ///
    /// # Errors
    ///
    /// When it is no address of a server, or would carry a token in the clear to another machine.
    pub fn base(&self) -> Result<Url, HttpError> {
        let wrong = |what: &str| Err(HttpError::Options(format!("`{}` {what}", shown(&self.url))));
        let Ok(url) = Url::parse(&self.url) else {
            return wrong("is not the address of a server; write one such as https://jobs.example.com");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("carries a name or a password; give a token instead");
        }
        if url.query().is_some() || url.fragment().is_some() || url.cannot_be_a_base() || url.host_str().is_none() {
            return wrong("is not the address of a server alone; write one such as https://jobs.example.com");
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.in_the_clear || is_loopback(&url) => Ok(url),
            "http" => wrong("would send what it carries in the clear to another machine; use https://"),
            _ => wrong("is neither https:// nor http://"),
        }
    }
}

/// An address without the password that it should not have had.
fn shown(url: &str) -> String {
    let plain = url.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    match plain.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => plain,
    }
}

/// Whether an address is one of this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_machine_alone_unless_that_is_wanted() {
        for url in ["https://jobs.example.com", "http://127.0.0.1:7700", "http://localhost:1/", "http://[::1]:7700"] {
            ServerOptions::new(url).base().expect(url);
        }
        let elsewhere = ServerOptions::new("http://192.0.2.1:7700");
        elsewhere.base().expect_err("in the clear");
        ServerOptions { in_the_clear: true, ..elsewhere }.base().expect("it was told to");
    }

    #[test]
    fn an_address_says_where_a_server_is_and_nothing_else() {
        for url in ["", "jobs.example.com", "ftp://a.example", "https://a.example/?x=1", "https://me:secret@a.example"]
        {
            let error = ServerOptions::new(url).base().expect_err(url).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let options =
            ServerOptions { token: Some(Token::new(" hunter2\n")), ..ServerOptions::new("https://a.example") };
        assert!(!format!("{options:?}").contains("hunter2"));
        let header = Token::new(" hunter2\n").header().expect("a header");
        assert_eq!((header.to_str().ok(), header.is_sensitive()), (Some("Bearer hunter2"), true));
        for odd in ["", " \n", "two words", "späte"] {
            Token::new(odd).header().expect_err(odd);
        }
    }
}
