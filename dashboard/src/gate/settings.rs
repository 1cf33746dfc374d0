//! `[serve]` in `config.toml`.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use gristmill_core::duration::{self, Span};
use serde::{Deserialize, Serialize};

use super::address::Network;

/// The address when none is given.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7700";

/// The most characters of an installation's name.
const NAME_CHARS_MAX: usize = 40;

gristmill_core::words! {
    /// Who has to say who they are.
    #[derive(Default)]
    pub enum Auth {
        /// No caller: each one that reaches the address owns the tenant of the configuration.
        #[default]
        None = "none",
        /// Everybody: people by their session, programs by their token.
        Users = "users",
    }
}

/// What is served over HTTP, where, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeSettings {
    /// The address.
    pub listen: String,
    /// Who has to say who they are.
    pub auth: Auth,
    /// Serves an address of other machines although no caller has to say who they are, or in the clear.
    pub insecure_no_auth: bool,
    /// The file with the certificate and those between it and its authority, in PEM; empty serves in the clear.
    pub tls_cert: String,
    /// The file with its private key, in PEM.
    pub tls_key: String,
    /// What the pages call this installation; empty is `Gristmill`.
    pub name: String,
    /// The colour by which it is known from others, such as `#b3261e`; empty is that of the pages.
    pub color: String,
    /// The names under which the address is reached, besides `localhost` and addresses themselves.
    pub hosts: Vec<String>,
    /// The addresses or networks of the proxies that are believed when they say where a request comes from.
    pub trusted_proxies: Vec<Network>,
    /// The most bytes of a body that is read as a whole.
    pub body_bytes_max: usize,
    /// How long an ordinary answer may take, its body included.
    pub answer_timeout: Span,
    /// The most requests of one address.
    pub rate_per_address: Rate,
    /// The most requests with one token, or of one user.
    pub rate_per_token: Rate,
    /// The most requests for one tenant.
    pub rate_per_tenant: Rate,
    /// Whether `/metrics` is served here too.
    pub metrics: bool,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            listen: LISTEN_DEFAULT.to_owned(),
            auth: Auth::default(),
            insecure_no_auth: false,
            tls_cert: String::new(),
            tls_key: String::new(),
            name: String::new(),
            color: String::new(),
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            body_bytes_max: 8 * 1024 * 1024,
            answer_timeout: Span(Duration::from_secs(30)),
            rate_per_address: Rate::per_minute(12_000),
            rate_per_token: Rate::per_minute(12_000),
            rate_per_tenant: Rate::default(),
            metrics: false,
        }
    }
}

impl ServeSettings {
    /// Returns what is wrong: the setting, what it is and what would be right.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        match SocketAddr::from_str(&self.listen) {
            Err(_) => {
                let wrong = format!("`{}` is not an address; write one such as `{LISTEN_DEFAULT}`", self.listen);
                faults.push(("listen", wrong));
            }
            Ok(address) if !address.ip().to_canonical().is_loopback() => faults.extend(self.exposed()),
            Ok(_) => {}
        }
        if self.tls_cert.is_empty() != self.tls_key.is_empty() {
            let (missing, other) =
                if self.tls_key.is_empty() { ("tls_key", "tls_cert") } else { ("tls_cert", "tls_key") };
            faults.push((missing, format!("is empty although `{other}` is not; both are needed")));
        }
        if self.body_bytes_max < 1024 {
            faults.push(("body_bytes_max", "is too small for any request; write at least 1024".to_owned()));
        }
        if self.answer_timeout.0.is_zero() {
            faults.push(("answer_timeout", "is 0: nothing could be answered in that time".to_owned()));
        }
        if self.name.chars().count() > NAME_CHARS_MAX || self.name.chars().any(char::is_control) {
            faults.push(("name", format!("must have at most {NAME_CHARS_MAX} characters, on one line")));
        }
        if !is_color(&self.color) {
            let wrong = format!("`{}` is not a colour; write one such as `#b3261e`, or nothing", self.color);
            faults.push(("color", wrong));
        }
        for host in self.hosts.iter().filter(|host| host.is_empty() || host.contains(['/', ':', ' '])) {
            faults.push(("hosts", format!("`{host}` is not the name of a host; write one such as `jobs.example.com`")));
        }
        faults
    }

    /// Why an address of other machines is refused.
    fn exposed(&self) -> Option<(&'static str, String)> {
        if self.insecure_no_auth {
            return None;
        }
        let encrypted = !self.tls_cert.is_empty() || !self.trusted_proxies.is_empty();
        let wrong = match (self.auth, encrypted) {
            (Auth::Users, true) => return None,
            (Auth::Users, false) => {
                "it would carry passwords and tokens in the clear; set `tls_cert` and `tls_key`, or name the proxy \
                 with TLS before it in `trusted_proxies`"
            }
            (Auth::None, _) => {
                "each caller that reaches it would own everything; set `auth = \"users\"`, or listen on 127.0.0.1"
            }
        };
        let or = "`insecure_no_auth = true` serves it all the same";
        Some(("listen", format!("`{}` can be reached from other machines: {wrong}; {or}", self.listen)))
    }
}

