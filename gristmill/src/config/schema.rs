//! The JSON Schema of `config.toml`, for editors: what may stand where, and what it means.
//!
//! It is kept as a file. Its tests compare it with what the parser reads, key for key, and with configurations that are right
//! and that are wrong. What only `check` can know, such as whether a program of jq compiles, it does not say.

/// The schema.
pub const SCHEMA: &str = include_str!("schema.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use gristmill_core::{aggregate, definition, limit, mailing, schedule};
    use gristmill_jobs::stage::validate::Validate;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::renamed::RENAMED;
    use crate::config::settings::{Config, LogSettings};
    use crate::config::toml_tree::read_toml;

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).expect("JSON")
    }

    /// The keys that a type is read from, as its own error names them.
    fn keys<T: DeserializeOwned>() -> BTreeSet<String> {
        let Err(error) = serde_json::from_value::<T>(json!({ "no such key": null })) else { panic!("it took any key") };
        let text = error.to_string();
        let (_, known) = text.split_once("expected").unwrap_or_else(|| panic!("{text}"));
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// The definitions of the schema, and the keys that the parser reads there.
    fn known() -> Vec<(&'static str, BTreeSet<String>)> {
        vec![
            ("store_settings", keys::<gristmill_store::Settings>()),
            ("broker_settings", keys::<gristmill_broker::Settings>()),
            ("worker_settings", keys::<gristmill_worker::Settings>()),
            ("scheduler_settings", keys::<gristmill_scheduler::Settings>()),
            ("duty_settings", keys::<gristmill_scheduler::DutySettings>()),
            ("listener_settings", keys::<gristmill_telemetry::ListenerSettings>()),
            ("serve_settings", keys::<gristmill_dashboard::gate::ServeSettings>()),
            ("account_settings", keys::<gristmill_service::accounts::AccountSettings>()),
            ("mail_settings", keys::<gristmill_jobs::settings::MailSettings>()),
            ("channel_settings", keys::<gristmill_jobs::notify::ChannelSettings>()),
            ("relay_settings", keys::<gristmill_jobs::settings::RelaySettings>()),
            ("domain_settings", keys::<gristmill_jobs::settings::DomainSettings>()),
            ("warm_up", keys::<gristmill_core::mail_flow::WarmUp>()),
            ("dkim_settings", keys::<gristmill_jobs::settings::DkimSettings>()),
            ("cache_settings", keys::<gristmill_service::shared::CacheSettings>()),
            ("oidc_settings", keys::<gristmill_service::accounts::OidcSettings>()),
            ("webhook_settings", keys::<gristmill_jobs::settings::WebhookSettings>()),
            ("exec_settings", keys::<gristmill_jobs::settings::ExecSettings>()),
            ("http_settings", keys::<gristmill_jobs::settings::HttpSettings>()),
            ("audit_settings", keys::<gristmill_service::audit::AuditSettings>()),
            ("retention_settings", keys::<gristmill_service::retention::RetentionSettings>()),
            ("log_settings", keys::<LogSettings>()),
            ("kind_settings", keys::<crate::kind_settings::KindSettings>()),
            ("batch_definition", keys::<definition::BatchDefinition>()),
            ("source_spec", keys::<definition::SourceSpec>()),
            ("join_spec", keys::<definition::JoinSpec>()),
            ("fixed_field", keys::<definition::FixedField>()),
            ("sql_source", keys::<definition::SqlSource>()),
            ("aggregate_job", keys::<definition::AggregateJob>()),
            ("validate_spec", keys::<definition::ValidateSpec>()),
            ("sanitize_spec", keys::<definition::SanitizeSpec>()),
            ("parse_rule", keys::<definition::ParseRule>()),
            ("enrich_spec", keys::<definition::EnrichSpec>()),
            ("sql_lookup", keys::<definition::SqlLookup>()),
            ("process_spec", keys::<definition::ProcessSpec>()),
            ("exec_spec", keys::<definition::ExecSpec>()),
            ("http_spec", keys::<definition::HttpSpec>()),
            ("format_spec", keys::<definition::FormatSpec>()),
            ("output_spec", keys::<definition::OutputSpec>()),
            ("sql_output", keys::<definition::SqlOutput>()),
            ("mail_spec", keys::<mailing::MailSpec>()),
            ("variant_spec", keys::<mailing::VariantSpec>()),
            ("measure_spec", keys::<aggregate::MeasureSpec>()),
            ("having_spec", keys::<aggregate::HavingSpec>()),
            ("callbacks", keys::<definition::Callbacks>()),
            ("callback", keys::<definition::Callback>()),
            ("email_effect", keys::<definition::EmailEffect>()),
            ("schedule_spec", keys::<schedule::ScheduleSpec>()),
            ("job_spec", keys::<schedule::JobSpec>()),
            ("hook_settings", keys::<gristmill_dashboard::hooks::settings::HookSettings>()),
            ("limit_spec", keys::<limit::LimitSpec>()),
            ("queue_spec", keys::<limit::QueueSpec>()),
            ("watch_settings", keys::<gristmill_service::start::WatchSettings>()),
        ]
    }

    #[test]
    fn it_has_the_keys_that_the_parser_reads_and_no_others() {
        let schema = schema();
        let of = |object: &Value| -> BTreeSet<String> {
            let properties = object["properties"].as_object().expect("properties").iter();
            // Old names that are carried over before anything is read.
            let old = |name: &str| RENAMED.iter().any(|(old, _)| old.rsplit('.').next() == Some(name));
            properties
                .filter(|(name, about)| about["deprecated"] != true || !old(name))
                .map(|(name, _)| name.clone())
                .collect()
        };
        let without_old = |mut keys: BTreeSet<String>| {
            keys.retain(|key| key != "lane" && key != "tolerate");
            keys
        };
        assert_eq!(of(&schema), keys::<Config>());
        for (name, known) in known() {
            assert_eq!(of(&schema["$defs"][name]), without_old(known), "{name}");
        }
    }

    fn judged(text: &str) -> Result<(), String> {
        let validate = Validate::compile(&schema()).expect("a schema");
        let (tree, _) = read_toml("config.toml", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        validate.check(&Value::Object(tree)).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn every_configuration_that_is_shown_satisfies_it() {
        let cookbook = include_str!("../../../docs/cookbook.md");
        let recipes = cookbook.split("```toml\n").skip(1).map(|after| after.split("```").next().unwrap_or_default());
        let shown = [
            include_str!("../../../config.toml"),
            include_str!("../../../examples/retail/config.toml"),
            include_str!("../../../examples/exec/config.toml"),
        ];
        for text in shown.into_iter().chain(recipes) {
            assert_eq!(judged(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_does_not() {
        let batch = "[batch.a]\nsource = { csv = \"in.csv\" }\n";
        for (text, place) in [
            ("[stor]\nurl = \"x\"\n".to_owned(), "stor"),
            ("[worker]\nslotz = 3\n".to_owned(), "slotz"),
            ("[worker]\nslots = \"many\"\n".to_owned(), "worker/slots"),
            ("[worker]\nlease = 10\n".to_owned(), "worker/lease"),
            ("[log]\nformat = \"xml\"\n".to_owned(), "log/format"),
            ("[batch.a]\nchunk = 5\n".to_owned(), "source"),
            ("[batch.a]\nsource = {}\n".to_owned(), "batch/a/source"),
            ("[batch.a]\nsource = { csv = \"a\", jsonl = \"b\" }\n".to_owned(), "batch/a/source"),
            (format!("{batch}chunk = 0\n"), "batch/a/chunk"),
            (format!("{batch}failure_budget = \"lots\"\n"), "batch/a/failure_budget"),
            (format!("{batch}parse = {{ n = \"integr\" }}\n"), "batch/a/parse/n"),
            (format!("{batch}aggregate = {{ n = {{ summ = \"x\" }} }}\n"), "batch/a/aggregate/n"),
            (format!("{batch}output = {{ jsonl = \"a\", csv = \"b\" }}\n"), "batch/a/output"),
            (format!("{batch}retry = {{ fixd = \"1s\" }}\n"), "batch/a/retry"),
            (format!("{batch}on = {{ settled = [{{}}] }}\n"), "batch/a/on/settled/0"),
            ("[limit.a]\nconcurency = 1\n".to_owned(), "concurency"),
        ] {
            let reason = judged(&text).expect_err(&text);
            assert!(reason.contains(place), "{text}\n{reason}");
        }
    }
}
