//! Checks what types alone cannot express: which values make sense, and which exclude one another.

mod callbacks;
mod events;
mod exec;
mod notify;
mod schedules;
mod triggers;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use gristmill_core::definition::{BatchDefinition, CHUNK_ITEMS_MAX, OneOrMany, ValidateSpec};
use gristmill_core::duration;
use gristmill_core::limit::KEY_BYTES_MAX;
use gristmill_core::operation::UNDO_MAX;
use gristmill_jobs::kind::aggregate::AGGREGATE;
use gristmill_jobs::mail::Templates;
use gristmill_jobs::source::{self, SourceError};
use gristmill_mail::compose::mailbox;
use gristmill_service::audit::AuditSettings;
use gristmill_service::retention::{Keep, RetentionSettings};
use url::Url;

pub use gristmill_core::id::is_name;

use super::error::ConfigError;
use super::keys::join;
use super::origin::{Origins, nearest_origin};
use super::settings::Config;
use super::zoneinfo;
use crate::kind_settings::KindSettings;

/// The shortest time for which anything is kept.
const KEEP_MIN: Duration = Duration::from_secs(60);

/// Returns everything that is wrong with the values. Schemas that a batch names are read into it.
pub fn config(config: &mut Config, origins: &Origins) -> Vec<ConfigError> {
    let templates = Templates::new(config.mail.templates.as_deref());
    let private_webhooks = config.webhook.allow_private;
    let late = schedules::late(config);
    let channels = config.notify.keys().cloned().collect();
    let mut findings = Findings { origins, templates, private_webhooks, channels, late, errors: Vec::new() };
    findings.store(&config.store.url);
    findings.broker(&config.broker.url);
    findings.worker(config);
    findings.scheduler(&config.scheduler);
    findings.audit(&config.audit);
    findings.retention(&config.retention);
    findings.events(config);
    for (key, wrong) in config.accounts.faults() {
        findings.push(&format!("accounts.{key}"), wrong);
    }
    findings.notify(config);
    findings.oidc(config);
    for (key, wrong) in config.cache.faults() {
        findings.push(&format!("cache.{key}"), wrong);
    }
    findings.mail(config);
    findings.exec(&config.exec);
    let addresses = [
        ("worker.metrics", &config.worker.metrics),
        ("scheduler.metrics", &config.scheduler.metrics),
        ("scheduler.hooks", &config.scheduler.hooks),
    ];
    for (key, address) in addresses {
        if !address.is_empty() && SocketAddr::from_str(address).is_err() {
            findings.push(key, format!("`{address}` is not an address; write one such as `127.0.0.1:9601`"));
        }
    }
    for (name, kind) in &config.kind {
        let key = format!("kind.{name}");
        if kind.max_attempts == Some(0) {
            findings.push(&join(&key, "max_attempts"), "is 0; a job needs at least 1 attempt");
        }
        if kind.timeout.is_some_and(|span| span.0.is_zero()) {
            findings.push(&join(&key, "timeout"), "is 0; write how long one attempt may take, such as `15m`");
        }
        if let Some(queue) = &kind.queue {
            findings.name(&join(&key, "queue"), queue);
        }
        if name == AGGREGATE {
            findings.aggregates(&key, kind);
        }
    }
    for (name, batch) in &mut config.batch {
        findings.batch(name, batch);
    }
    findings.schedules(config);
    findings.hooks(config);
    findings.limits(config);
    findings.watches(config);
    findings.errors
}

struct Findings<'a> {
    origins: &'a Origins,
    templates: Templates,
    private_webhooks: bool,
    /// The channels of notifications.
    channels: Vec<String>,
    /// Batches for which a schedule sets when they are late.
    late: HashSet<String>,
    errors: Vec<ConfigError>,
}

