//! `[oidc.NAME]` in `config.toml`: a login elsewhere, by OpenID Connect.

use std::collections::BTreeMap;

use gristmill_core::access::Role;
use gristmill_core::id::{DEFAULT_TENANT, is_name};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// A provider of logins, and what its people get here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcSettings {
    /// What its button is called; empty is its name.
    pub title: String,
    /// The issuer: where its `/.well-known/openid-configuration` is, and what its tokens say of it.
    pub issuer: String,
    /// What this server is called there.
    pub client_id: String,
    /// The environment variable with its secret there; without one the client is a public one.
    pub client_secret_env: Option<String>,
    /// A file with it instead.
    pub client_secret_file: Option<String>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// Whether a person who is not known yet gets the account with the address that the provider has verified, where that is a
    /// member of `tenant` alone and owns nothing.
    pub link: bool,
    /// Whether a person without an account gets one.
    pub create: bool,
    /// The domains of addresses that may log in; empty is all.
    pub domains: Vec<String>,
    /// The tenant to which the provider belongs, and in which its people have a role.
    pub tenant: String,
    /// Their role there, unless a claim says another; none is no place there.
    pub role: Option<Role>,
    /// The claim that says to which groups a person belongs, such as `groups` or `realm_access.roles`.
    pub role_claim: String,
    /// The roles of the groups. Of several the highest counts.
    pub roles: BTreeMap<String, Role>,
}

impl Default for OidcSettings {
    fn default() -> Self {
        Self {
            title: String::new(),
            issuer: String::new(),
            client_id: String::new(),
            client_secret_env: None,
            client_secret_file: None,
            scopes: vec!["email".to_owned(), "profile".to_owned()],
            link: true,
            create: false,
            domains: Vec::new(),
            tenant: DEFAULT_TENANT.to_owned(),
            role: None,
            role_claim: String::new(),
            roles: BTreeMap::new(),
        }
    }
}

/// Whether an address may be asked: over TLS, or on this machine.
pub(super) fn is_safe(url: &Url) -> bool {
    let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    url.has_host() && (url.scheme() == "https" || url.scheme() == "http" && here)
}

impl OidcSettings {
    /// Returns what is wrong: the setting, what it is and what would be right.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let issuer = Url::parse(&self.issuer).ok();
        if !issuer.is_some_and(|url| is_safe(&url) && url.query().is_none() && url.fragment().is_none()) {
            let wrong = format!("`{}` is no issuer; write such as `https://login.example.com`", self.issuer);
            faults.push(("issuer", wrong));
        }
        if self.client_id.is_empty() {
            faults.push(("client_id", "is missing: what this server is called at the provider".to_owned()));
        }
        if !is_name(&self.tenant) {
            faults.push(("tenant", format!("`{}` cannot be the name of a tenant", self.tenant)));
        }
        if self.role_claim.is_empty() != self.roles.is_empty() {
            faults
                .push(("role_claim", "and `roles` need one another: one without the other decides nothing".to_owned()));
        }
        if self.roles.values().chain(&self.role).any(|role| *role == Role::Owner) {
            let wrong = "makes owners by a claim; owners are appointed by owners: write `admin` at most";
            faults.push(("roles", wrong.to_owned()));
        }
        if let Some(scope) = self.scopes.iter().find(|scope| scope.is_empty() || scope.contains([' ', '"', '\\'])) {
            faults.push(("scopes", format!("`{scope}` is no scope; write one in each text")));
        }
        faults
    }

    /// The role that a person has by what is claimed of them: `Ok(None)` where they get no place.
    ///
    /// # Errors
    ///
    /// When the roles are given by a claim, and none of them to this person.
    pub(super) fn role_of(&self, claims: &Value) -> Result<Option<Role>, &'static str> {
        if self.role_claim.is_empty() {
            return Ok(self.role);
        }
        let groups = groups(claims, &self.role_claim);
        let highest = groups.iter().filter_map(|group| self.roles.get(*group)).min().copied();
        match highest.or(self.role) {
            Some(role) => Ok(Some(role)),
            None => Err("none of your groups has a role here"),
        }
    }
}

/// What a claim holds: a text, or a list of texts. Its name is taken as a whole first, and then as a way into objects.
fn groups<'c>(claims: &'c Value, name: &str) -> Vec<&'c str> {
    let nested = || name.split('.').try_fold(claims, |object, part| object.get(part));
    match claims.get(name).or_else(nested) {
        Some(Value::String(group)) => vec![group],
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> OidcSettings {
        OidcSettings {
            issuer: "https://login.example.com".to_owned(),
            client_id: "gristmill".to_owned(),
            ..OidcSettings::default()
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_by_its_key() {
        assert_eq!(settings().faults(), []);
        for issuer in ["", "login.example.com", "http://login.example.com", "https://a/?b=c", "ftp://a"] {
            let wrong = OidcSettings { issuer: issuer.to_owned(), ..settings() };
            assert_eq!(wrong.faults().len(), 1, "{issuer}");
        }
        assert_eq!(OidcSettings { issuer: "http://127.0.0.1:8080/realms/a".to_owned(), ..settings() }.faults(), []);
        let owners = OidcSettings { role: Some(Role::Owner), ..settings() };
        assert!(owners.faults()[0].1.contains("appointed by owners"));
        let half = OidcSettings { role_claim: "groups".to_owned(), ..settings() };
        assert_eq!(half.faults().len(), 1);
    }

    #[test]
    fn the_highest_role_of_the_groups_counts() {
        let roles = [("ops", Role::Operator), ("boss", Role::Admin), ("all", Role::Viewer)];
        let roles = roles.into_iter().map(|(group, role)| (group.to_owned(), role)).collect();
        let by_groups = OidcSettings { role_claim: "groups".to_owned(), roles, ..settings() };
        for (claims, expected) in [
            (json!({ "groups": ["all", "boss", "ops"] }), Ok(Some(Role::Admin))),
            (json!({ "groups": "ops" }), Ok(Some(Role::Operator))),
            (json!({ "groups": [7, { "a": "boss" }, "all"] }), Ok(Some(Role::Viewer))),
            (json!({ "groups": ["Boss"] }), Err("none of your groups has a role here")),
            (json!({}), Err("none of your groups has a role here")),
        ] {
            assert_eq!(by_groups.role_of(&claims), expected, "{claims}");
        }
        let usual = OidcSettings { role: Some(Role::Viewer), ..by_groups };
        assert_eq!(usual.role_of(&json!({})), Ok(Some(Role::Viewer)));
        let nested = OidcSettings { role_claim: "realm_access.roles".to_owned(), ..usual };
        assert_eq!(nested.role_of(&json!({ "realm_access": { "roles": ["ops"] } })), Ok(Some(Role::Operator)));
        assert_eq!(settings().role_of(&json!({ "groups": ["boss"] })), Ok(None), "no claim is asked");
    }
}
