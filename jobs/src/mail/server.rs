//! The mail servers that `[mail]` names: one, or several relays.

use std::time::Duration;

use gristmill_core::limit::gcra::Rate;
use gristmill_core::mail_flow::{RelayTerms, WarmUp, relay_fault};
use gristmill_mail::transport::{Endpoint, Login, Security, Smtp};
use url::Url;

use crate::secret;
use crate::settings::{Auth, MailSettings, RelaySettings, StartTls};

/// What the one server of `mail.url` is called where relays have names.
pub(super) const ONLY: &str = "default";

/// One of the servers.
#[derive(Debug)]
pub(super) struct Relay {
    /// Its name.
    pub(super) name: String,
    /// What speaks with it.
    pub(super) smtp: Smtp,
    /// Those of a higher order are used only while none of a lower one can be.
    pub(super) order: u32,
    /// Its share among those of the same order.
    pub(super) weight: u32,
    /// How much it may take.
    pub(super) terms: RelayTerms,
    /// How many connections of this worker it may have.
    pub(super) connections: usize,
}

/// Where a setting stands, for errors.
struct Keys<'a>(&'a str);

impl Keys<'_> {
    fn of(&self, key: &str) -> String {
        format!("`{}.{key}`", self.0)
    }
}

/// Prepares for the servers of the settings. Passwords and certificates are read here.
pub(super) fn from_settings(settings: &MailSettings) -> Result<Vec<Relay>, String> {
    if settings.relays.is_empty() {
        return Ok(vec![relay("mail", ONLY, &only(settings))?]);
    }
    if settings.url.starts_with("smtp") {
        return Err("`mail.url` names a server, and there are `[mail.relays]`: make it one of them".to_owned());
    }
    settings.relays.iter().map(|(name, settings)| relay(&format!("mail.relays.{name}"), name, settings)).collect()
}

/// The one server of `mail.url`, as a relay.
fn only(settings: &MailSettings) -> RelaySettings {
    RelaySettings {
        url: settings.url.clone(),
        starttls: settings.starttls,
        password_env: settings.password_env.clone(),
        password_file: settings.password_file.clone(),
        ca_file: settings.ca_file.clone(),
        timeout: settings.timeout,
        connections: settings.connections,
        ..RelaySettings::default()
    }
}

fn relay(section: &str, name: &str, settings: &RelaySettings) -> Result<Relay, String> {
    let keys = Keys(section);
    if let Some(fault) = relay_fault(name) {
        return Err(format!("`[mail.relays.{name}]`: {fault}"));
    }
    for (key, value) in [("weight", settings.weight), ("messages_per_connection", settings.messages_per_connection)] {
        if value == 0 {
            return Err(format!("{} must be 1 or more", keys.of(key)));
        }
    }
    if let Some(warm_up) = settings.warm_up.filter(|warm_up| warm_up.first == 0 || warm_up.last < warm_up.first) {
        let WarmUp { first, last, .. } = warm_up;
        return Err(format!("{}: `first` is 1 or more, and `last` no less: {first} and {last}", keys.of("warm_up")));
    }
    let rate = rate(section, settings.rate, settings.per.0, settings.burst)?;
    Ok(Relay {
        name: name.to_owned(),
        smtp: smtp(&keys, settings)?,
        order: settings.order,
        weight: settings.weight,
        terms: RelayTerms { rate, warm_up: settings.warm_up },
        connections: settings.connections.max(1),
    })
}

/// A rate of the settings.
///
/// # Errors
///
/// When there is none like that: a text that names the key.
pub(super) fn rate(section: &str, rate: Option<u32>, per: Duration, burst: u32) -> Result<Option<Rate>, String> {
    let Some(count) = rate else { return Ok(None) };
    let micros = i64::try_from(per.as_micros()).ok().and_then(|micros| micros.checked_div(i64::from(count)));
    match micros {
        Some(interval) if interval > 0 && burst > 0 => Ok(Some(Rate { interval, burst })),
        _ => {
            Err(format!("`{section}`: `rate`, `per` and `burst` must be above zero, and a microsecond apart at least"))
        }
    }
}