impl Findings<'_> {
    fn oidc(&mut self, config: &Config) {
        for (name, provider) in &config.oidc {
            self.name("oidc", name);
            for (key, wrong) in provider.faults() {
                self.push(&format!("oidc.{name}.{key}"), wrong);
            }
        }
        if !config.oidc.is_empty() && config.accounts.url.is_empty() {
            let wrong = "is empty, so that no login of [oidc] could come back; write where people reach the server";
            self.push("accounts.url", wrong);
        }
    }

    fn push(&mut self, key: &str, message: impl Into<String>) {
        let origin = nearest_origin(self.origins, key).cloned();
        self.errors.push(ConfigError::at(origin, key, message));
    }

    fn name(&mut self, key: &str, text: &str) {
        if !is_name(text) {
            self.push(key, format!("`{text}` is not a name; use 1 to 100 letters, digits, `-` and `_`"));
        }
    }

    fn exactly_one(&mut self, key: &str, choices: &[(&str, bool)]) {
        let given: Vec<&str> = choices.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        let all = choices.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match given.len() {
            1 => {}
            0 => self.push(key, format!("says nothing; give one of {all}")),
            _ => self.push(key, format!("has {}; give only one of {all}", given.join(" and "))),
        }
    }

    fn store(&mut self, url: &str) {
        let Err(wrong) = gristmill_store::address::check(url) else { return };
        self.push("store.url", format!("`{}` {wrong}", super::redact::redact_address(url)));
    }

    fn broker(&mut self, url: &str) {
        let right = "write `in-process` or `amqp://USER:PASSWORD@HOST:5672/VHOST`";
        if url == "in-process" {
            return;
        }
        match Url::parse(url) {
            Ok(parsed) if matches!(parsed.scheme(), "amqp" | "amqps") && parsed.host_str().is_some() => {}
            _ => {
                let shown = super::redact::redact_address(url);
                self.push("broker.url", format!("`{shown}` is not the address of a broker; {right}"));
            }
        }
    }

    fn worker(&mut self, config: &Config) {
        let worker = &config.worker;
        if !(1..=10_000).contains(&worker.slots) {
            self.push("worker.slots", format!("is {}; it must be 1 to 10000", worker.slots));
        }
        if worker.beat.0.is_zero() || worker.lease.0 < worker.beat.0 * 2 {
            self.push("worker.lease", "is too short; it must be at least twice `worker.beat`, which must not be 0");
        }
        for queue in &worker.queues {
            self.name("worker.queues", queue);
        }
        if config.store.connections == 0 {
            self.push("store.connections", "is 0; at least 1 is needed");
        }
        let listener = &config.listener;
        for (key, time) in [("head_timeout", listener.head_timeout), ("body_timeout", listener.body_timeout)] {
            if time.0.is_zero() {
                self.push(&format!("listener.{key}"), "is 0: nobody could send anything in that time");
            }
        }
        for (key, wrong) in config.serve.faults() {
            self.push(&format!("serve.{key}"), wrong);
        }
        if worker.poll.0.is_zero() {
            self.push("worker.poll", "is 0; write how often, such as `1s`");
        }
    }

    fn scheduler(&mut self, scheduler: &gristmill_scheduler::Settings) {
        if let Err(wrong) = zoneinfo::install(scheduler.zoneinfo.as_deref()) {
            self.push("scheduler.zoneinfo", wrong);
        }
        let defaults = gristmill_scheduler::Settings::default();
        for ((duty, every), (_, default)) in scheduler.duties.all().into_iter().zip(defaults.duties.all()) {
            let key = format!("scheduler.duties.{duty}");
            if every.0.is_zero() {
                self.push(&key, format!("is 0; write how often, such as `{}`", duration::format(default.0)));
            }
        }
        if scheduler.rows_max == 0 {
            let (key, default) = ("scheduler.rows_max", defaults.rows_max);
            self.push(key, format!("is 0, so that no duty would get anywhere; write at least 1, such as {default}"));
        }
        if scheduler.copy_bytes_max == 0 {
            let (key, default) = ("scheduler.copy_bytes_max", defaults.copy_bytes_max);
            self.push(
                key,
                format!("is 0, so that nothing could be copied; write a number of bytes, such as {default}"),
            );
        }
    }

    fn audit(&mut self, settings: &AuditSettings) {
        if settings.key_file.is_empty() && !settings.heads_file.is_empty() {
            self.push("audit.heads_file", "nothing is written there, because `audit.key_file` names no key; name one");
        }
        let is_key = |key: &&String| key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(key) = settings.trusted_keys.iter().find(|key| !is_key(key)) {
            self.push("audit.trusted_keys", format!("`{key}` is no public key, which has 64 hexadecimal digits"));
        }
    }

    /// What has just ended is waited for, shown, and noted by schedules: it must not vanish at once.
    fn retention(&mut self, settings: &RetentionSettings) {
        let mut keeps = vec![
            ("retention.jobs".to_owned(), settings.jobs),
            ("retention.batches".to_owned(), settings.batches),
            ("retention.dead_letters".to_owned(), settings.dead_letters),
            ("retention.ticks".to_owned(), settings.ticks),
            ("retention.triggers".to_owned(), settings.triggers),
            ("retention.emails".to_owned(), settings.emails),
            ("retention.poison".to_owned(), settings.poison),
            ("retention.audit".to_owned(), settings.audit),
            ("retention.operations".to_owned(), settings.operations),
            ("retention.history_minutes".to_owned(), settings.history_minutes),
            ("retention.history_hours".to_owned(), settings.history_hours),
            ("retention.watched_files".to_owned(), settings.watched_files),
        ];
        keeps.extend(settings.queue.iter().map(|(name, keep)| (format!("retention.queue.{name}"), *keep)));
        keeps.extend(settings.batch.iter().map(|(name, keep)| (format!("retention.batch.{name}"), *keep)));
        if settings.undo.0 > UNDO_MAX {
            self.push("retention.undo", "is longer than an operation can be undone; write at most `7d`");
        }
        for (key, keep) in keeps {
            if keep < Keep::For(KEEP_MIN) {
                self.push(&key, format!("is {keep}, so that what has ended would vanish at once; write at least `1m`"));
            }
        }
    }

    fn mail(&mut self, config: &Config) {
        let mail = &config.mail;
        let right = "write `folder://PATH`, `smtp://USER@HOST:587`, `smtps://USER@HOST` or `sandbox://`";
        let scheme = mail.url.split_once("://").map_or("", |(scheme, _)| scheme);
        match (scheme, Url::parse(&mail.url)) {
            ("folder", _) if mail.url.len() > "folder://".len() => {}
            ("sandbox", _) if mail.url == "sandbox://" => {}
            ("smtp" | "smtps", Ok(url)) if url.password().is_some() => {
                self.push("mail.url", "holds a password; name its variable in `mail.password_env` instead");
            }
            ("smtp" | "smtps", Ok(url)) if url.has_host() => {}
            _ => {
                let shown = super::redact::redact_address(&mail.url);
                self.push("mail.url", format!("`{shown}` is not the address of a mail service; {right}"));
            }
        }
        self.relays(config);
        if mail.connections == 0 {
            self.push("mail.connections", "is 0; at least 1 is needed");
        }
        if !mail.from.contains('@') {
            let wrong = format!("`{}` is not a sender; write `Name <name@example.com>`", mail.from);
            self.push("mail.from", wrong);
        }
        if mail.password_env.is_some() && mail.password_file.is_some() {
            self.push("mail.password_file", "stands beside `password_env`; give only one of them");
        }
        if config.webhook.secret_env.is_some() && config.webhook.secret_file.is_some() {
            self.push("webhook.secret_file", "stands beside `secret_env`; give only one of them");
        }
    }

    /// What their own kind says when it reads them, without what only a worker has: passwords and certificates.
    fn relays(&mut self, config: &Config) {
        let mail = &config.mail;
        if !mail.relays.is_empty() && mail.url.starts_with("smtp") {
            self.push("mail.url", "names a server, and there are `[mail.relays]`; make it one of them");
        }
        for (name, relay) in &mail.relays {
            let key = format!("mail.relays.{name}");
            if let Some(fault) = gristmill_core::mail_flow::relay_fault(name) {
                self.push(&key, fault);
            }
            match Url::parse(&relay.url) {
                Ok(url) if url.password().is_some() => {
                    self.push(&join(&key, "url"), "holds a password; name its variable in `password_env` instead");
                }
                Ok(url) if matches!(url.scheme(), "smtp" | "smtps") && url.has_host() => {}
                _ => self.push(&join(&key, "url"), "must be `smtp://HOST:587` or `smtps://HOST`"),
            }
            if relay.password_env.is_some() && relay.password_file.is_some() {
                self.push(&join(&key, "password_file"), "stands beside `password_env`; give only one of them");
            }
            if relay.connections == 0 || relay.weight == 0 || relay.messages_per_connection == 0 {
                self.push(&key, "has `connections`, `weight` and `messages_per_connection` of 1 or more");
            }
        }
        if let Err(wrong) = gristmill_jobs::mail::relays::check_domains(mail) {
            self.push("mail.domains", wrong);
        }
    }

    /// An aggregate is enqueued by the store, which knows only its batch.
    fn aggregates(&mut self, key: &str, kind: &KindSettings) {
        let choices = [
            ("queue", kind.queue.is_some(), "it waits on the queue of its batch; set that one's `queue`"),
            ("priority", kind.priority.is_some(), "an aggregate always comes first: its priority is high"),
            ("max_snoozes", kind.max_snoozes.is_some(), "an aggregate is never snoozed"),
        ];
        for (setting, _, why) in choices.into_iter().filter(|(_, set, _)| *set) {
            self.push(&join(key, setting), format!("means nothing here: {why}"));
        }
    }

    fn batch(&mut self, name: &str, batch: &mut BatchDefinition) {
        let key = format!("batch.{name}");
        self.name(&key, name);
        self.name(&join(&key, "queue"), &batch.queue);
        if let Some(chunk) = batch.chunk.filter(|chunk| !(1..=CHUNK_ITEMS_MAX).contains(chunk)) {
            self.push(&join(&key, "chunk"), format!("is {chunk}; a chunk has 1 to {CHUNK_ITEMS_MAX} items"));
        }
        if batch.key.as_ref().is_some_and(|text| !(1..=KEY_BYTES_MAX).contains(&text.len()) || text.contains('\0')) {
            self.push(&join(&key, "key"), format!("must have 1 to {KEY_BYTES_MAX} bytes and no NUL"));
        }
        if batch.max_attempts == 0 {
            self.push(&join(&key, "max_attempts"), "is 0; a chunk needs at least 1 attempt");
        }
        if batch.timeout.0.is_zero() {
            self.push(&join(&key, "timeout"), "is 0; write how long one attempt may take, such as `15m`");
        }
        match batch.late_after {
            None if !batch.on.late.is_empty() && !self.late.contains(name) => {
                let wrong = "has nobody to tell when: write `late_after` beside it, such as `late_after = \"2h\"`";
                self.push(&join(&key, "on.late"), wrong);
            }
            Some(late_after) if late_after.0.is_zero() => {
                self.push(&join(&key, "late_after"), "is 0; write after how long the batch is late, such as `2h`");
            }
            None | Some(_) => {}
        }
        self.choices(&key, batch);
        self.schema(&key, &mut batch.validate);
        self.callbacks(&join(&key, "on"), batch);
        if let Some(schedule) = &batch.schedule {
            self.own_schedule(&join(&key, "schedule"), schedule);
        }
    }

    fn choices(&mut self, key: &str, batch: &BatchDefinition) {
        let source = &batch.source;
        let inputs = [
            ("csv", source.csv.is_some()),
            ("jsonl", source.jsonl.is_some()),
            ("fixed", source.fixed.is_some()),
            ("sql", source.sql.is_some()),
            ("merge", source.merge.is_some()),
        ];
        self.exactly_one(&join(key, "source"), &inputs);
        if inputs.iter().filter(|(_, given)| *given).count() == 1 {
            let wrong = match source::check(source) {
                Ok(()) => None,
                Err(SourceError::Setting(wrong)) => Some(wrong),
                Err(other) => Some(other.to_string()),
            };
            if let Some(wrong) = wrong {
                self.push(&join(key, "source"), wrong);
            }
        }
        if let Some(process) = &batch.process {
            let (rust, exec, http) = (process.rust.is_some(), process.exec.is_some(), process.http.is_some());
            self.exactly_one(&join(key, "process"), &[("rust", rust), ("exec", exec), ("http", http)]);
            if process.exec.as_ref().is_some_and(|exec| exec.command.is_empty()) {
                self.push(&join(key, "process.exec.command"), "is empty; write the program and its arguments");
            }
            if let Some(http) = &process.http {
                self.web_address(&join(key, "process.http.url"), &http.url);
            }
        }
        if let Some(output) = &batch.output {
            let given =
                [("jsonl", output.jsonl.is_some()), ("csv", output.csv.is_some()), ("sql", output.sql.is_some())];
            self.exactly_one(&join(key, "output"), &given);
        }
        for (index, enrich) in batch.enrich.iter().enumerate() {
            let given = [("file", enrich.file.is_some()), ("sql", enrich.sql.is_some())];
            self.exactly_one(&format!("{key}.enrich[{index}]"), &given);
        }
    }

    /// Reads the content of a schema's file into `inline`: a run must not depend on the file.
    fn schema(&mut self, key: &str, validate: &mut Option<ValidateSpec>) {
        let Some(validate) = validate else { return };
        let given = [("schema", validate.schema.is_some()), ("inline", validate.inline.is_some())];
        self.exactly_one(&join(key, "validate"), &given);
        let Some(path) = validate.schema.clone() else { return };
        let read = std::fs::read_to_string(&path).map_err(|error| format!("`{path}` cannot be read: {error}"));
        let parsed = read.and_then(|text| {
            gristmill_core::json::read(text.trim_start_matches('\u{feff}').as_bytes())
                .map_err(|error| format!("`{path}` is not JSON that can be kept: {error}"))
        });
        match parsed {
            Ok(schema) => {
                validate.schema = None;
                validate.inline = Some(schema);
            }
            Err(wrong) => self.push(&join(key, "validate.schema"), wrong),
        }
    }

    fn recipients(&mut self, key: &str, to: &OneOrMany) {
        if to.as_slice().is_empty() {
            self.push(key, "is empty; write at least one address");
        }
        for address in to.as_slice() {
            if mailbox(key, address).is_err() {
                self.push(key, format!("`{address}` is not an email address; write one such as `ops@example.com`"));
            }
        }
    }

    fn web_address(&mut self, key: &str, text: &str) -> bool {
        let right = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !right {
            let shown = super::redact::redact_address(text);
            self.push(key, format!("`{shown}` is not a URL; write one such as `https://example.com/hook`"));
        }
        right
    }

    fn limits(&mut self, config: &Config) {
        for (name, limit) in &config.limit {
            let key = format!("limit.{name}");
            self.name(&key, name);
            limit.queues.iter().for_each(|queue| self.name(&join(&key, "queues"), queue));
            limit.kinds.iter().for_each(|kind| self.name(&join(&key, "kinds"), kind));
            if let Err(wrong) = limit.check() {
                let key = if wrong.key.is_empty() { key } else { join(&key, wrong.key) };
                self.push(&key, wrong.message);
            }
        }
        for (name, queue) in &config.queue {
            let key = format!("queue.{name}");
            self.name(&key, name);
            if queue.age_after.is_some_and(|span| span.0.is_zero()) {
                self.push(
                    &join(&key, "age_after"),
                    "is 0; write after how long a job moves up one priority, such as `10m`",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, load};

    fn errors(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("c.toml");
        std::fs::write(&file, text).expect("written");
        let found = load(&Layers { file: Some(file.clone()), ..Layers::default() });
        let shown = file.display().to_string();
        let show = |error: ConfigError| {
            let hint = error.hint.clone().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{error}{hint}").replace(&shown, "c.toml")
        };
        found.err().unwrap_or_default().into_iter().map(show).collect()
    }

    /// `c.toml:2:5: …` as `c.toml:2: …`.
    fn without_column(error: &str) -> String {
        let mut parts: Vec<&str> = error.splitn(4, ':').collect();
        if parts.len() == 4 && parts[2].bytes().all(|byte| byte.is_ascii_digit()) {
            parts.remove(2);
        }
        parts.join(":")
    }

    fn each_is_shown_as(table: &[(&str, &str)]) {
        for (text, expected) in table {
            let found: Vec<_> = errors(text).iter().map(|error| without_column(error)).collect();
            assert!(
                found.iter().any(|error| error.starts_with(expected)),
                "{text}\nexpected {expected}\nfound {found:#?}"
            );
        }
    }

    #[test]
    fn each_bad_value_is_shown_at_its_line_with_what_would_be_right() {
        each_is_shown_as(&[
            ("[worker]\nslotz = 3\n", "c.toml:2: `worker.slotz`: there is no such setting (did you mean `slots`?)"),
            ("[workr]\nslots = 3\n", "c.toml:1: `workr`: there is no section [workr] (did you mean `worker`?)"),
            ("[worker]\nlease = \"10x\"\n", "c.toml:2: `worker.lease`: `10x` is not a duration"),
            (
                "[worker]\nslots = \"many\"\n",
                "c.toml:2: `worker.slots`: found string \"many\", expected a whole number, not below 0",
            ),
            ("[worker]\nslots = 0\n", "c.toml:2: `worker.slots`: is 0; it must be 1 to 10000"),
            (
                "[store]\nurl = \"mysql://h/d\"\n",
                "c.toml:2: `store.url`: `mysql://h/d` is neither `sqlite://FILE` nor `postgres://",
            ),
            ("[broker]\nurl = \"kafka\"\n", "c.toml:2: `broker.url`: `kafka` is not the address of a broker"),
            ("[batch.a]\nchunk = 5\n", "c.toml:1: `batch.a`: `source` is missing here"),
            (
                "[batch.a]\nsource = {}\n",
                "c.toml:2: `batch.a.source`: says nothing; give one of `csv`, `jsonl`, `fixed`, `sql`, `merge`",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\", jsonl = \"b\" }\n",
                "c.toml:2: `batch.a.source`: has csv and jsonl; give only one of",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nchunk = 0\n",
                "c.toml:3: `batch.a.chunk`: is 0; a chunk has 1 to 100000 items",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nfailure_budget = \"lots\"\n",
                "c.toml:3: `batch.a.failure_budget`: `lots` is not a failure budget",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nparse = { n = { type = \"integr\" } }\n",
                "c.toml:3: `batch.a.parse.n.type`: `integr` is not one of the words known here (did you mean `integer`?)",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\naggregate = { n = { summ = \"x\" } }\n",
                "c.toml:3: `batch.a.aggregate.n.summ`: there is no such setting (did you mean `sum`?)",
            ),
        ]);
    }

    #[test]
    fn bad_schedules_are_shown_where_they_stand() {
        each_is_shown_as(&[
            (
                "[batch.a]\nsource = { csv = \"a\" }\n[schedule.s]\nafter = \"b\"\nbatch = \"a\"\n",
                "c.toml:4: `schedule.s.after`: there is no [batch.b]",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\n[schedule.s]\nafter = \"a\"\nbatch = \"a\"\n",
                "c.toml:4: `schedule.s.after`: is its own batch `a`",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nschedule = { after = \"b\" }\n[batch.b]\nsource = { csv = \"b\" }\nschedule = { after = \"a\" }\n",
                "c.toml:3: `batch.a.schedule.after`: `a` follows `b`, which follows `a` in turn",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\n[batch.b]\nsource = { csv = \"b\" }\n[schedule.s]\nafter = \"a\"\nbatch = \"b\"\njitter = \"5s\"\n",
                "c.toml:8: `schedule.s.jitter`: is about the clock, and does not go together with `after`",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\n[schedule.s]\nevery = \"1h\"\nbatch = \"a\"\nlate_after = \"5m\"\n",
                "c.toml:6: `schedule.s.late_after`: has nobody to tell",
            ),
            (
                "[schedule.s]\nevery = \"1h\"\nending = \"done\"\njob = { kind = \"x\" }\n",
                "c.toml:3: `schedule.s.ending`: says which endings of another batch count",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\n[schedule.s]\nevery = \"1h\"\nbatch = \"a\"\nmissed = \"all\"\noverlap = \"skip\"\n",
                "c.toml:7: `schedule.s.overlap`: is `skip`, by which most missed ticks would not run although `missed` is `all`; write `buffer_all`",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nschedule = { cron = \"61 2 * * *\" }\n",
                "c.toml:3: `batch.a.schedule.cron`: `61 2 * * *` is not a schedule",
            ),
        ]);
    }

    #[test]
    fn bad_hooks_and_watched_folders_are_shown_where_they_stand() {
        each_is_shown_as(&[
            (
                "[hook.h]\njob = { kind = \"x\" }\n",
                "c.toml:1: `hook.h`: says nothing; give one of `secret_env`, `secret_file`",
            ),
            ("[hook.h]\nsecret_env = \"S\"\n", "c.toml:1: `hook.h`: starts nothing; give one of `batch` and `job`"),
            ("[hook.h]\nsecret_env = \"S\"\nbatch = \"b\"\n", "c.toml:3: `hook.h.batch`: there is no [batch.b]"),
            (
                "[hook.h]\nsecret_env = \"S\"\njob = { kind = \"x\" }\nscheme = \"hmac\"\n",
                "c.toml:4: `hook.h.scheme`: `hmac` is not one of the words known here",
            ),
            (
                "[hook.h]\nsecret_env = \"S\"\njob = { kind = \"x\" }\nevent = \"/id\"\n",
                "c.toml:4: `hook.h.event`: is for `scheme = ",
            ),
            (
                "[hook.h]\nsecret_env = \"S\"\njob = { kind = \"x\" }\nscheme = \"timestamped\"\nevent = \"id\"\n",
                "c.toml:5: `hook.h.event`: is not a JSON pointer",
            ),
            (
                "[hook.h]\nsecret_env = \"S\"\njob = { kind = \"x\" }\nbytes_max = 0\n",
                "c.toml:4: `hook.h.bytes_max`: is 0; a body may have 1 to",
            ),
            (
                "[hook.h]\nsecret_env = \"S\"\njob = { kind = \"x\" }\ntolerance = \"0s\"\n",
                "c.toml:4: `hook.h.tolerance`: is 0",
            ),
            (
                "[hook.h]\nsecret_env = \"S\"\njob = { kind = \"x\" }\nvalidate = { schema = \"none.json\" }\n",
                "c.toml:4: `hook.h.validate.schema`: ",
            ),
            ("[watch.w]\njob = { kind = \"x\" }\n", "c.toml:1: `watch.w`: says no `folder` to watch"),
            ("[watch.w]\nfolder = \"in\"\n", "c.toml:1: `watch.w`: starts nothing; give one of `batch` and `job`"),
            (
                "[watch.w]\nfolder = \"in\"\njob = { kind = \"x\" }\npattern = \"a[\"\n",
                "c.toml:4: `watch.w.pattern`: `a[` is not a pattern",
            ),
            (
                "[watch.w]\nfolder = \"in\"\njob = { kind = \"x\" }\n[watch.x]\nfolder = \"in\"\njob = { kind = \"x\" }\n",
                "c.toml:5: `watch.x.folder`: is the folder of [watch.w] too",
            ),
            (
                "[watch.w]\nfolder = \"in\"\njob = { kind = \"x\" }\nsettle = \"soon\"\n",
                "c.toml:4: `watch.w.settle`: `soon` is not a duration",
            ),
        ]);
    }

    #[test]
    fn bad_limits_and_queues_are_shown_where_they_stand() {
        each_is_shown_as(&[
            ("[limit.a]\nconcurrency = 1\n", "c.toml:1: `limit.a`: limits nothing; name `queues`, `kinds`, or both"),
            (
                "[limit.a]\nqueues = [\"crm\"]\nconcurrency = 0\n",
                "c.toml:3: `limit.a.concurrency`: must be 1 to 1000000; to stop a queue, pause it",
            ),
            (
                "[limit.a]\nqueues = [\"c r m\"]\nrate = 1\nconcurency = 2\n",
                "c.toml:4: `limit.a.concurency`: there is no such setting (did you mean `concurrency`?)",
            ),
            ("[queue.a]\nage_after = \"0s\"\n", "c.toml:2: `queue.a.age_after`: is 0; write after how long"),
        ]);
    }

    #[test]
    fn what_is_sent_and_when_is_checked_before_anything_runs() {
        each_is_shown_as(&[
            (
                "[batch.a]\nsource = { csv = \"a\" }\non.settled = [{ webhook = \"nope\" }]\n",
                "c.toml:3: `batch.a.on.settled[0].webhook`: `nope` is not a URL",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\non.halted = [{ webhook = \"http://example.com/\" }]\n",
                "c.toml:3: `batch.a.on.halted[0].webhook`: plain `http://` can be read and changed on its way; use `https://`, or set `webhook.allow_private = true`",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\non.success = [{ webhook = { url = \"https://10.1.2.3/\" } }]\n",
                "c.toml:3: `batch.a.on.success[0].webhook.url`: 10.1.2.3 is not a public address; a job may only call public ones unless `webhook.allow_private = true`",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\non.settled = [{ email = { to = [\"Ada <ada@example.com>\", \"a@b, c@d\"] } }]\n",
                "c.toml:3: `batch.a.on.settled[0].email.to`: `a@b, c@d` is not an email address",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nvalidate = { schema = \"none.json\" }\n",
                "c.toml:3: `batch.a.validate.schema`: ",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\non.late = [{ email = { to = \"a@b.c\" } }]\n",
                "c.toml:3: `batch.a.on.late`: has nobody to tell when: write `late_after` beside it, such as `late_after = \"2h\"`",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\non.settled = [{ email = { to = \"a@b.c\", template = \"batch-raport\" } }]\n",
                "c.toml:3: `batch.a.on.settled[0].email.template`: there is no template `batch-raport`",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nschedule = { cron = \"0 2 * * *\", timezone = \"Europe/Lodon\" }\n",
                "c.toml:3: `batch.a.schedule.timezone`: `Europe/Lodon` is not a time zone known here (did you mean `Europe/London`?)",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nschedule = { cron = \"0 2 * * *\", missed = \"lastest\" }\n",
                "c.toml:3: `batch.a.schedule.missed`: `lastest` is not one of the words known here (did you mean `latest`?)",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nschedule = { cron = \"0 2 * * *\", overlap = \"stop\" }\n",
                "c.toml:3: `batch.a.schedule.overlap`: `stop` is not one of the words known here (",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nschedule = { crom = \"0 2 * * *\" }\n",
                "c.toml:3: `batch.a.schedule.crom`: there is no such setting (did you mean `cron`?)",
            ),
        ]);
    }

    #[test]
    fn a_schedule_is_checked_with_what_it_starts() {
        each_is_shown_as(&[
            (
                "[schedule.a]\ncron = \"0 2 * * *\"\n",
                "c.toml:1: `schedule.a`: starts nothing; give one of `batch` and `job`",
            ),
            (
                "[schedule.a]\nbatch = \"b\"\n",
                "c.toml:1: `schedule.a`: says no time; give one of `cron`, `every`, `at` and `after`",
            ),
            (
                "[batch.retail]\nsource = { csv = \"a\" }\n[schedule.a]\nevery = \"1h\"\nbatch = \"retial\"\n",
                "c.toml:5: `schedule.a.batch`: there is no [batch.retial] (did you mean `retail`?)",
            ),
            (
                "[schedule.a]\nevery = \"5ms\"\njob = { kind = \"exec\" }\n",
                "c.toml:2: `schedule.a.every`: is shorter than a second",
            ),
            (
                "[schedule.a]\nat = \"tomorrow\"\njob = { kind = \"exec\" }\n",
                "c.toml:2: `schedule.a.at`: `tomorrow` is not an instant",
            ),
            (
                "[schedule.a]\nevery = \"1h\"\njob = { kidn = \"exec\" }\n",
                "c.toml:3: `schedule.a.job.kidn`: there is no such setting (did you mean `kind`?)",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nschedule = { cron = \"@daily\", batch = \"b\" }\n",
                "c.toml:3: `batch.a.schedule.batch`: does not belong here",
            ),
            (
                "[batch.a]\nsource = { csv = \"a\" }\nschedule = { cron = \"@daily\" }\n[schedule.a]\nevery = \"1h\"\nbatch = \"a\"\n",
                "c.toml:4: `schedule.a`: is also the name of the own schedule of [batch.a]",
            ),
        ]);
    }

    #[test]
    fn what_is_allowed_is_not_complained_about() {
        let text = "[webhook]\nallow_private = true\n[batch.a]\nsource = { csv = \"a\" }\non.settled = [{ webhook = \"http://10.1.2.3/\" }, { email = { to = \"Ada <ada@example.com>\" } }]\n";
        assert_eq!(errors(text), Vec::<String>::new());
    }

    #[test]
    fn all_errors_of_a_file_come_at_once() {
        assert_eq!(errors("[worker]\nslotz = 3\n[batch.a]\nchunk = 1\n[nope]\n").len(), 3);
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("c.toml");
        std::fs::write(&file, "[worker]\nslots = 3\nqueues = [\"a\"]\n[store]\nurl = \"sqlite://x.db\"\n")
            .expect("written");
        let layers = Layers {
            file: Some(file),
            env: vec![
                ("GRISTMILL_WORKER_SLOTS".to_owned(), "4".to_owned()),
                ("GRISTMILL_WORKER_QUEUES".to_owned(), "b,c".to_owned()),
                ("GRISTMILL_STORE_URL".to_owned(), "sqlite://y.db".to_owned()),
                ("GRISTMILL_WORKER_SLOT".to_owned(), "9".to_owned()),
            ],
            flags: vec![("store", "store.url", "sqlite://z.db".to_owned())],
        };
        let loaded = load(&layers).expect("valid");
        assert_eq!(loaded.config.worker.slots, 4);
        assert_eq!(loaded.config.worker.queues, ["b", "c"]);
        assert_eq!(loaded.config.store.url, "sqlite://z.db");
        assert_eq!(loaded.origins["store.url"].to_string(), "flag --store");
        assert_eq!(loaded.warnings.len(), 1);
    }
}
