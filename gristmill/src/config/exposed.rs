//! What a configuration sends over a network for others to read. It is allowed, and said.

use gristmill_jobs::settings::StartTls;
use gristmill_store::is_here;
use url::Url;

use super::settings::Config;

/// What goes in the clear to another machine, by the key that says so, with what would be right.
pub(crate) fn exposed(config: &Config) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let elsewhere = |url: &str, scheme: &str| {
        let url = Url::parse(url).ok().filter(|url| url.scheme() == scheme)?;
        url.host_str().map(str::to_owned).filter(|host| !is_here(host))
    };
    if let Some(host) = elsewhere(&config.broker.url, "amqp") {
        found.push((
            "broker.url",
            format!("sends its password and every id to {host} in the clear; write `amqps://…`, with `[broker] ca_file` for an authority of your own"),
        ));
    }
    if let Some(host) = elsewhere(&config.mail.url, "smtp").filter(|_| config.mail.starttls == StartTls::Never) {
        found.push((
            "mail.starttls",
            format!("is `never`: mails and the password go to {host} in the clear; write `required`"),
        ));
    }
    let relays = config.mail.relays.values().filter(|relay| relay.starttls == StartTls::Never);
    for host in relays.filter_map(|relay| elsewhere(&relay.url, "smtp")) {
        found.push((
            "mail.relays",
            format!("have `starttls = \"never\"`: mails and the password go to {host} in the clear; write `required`"),
        ));
    }
    if let Some(host) = elsewhere(&config.cache.redis, "redis") {
        found.push((
            "cache.redis",
            format!("sends its password, and who asks how often, to {host} in the clear; write `rediss://…`"),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(broker: &str, mail: &str) -> Vec<&'static str> {
        let mut config = Config::default();
        broker.clone_into(&mut config.broker.url);
        mail.clone_into(&mut config.mail.url);
        config.mail.starttls = StartTls::Never;
        exposed(&config).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn only_what_leaves_the_machine_in_the_clear_is_said() {
        let here = "folder://mail";
        assert_eq!(keys("amqp://u:p@mq.example.com/%2f", here), ["broker.url"]);
        assert_eq!(keys("amqp://10.0.0.1", "smtp://u@mail.example.com"), ["broker.url", "mail.starttls"]);
        for broker in ["amqp://localhost", "amqp://[::1]:5672", "amqps://mq.example.com", "in-process"] {
            assert!(keys(broker, here).is_empty(), "{broker}");
        }
    }
}
