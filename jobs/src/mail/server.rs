//! The mail server that `[mail]` names.

use gristmill_mail::transport::{Endpoint, Security, Smtp};
use url::Url;

use crate::secret;
use crate::settings::{MailSettings, StartTls};

/// Prepares for the server of the settings. Passwords and certificates are read here.
pub(super) fn from_settings(settings: &MailSettings) -> Result<Smtp, String> {
    let url = Url::parse(&settings.url).map_err(|error| format!("`mail.url` is not a URL: {error}"))?;
    if url.password().is_some() {
        return Err("`mail.url` holds a password, which anybody who reads the configuration would see; name a variable with `mail.password_env` or a file with `mail.password_file` instead".to_owned());
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("`mail.url` names no host")?;
    let wrapped = url.scheme() == "smtps";
    let security = match (wrapped, settings.starttls) {
        (true, _) => Security::Wrapped,
        (false, StartTls::Required) => Security::Upgraded,
        (false, StartTls::Never) => Security::Clear,
    };
    let endpoint = Endpoint {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(if wrapped { 465 } else { 587 }),
        security,
        login: login(&url, settings)?,
        roots: settings.ca_file.as_deref().map(roots).transpose()?,
        timeout: settings.timeout.0,
        connections: settings.connections,
    };
    Smtp::new(endpoint).map_err(|error| match &settings.ca_file {
        Some(path) => format!("`mail.ca_file`: {path}: {error}"),
        None => format!("`mail.url`: {error}"),
    })
}

fn roots(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("`mail.ca_file`: {path} cannot be read: {error}"))
}

fn login(url: &Url, settings: &MailSettings) -> Result<Option<(String, String)>, String> {
    let password = secret::read("mail.password", settings.password_env.as_deref(), settings.password_file.as_deref())?;
    match (url.username(), password) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err("`mail.url` names no user for the password; write `smtp://USER@HOST`".to_owned()),
        (_, None) => Err("`mail.url` names a user without a password; name a variable with `mail.password_env` or a file with `mail.password_file`".to_owned()),
        (user, Some(password)) => Ok(Some((percent_decoded(user)?, password))),
    }
}

/// User names are often addresses, whose `@` a URL must write as `%40`.
fn percent_decoded(user: &str) -> Result<String, String> {
    let bad = || "the user in `mail.url` is not percent-encoded UTF-8".to_owned();
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
    use super::*;

    #[test]
    fn a_password_in_the_url_is_refused_without_showing_it() {
        let settings = MailSettings { url: "smtp://u:hunter2@localhost".to_owned(), ..MailSettings::default() };
        let error = from_settings(&settings).expect_err("refused");
        assert!(error.contains("password_env") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_user_may_be_an_address() {
        assert_eq!(percent_decoded("jo%40example.com"), Ok("jo@example.com".to_owned()));
        percent_decoded("jo%4").expect_err("cut off");
    }
}
