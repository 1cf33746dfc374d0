//! `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`, read as libpq reads it: IPv6 in brackets, no host for the
//! socket, no user for the one who runs the program, and an error for an unknown parameter.
//!
//! One thing is stricter. Without `sslmode` libpq encrypts if it can and verifies nothing, so that anybody on the way may
//! read along by saying that the server cannot. Here another host is verified (`verify-full`) unless the URL says
//! otherwise.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use url::{Host, Url};

use super::{decoded, encoded, is_here};

/// What may be written in a query without `%`.
const PLAIN: &str = "-._~/:@,";

/// Parameters that mean something here.
const KNOWN: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// Parameters of libpq that change nothing about what is sent to whom.
const IGNORED: [&str; 9] = [
    "connect_timeout",
    "client_encoding",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslnegotiation",
];

/// How the connection is protected on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// It does not leave this machine.
    Here,
    /// As `sslmode` says.
    Said,
    /// The server is verified, because nothing is said.
    Verified,
}

impl Encryption {
    /// What to add to the error of a connection that was verified without having been asked to be.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::Verified => Some(
                "the URL has no `sslmode`, so that the server's certificate is verified: add `?sslmode=verify-full` and \
                 `sslrootcert=FILE` for an authority of your own, or `?sslmode=disable` on a network that you trust",
            ),
            Self::Here | Self::Said => None,
        }
    }
}

/// How a connection to this URL is protected. For one that cannot be read nothing is claimed.
pub fn encryption(url: &str) -> Encryption {
    Read::of(url, &|name: &str| std::env::var(name).ok()).map_or(Encryption::Said, |read| read.encryption)
}

/// The options for a connection to this URL.
///
/// # Errors
///
/// What is wrong, in words that never quote the URL, which may hold a password.
pub fn postgres_options(url: &str) -> Result<PgConnectOptions, String> {
    let mut read = Read::of(url, &|name: &str| std::env::var(name).ok())?;
    if !read.has("user") && std::env::var_os("PGUSER").is_none() {
        read.pairs.extend(system_user().map(|user| ("user".to_owned(), user)));
    }
    // The parser's own message may quote the URL, and with it the password.
    PgConnectOptions::from_str(&read.url()).map_err(|_| NOT_A_URL.to_owned())
}

const NOT_A_URL: &str = "is not a PostgreSQL URL; write `postgres://USER:PASSWORD@HOST:5432/DATABASE`, with \
                         `?sslmode=verify-full` where the way leads over a network; special characters in the password \
                         are written as %XX";

/// A URL with everything but host, port and path among its parameters.
struct Read {
    url: Url,
    pairs: Vec<(String, String)>,
    encryption: Encryption,
}

impl Read {
    fn of(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or(NOT_A_URL)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
        if place.contains(',') {
            return Err("names several hosts; name one".to_owned());
        }
        // An `@` behind the host is most likely one of a password that is not encoded.
        if after.split(['?', '#']).next().unwrap_or_default().contains('@') {
            return Err(NOT_A_URL.to_owned());
        }
        // Without the user, because `postgres://user@/database` names no host, which only libpq allows.
        let url = Url::parse(&format!("{scheme}://{place}{after}")).map_err(|_| NOT_A_URL)?;
        let (name, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            Some((name, password)) => (decoded(name), decoded(password)),
            None => (String::new(), String::new()),
        };
        let mut pairs = Vec::new();
        pairs.extend(Some(("user".to_owned(), name)).filter(|(_, name)| !name.is_empty()));
        pairs.extend(Some(("password".to_owned(), password)).filter(|(_, password)| !password.is_empty()));
        if let Some(Host::Ipv6(address)) = url.host() {
            pairs.push(("host".to_owned(), address.to_string()));
        }
        for (name, value) in url.query_pairs() {
            pairs.extend(parameter(&name, &value)?);
        }
        let mut read = Self { url, pairs, encryption: Encryption::Said };
        read.encryption = read.protect(variable);
        Ok(read)
    }

    fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(known, _)| known == name)
    }

    /// Where the connection leads: the last of the parameters, the URL, the environment.
    fn host(&self, variable: &dyn Fn(&str) -> Option<String>) -> String {
        let said = self.pairs.iter().rfind(|(name, _)| name == "host" || name == "hostaddr");
        let in_url = || self.url.host_str().filter(|host| !host.is_empty()).map(decoded);
        let from_environment = || variable("PGHOSTADDR").or_else(|| variable("PGHOST"));
        said.map(|(_, host)| host.clone()).or_else(in_url).or_else(from_environment).unwrap_or_default()
    }

    fn protect(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Encryption {
        if self.has("sslmode") || self.has("ssl-mode") || variable("PGSSLMODE").is_some() {
            return Encryption::Said;
        }
        if is_here(&self.host(variable)) {
            return Encryption::Here;
        }
        self.pairs.push(("sslmode".to_owned(), "verify-full".to_owned()));
        Encryption::Verified
    }

    fn url(&self) -> String {
        let mut url = self.url.clone();
        let pairs: Vec<String> = self
            .pairs
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name, "-_.[]"), encoded(value, PLAIN)))
            .collect();
        url.set_query((!pairs.is_empty()).then(|| pairs.join("&")).as_deref());
        url.to_string()
    }
}

