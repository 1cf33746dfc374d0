//! Checks what is sent, and when: the receivers, and the templates with what they take from their data.

use gristmill_core::callback::Event;
use gristmill_core::definition::{BatchDefinition, WebhookEffect};
use gristmill_jobs::kind::webhook;
use gristmill_store::BatchDocument;

use super::Findings;
use crate::config::error::{ConfigError, nearest, suggest};
use crate::config::keys::join;
use crate::config::origin::nearest_origin;

/// What the data of a callback may have, and what every template has.
const NAMES: [&str; 12] = [
    "batch",
    "result",
    "result_bytes",
    "failure",
    "late_after",
    "reasons",
    "manifest",
    "tables",
    "left_out",
    "range",
    "dict",
    "namespace",
];

impl Findings<'_> {
    pub(super) fn callbacks(&mut self, key: &str, batch: &BatchDefinition) {
        for event in Event::ALL {
            for (index, callback) in event.effects(&batch.on).iter().enumerate() {
                let key = format!("{key}.{}[{index}]", event.as_str());
                self.exactly_one(
                    &key,
                    &[
                        ("email", callback.email.is_some()),
                        ("webhook", callback.webhook.is_some()),
                        ("notify", !callback.notify.is_empty()),
                    ],
                );
                for channel in callback.notify.as_slice() {
                    self.channel(&join(&key, "notify"), channel);
                }
                if let Some(email) = &callback.email {
                    self.recipients(&join(&key, "email.to"), &email.to);
                    let template = email.template.as_deref().unwrap_or_else(|| event.template());
                    self.template(&join(&key, "email.template"), template, batch);
                }
                if let Some(callback) = &callback.webhook {
                    let key = match callback {
                        WebhookEffect::Url(_) => join(&key, "webhook"),
                        WebhookEffect::Full { .. } => join(&key, "webhook.url"),
                    };
                    if self.web_address(&key, callback.url())
                        && let Err(wrong) = webhook::check_url(callback.url(), self.private_webhooks)
                    {
                        self.push(&key, wrong);
                    }
                }
            }
        }
    }

    fn template(&mut self, key: &str, name: &str, batch: &BatchDefinition) {
        let wrong = match self.templates.check(name).and_then(|()| self.templates.names_in(name)) {
            Err(wrong) => wrong,
            Ok(names) => {
                // A report that cannot be made would be noticed only when it is wanted.
                for wrong in names.iter().filter_map(|used| unknown(used, batch)) {
                    self.push(key, format!("the template `{name}` takes {wrong}"));
                }
                return;
            }
        };
        let names = self.templates.names();
        let near = nearest(name, names.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
        let origin = nearest_origin(self.origins, key).cloned();
        self.errors.push(ConfigError::at(origin, key, wrong).hint(near));
    }
}

/// What is wrong with a name that a template uses, if no event of this batch has it.
fn unknown(used: &str, batch: &BatchDefinition) -> Option<String> {
    let mut steps = used.split('.');
    let (first, second) = (steps.next()?, steps.next());
    let (word, known): (_, Vec<&str>) = match (first, second) {
        ("batch", Some(field)) => (field, BatchDocument::FIELDS.to_vec()),
        ("result", Some(name)) => (name, batch.aggregate.keys().map(String::as_str).collect()),
        (first, _) if NAMES.contains(&first) => return None,
        (first, _) => (first, NAMES[..5].to_vec()),
    };
    if known.contains(&word) {
        return None;
    }
    let hint = suggest(word, known).unwrap_or_else(|| "the batch has no `aggregate`".to_owned());
    Some(format!("`{used}`, which its data does not have: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_template_takes_must_be_in_its_data() {
        let definition = serde_json::json!({ "source": { "csv": "a" }, "aggregate": { "revenue": { "sum": "x" } } });
        let batch: BatchDefinition = serde_json::from_value(definition).expect("a definition");
        for fine in ["batch", "batch.name", "batch.counts.ok", "result", "result.revenue", "failure.reason", "range"] {
            assert_eq!(unknown(fine, &batch), None, "{fine}");
        }
        let said = |used| unknown(used, &batch).expect(used);
        assert!(said("batch.nme").ends_with("did you mean `name`?"), "{}", said("batch.nme"));
        assert!(said("result.revenu").ends_with("did you mean `revenue`?"));
        assert!(said("bach.name").ends_with("did you mean `batch`?"));
        assert!(said("customer").contains("there is batch, result"));
    }
}
