//! `[accounts]` in `config.toml`.

use std::time::Duration;

use gristmill_core::access::Role;
use gristmill_core::duration::Span;
use gristmill_core::id::is_name;
use serde::{Deserialize, Serialize};

/// How long sessions and links last, and where links lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountSettings {
    /// Where people reach the server, such as `https://jobs.example.com`: links in mails begin with it. Empty: the
    /// address of `[serve]`.
    pub url: String,
    /// After how long a session ends in any case.
    pub session: Span,
    /// After how long a session ends when it is not used.
    pub session_idle: Span,
    /// For how long an invitation may be accepted.
    pub invitation: Span,
    /// For how long a link to choose a password may be used.
    pub reset: Span,
    /// The queue of the mails.
    pub queue: String,
    /// The file with the key that seals the secrets of second factors in the database; it is made when there is none, and
    /// all servers need the same. Empty: they lie there as they are.
    pub key_file: String,
    /// Whether people make accounts by themselves. Invitations are accepted in any case.
    pub registration: Registering,
    /// The domains whose addresses register; empty for all.
    pub registration_domains: Vec<String>,
    /// The tenant of those who register; empty for none, until a member invites them.
    pub registration_tenant: String,
    /// Their role there.
    pub registration_role: Role,
}

gristmill_core::words! {
    /// Whether people make accounts by themselves.
    pub enum Registering {
        /// They do not: they are added or invited.
        Off = "off",
        /// They do, by a link that is mailed to their address.
        Open = "open",
    }
}

impl Default for AccountSettings {
    fn default() -> Self {
        const HOUR: u64 = 3_600;
        Self {
            url: String::new(),
            session: Span(Duration::from_secs(7 * 24 * HOUR)),
            session_idle: Span(Duration::from_secs(24 * HOUR)),
            invitation: Span(Duration::from_secs(7 * 24 * HOUR)),
            reset: Span(Duration::from_secs(HOUR)),
            queue: "default".to_owned(),
            key_file: String::new(),
            registration: Registering::Off,
            registration_domains: Vec::new(),
            registration_tenant: String::new(),
            registration_role: Role::Viewer,
        }
    }
}

impl AccountSettings {
    /// Returns what is wrong: the setting, what it is and what would be right.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let web = ["https://", "http://"].iter().any(|scheme| self.url.starts_with(scheme));
        if !self.url.is_empty() && (!web || self.url.contains([' ', '#', '?'])) {
            let wrong = format!("`{}` is not where a server is; write such as `https://jobs.example.com`", self.url);
            faults.push(("url", wrong));
        }
        for (key, span) in [
            ("session", self.session),
            ("session_idle", self.session_idle),
            ("invitation", self.invitation),
            ("reset", self.reset),
        ] {
            if span.0 < Duration::from_secs(60) {
                faults.push((key, "is less than a minute; write such as `1h`".to_owned()));
            }
        }
        if !is_name(&self.queue) {
            faults.push(("queue", format!("`{}` cannot be the name of a queue", self.queue)));
        }
        if matches!(self.registration_role, Role::Owner | Role::Admin) {
            let wrong = "lets strangers manage users; write `operator`, `viewer` or `auditor`";
            faults.push(("registration_role", wrong.to_owned()));
        }
        let plain = |domain: &String| domain.contains('.') && !domain.contains(['@', ' ', '*', '/']);
        if let Some(domain) = self.registration_domains.iter().find(|domain| !plain(domain)) {
            let wrong = format!("has `{domain}`, which is no domain; write such as `example.com`");
            faults.push(("registration_domains", wrong));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_said_by_its_key() {
        assert_eq!(AccountSettings::default().faults(), []);
        let wrong = AccountSettings {
            url: "jobs.example.com".to_owned(),
            reset: Span(Duration::ZERO),
            queue: "a b".to_owned(),
            registration_role: Role::Admin,
            registration_domains: vec!["*.example.com".to_owned()],
            ..AccountSettings::default()
        };
        let keys: Vec<&str> = wrong.faults().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["url", "reset", "queue", "registration_role", "registration_domains"]);
    }
}