/// A parameter as it is passed on; `None` for one that may be left out.
fn parameter(name: &str, value: &str) -> Result<Option<(String, String)>, String> {
    let kept = Ok(Some((name.to_owned(), value.to_owned())));
    match name {
        // The authorities of the system, which are those that are trusted without a file.
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" if value == "system" => Ok(None),
        "channel_binding" if value != "require" => Ok(None),
        "channel_binding" => Err("asks for `channel_binding`, which is not available here; leave it out, and write \
                                  `sslmode=verify-full`"
            .to_owned()),
        "host" | "hostaddr" if value.contains(',') => Err("names several hosts; name one".to_owned()),
        _ if name == "options" || (name.starts_with("options[") && name.ends_with(']')) => kept,
        _ if KNOWN.contains(&name) => kept,
        _ if IGNORED.contains(&name) => Ok(None),
        _ => Err(format!(
            "has a parameter `{name}`, which is not known here; known are {}, `options`",
            KNOWN.map(|known| format!("`{known}`")).join(", ")
        )),
    }
}

/// The name of the user who runs this program, as the system knows it and not as a variable claims.
fn system_user() -> Option<String> {
    let id = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let listed = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, found) = (fields.next()?, fields.nth(1)?);
        (found == id).then(|| name.to_owned())
    });
    // Users of a directory service are not in the file.
    listed.or_else(|| std::env::var("USER").ok()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> PgConnectOptions {
        postgres_options(url).unwrap_or_else(|wrong| panic!("{url}: {wrong}"))
    }

    #[test]
    fn an_address_of_ipv6_is_a_host_without_its_brackets() {
        let found = options("postgres://u:x@[::1]:5433/d");
        assert_eq!((found.get_host(), found.get_port(), found.get_username()), ("::1", 5433, "u"));
        assert_eq!(found.get_database(), Some("d"));
    }

    #[test]
    fn a_url_without_a_user_means_the_one_who_runs_the_program() {
        let id = std::process::Command::new("id").arg("-un").output().expect("id runs");
        let name = String::from_utf8_lossy(&id.stdout).trim().to_owned();
        assert_eq!(options("postgres://127.0.0.1/d").get_username(), name);
        assert_eq!(options("postgres://127.0.0.1/d?user=ada").get_username(), "ada");
        assert_eq!(options("postgres://b%40b:p%2Fw@127.0.0.1/d").get_username(), "b@b");
    }

    #[test]
    fn a_url_without_a_host_means_the_socket_as_for_libpq() {
        let found = options("postgres://ada@/d?host=/run/postgresql");
        assert_eq!(
            (found.get_socket().map(|path| path.display().to_string()), found.get_username()),
            (Some("/run/postgresql".to_owned()), "ada")
        );
        assert_eq!(
            options("postgres://ada@%2Frun%2Fpg/d").get_socket().map(|path| path.display().to_string()),
            Some("/run/pg".to_owned())
        );
    }

    #[test]
    fn another_host_is_verified_unless_the_url_says_otherwise() {
        let none = |_: &str| None;
        let read = |url: &str| Read::of(url, &none).map(|read| (read.encryption, read.url())).expect(url);
        for url in [
            "postgres://u@db/d",
            "postgresql://u@10.0.0.1/d",
            "postgres://u@/d?host=db",
            "postgres://u@localhost/d?hostaddr=10.0.0.1",
        ] {
            let (encryption, url) = read(url);
            assert!(encryption == Encryption::Verified && url.contains("sslmode=verify-full"), "{url}");
        }
        for url in
            ["postgres://u@localhost/d", "postgres://u@[::1]/d", "postgres:///d", "postgres://u@db/d?host=/run/x"]
        {
            assert_eq!(read(url).0, Encryption::Here, "{url}");
        }
        for url in ["postgres://u@db/d?sslmode=disable", "postgres://u@db/d?sslmode=require"] {
            assert_eq!(read(url).0, Encryption::Said, "{url}");
        }
        let said = Read::of("postgres://u@db/d", &|name: &str| (name == "PGSSLMODE").then(|| "prefer".to_owned()));
        assert_eq!(said.map(|read| read.encryption), Ok(Encryption::Said));
        let elsewhere = Read::of("postgres:///d", &|name: &str| (name == "PGHOST").then(|| "db".to_owned()));
        assert_eq!(elsewhere.map(|read| read.encryption), Ok(Encryption::Verified));
        assert!(Encryption::Verified.advice().is_some_and(|advice| advice.contains("sslmode=disable")));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_being_quoted() {
        for (url, said) in [
            ("postgres://u:hunter2@h:port/d", "PostgreSQL URL"),
            ("postgres://u:hunter2@[::1/d", "PostgreSQL URL"),
            ("postgres://u:hunter2@a,b/d", "several hosts"),
            ("postgres://u:hunter2@h/d?sslmod=require", "`sslmod`"),
            ("postgres://u@h/d?passwd=hunter2", "`passwd`"),
            ("postgres://u:hunter2@h/d?channel_binding=require", "channel_binding"),
            ("postgres://u:hunter2@h/d?sslmode=hunter2", "PostgreSQL URL"),
            ("postgres://u:hun/ter2@h/d", "PostgreSQL URL"),
            ("postgres://u:123/hunter2@h/d", "PostgreSQL URL"),
        ] {
            let wrong = postgres_options(url).expect_err(url);
            assert!(wrong.contains(said) && !wrong.contains("hunter2") && !wrong.contains("ter2"), "{url}: {wrong}");
        }
        assert!(postgres_options("postgres://u@h/d?connect_timeout=5&sslrootcert=system&sslmode=verify-full").is_ok());
    }
}