fn smtp(keys: &Keys<'_>, settings: &RelaySettings) -> Result<Smtp, String> {
    let name = keys.of("url");
    let url = Url::parse(&settings.url).map_err(|error| format!("{name} is not a URL: {error}"))?;
    if !matches!(url.scheme(), "smtp" | "smtps") {
        return Err(format!("{name} must begin with `smtp://` or `smtps://`"));
    }
    if url.password().is_some() {
        let section = keys.0;
        return Err(format!(
            "{name} holds a password, which anybody who reads the configuration would see; name a variable with `{section}.password_env` or a file with `{section}.password_file` instead"
        ));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| format!("{name} names no host"))?;
    let wrapped = url.scheme() == "smtps";
    let security = match (wrapped, settings.starttls) {
        (true, _) => Security::Wrapped,
        (false, StartTls::Required) => Security::Upgraded,
        (false, StartTls::Never) => Security::Clear,
    };
    let ca_file = keys.of("ca_file");
    let endpoint = Endpoint {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(if wrapped { 465 } else { 587 }),
        security,
        login: login(&url, keys, settings)?,
        login_by: match settings.auth {
            Auth::Any => Login::Any,
            Auth::Plain => Login::Plain,
            Auth::Login => Login::Login,
            Auth::Xoauth2 => Login::Xoauth2,
        },
        roots: settings.ca_file.as_deref().map(|path| roots(&ca_file, path)).transpose()?,
        timeout: settings.timeout.0,
        connections: settings.connections,
        messages_per_connection: settings.messages_per_connection,
    };
    Smtp::new(endpoint).map_err(|error| match &settings.ca_file {
        Some(path) => format!("{ca_file}: {path}: {error}"),
        None => format!("{name}: {error}"),
    })
}

fn roots(key: &str, path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{key}: {path} cannot be read: {error}"))
}

fn login(url: &Url, keys: &Keys<'_>, settings: &RelaySettings) -> Result<Option<(String, String)>, String> {
    let section = keys.0;
    let (env, file) = (settings.password_env.as_deref(), settings.password_file.as_deref());
    let password = secret::read(&format!("{section}.password"), env, file)?;
    match (url.username(), password) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err(format!("`{section}.url` names no user for the password; write `smtp://USER@HOST`")),
        (_, None) => Err(format!(
            "`{section}.url` names a user without a password; name a variable with `{section}.password_env` or a file with `{section}.password_file`"
        )),
        (user, Some(password)) => Ok(Some((percent_decoded(section, user)?, password))),
    }
}

/// User names are often addresses, whose `@` a URL must write as `%40`.
fn percent_decoded(section: &str, user: &str) -> Result<String, String> {
    let bad = || format!("the user in `{section}.url` is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or_else(bad)?;
        bytes.push(hex::decode(digits).map_err(|_| bad())?[0]);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_password_in_the_url_is_refused_without_showing_it() {
        let settings = MailSettings { url: "smtp://u:hunter2@localhost".to_owned(), ..MailSettings::default() };
        let error = from_settings(&settings).expect_err("refused");
        assert!(error.contains("password_env") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn relays_take_the_place_of_the_one_server_and_what_makes_no_sense_is_refused_by_its_key() {
        let url = || "smtp://127.0.0.1:25".to_owned();
        let with = |name: &str, relay: RelaySettings| MailSettings {
            relays: BTreeMap::from([(name.to_owned(), RelaySettings { url: url(), ..relay })]),
            ..MailSettings::default()
        };
        let made = from_settings(&with("a", RelaySettings { weight: 3, ..RelaySettings::default() })).expect("made");
        assert_eq!((made.len(), made[0].name.as_str(), made[0].weight), (1, "a", 3));
        let only = MailSettings { url: url(), ..MailSettings::default() };
        assert_eq!(from_settings(&only).expect("made")[0].name, ONLY);
        let both = MailSettings { url: url(), ..with("a", RelaySettings::default()) };
        let zero = RelaySettings { weight: 0, ..RelaySettings::default() };
        let user = RelaySettings { rate: Some(0), ..RelaySettings::default() };
        let from = chrono::NaiveDate::MIN;
        let warm_up = Some(WarmUp { from, first: 9, last: 8 });
        let cold = RelaySettings { warm_up, ..RelaySettings::default() };
        for (settings, names) in [
            (both, "`mail.url`"),
            (with("a b", RelaySettings::default()), "[mail.relays.a b]"),
            (with("a", zero), "`mail.relays.a.weight`"),
            (with("a", user), "`mail.relays.a`"),
            (with("a", cold), "`mail.relays.a.warm_up`"),
        ] {
            let error = from_settings(&settings).expect_err(names);
            assert!(error.contains(names), "{error}");
        }
    }

    #[test]
    fn a_user_may_be_an_address() {
        assert_eq!(percent_decoded("mail", "jo%40example.com"), Ok("jo@example.com".to_owned()));
        percent_decoded("mail", "jo%4").expect_err("cut off");
    }
}