/// Whether a text is empty or a colour, as `#rrggbb`.
fn is_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
    text.is_empty() || digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// How many requests in how much time, such as `600/1m`; empty is no limit. All of them may come at once after a quiet
/// time; then they are spread evenly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(pub Option<Quota>);

/// So many in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub count: NonZeroU32,
    /// In which time, a millisecond to a day.
    pub period: Duration,
}

impl Rate {
    fn per_minute(count: u32) -> Self {
        Self(NonZeroU32::new(count).map(|count| Quota { count, period: Duration::from_secs(60) }))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let wrong = || format!("`{text}` is not a rate; write one such as `600/1m`, or nothing for none");
        let (count, period) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.trim().parse().map_err(|_| wrong())?;
        let period = duration::parse(period).map_err(|_| wrong())?;
        let fits = (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(&period);
        if fits { Ok(Self(Some(Quota { count, period }))) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(Quota { count, period }) => write!(f, "{count}/{}", duration::format(period)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(settings: ServeSettings) -> String {
        settings.faults().into_iter().map(|(key, wrong)| format!("{key}: {wrong}\n")).collect()
    }

    #[test]
    fn an_address_of_other_machines_needs_users_and_tls_or_a_word_of_the_operator() {
        let elsewhere = ServeSettings { listen: "0.0.0.0:7700".to_owned(), ..ServeSettings::default() };
        assert!(wrong(elsewhere.clone()).contains("own everything"));
        let users = ServeSettings { auth: Auth::Users, ..elsewhere.clone() };
        assert!(wrong(users.clone()).contains("in the clear"));
        let tls = ServeSettings { tls_cert: "c.pem".to_owned(), tls_key: "k.pem".to_owned(), ..users.clone() };
        let proxy = ServeSettings { trusted_proxies: vec!["10.0.0.1".parse().expect("a network")], ..users };
        let allowed = ServeSettings { insecure_no_auth: true, ..elsewhere };
        for settings in [tls, proxy, allowed, ServeSettings::default()] {
            assert_eq!(wrong(settings), "");
        }
    }

    #[test]
    fn an_installation_is_known_by_a_short_name_and_a_colour() {
        let named = |name: &str, color: &str| {
            wrong(ServeSettings { name: name.to_owned(), color: color.to_owned(), ..ServeSettings::default() })
        };
        assert_eq!(named("Orders, production", "#B3261e"), "");
        for (name, color, part) in [("", "red", "#b3261e"), ("", "#12345", "colour"), ("a\nb", "", "one line")] {
            assert!(named(name, color).contains(part), "{name} {color}");
        }
        assert!(named(&"x".repeat(41), "").contains("at most 40"));
    }

    #[test]
    fn a_rate_is_written_as_people_say_it() {
        for (text, same) in [("600/1m", "600/1m"), ("10/60s", "10/1m"), ("", ""), (" 5 / 1s", "5/1s")] {
            assert_eq!(text.parse::<Rate>().expect(text).to_string(), same);
        }
        for text in ["600", "0/1m", "6/0s", "x/1m", "6/2d", "-1/1s"] {
            text.parse::<Rate>().expect_err(text);
        }
    }
}
