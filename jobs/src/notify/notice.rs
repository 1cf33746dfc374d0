//! What a notification says, made from an event: pure.

use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::duration;
use gristmill_store::{BatchDocument, CallbackDocument, News};
use serde::Serialize;
use serde_json::Value;

use super::severity::Severity;
use crate::kind::payload::NotifyPayload;

/// The most characters of a title, of a text, and of what it is about.
pub const TITLE_CHARS_MAX: usize = 200;
/// See [`TITLE_CHARS_MAX`].
pub const TEXT_CHARS_MAX: usize = 3_000;
/// See [`TITLE_CHARS_MAX`].
pub const KEY_CHARS_MAX: usize = 200;

/// What is said, whatever the service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notice {
    /// The type of the event, such as `batch.halted`.
    #[serde(rename = "type")]
    pub event: String,
    /// How much it matters.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// More of it; may be empty.
    pub text: String,
    /// Names and values, in their order.
    pub facts: Vec<(String, String)>,
    /// The page that shows it.
    pub link: Option<String>,
    /// What it is about: the same for a trouble and for its end.
    pub key: String,
    /// When it happened.
    pub at: Instant,
    /// The event's own content.
    pub data: Value,
}

impl Notice {
    /// What a job says: as its payload asks, and otherwise as its data shows. `pages` is where pages are reached; empty:
    /// there is no link.
    ///
    /// # Errors
    ///
    /// When there is neither a title nor a batch of which one could be made.
    pub fn of(payload: &NotifyPayload, at: Instant, pages: &str) -> Result<Self, String> {
        let batch = serde_json::from_value::<CallbackDocument>(payload.data.clone()).ok();
        let mut notice = match &batch {
            Some(document) => of_batch(&payload.event, document, at, pages),
            None => Self::bare(&payload.event, at),
        };
        if let Some(title) = &payload.title {
            notice.title.clone_from(title);
        }
        if let Some(text) = &payload.text {
            notice.text.clone_from(text);
        }
        notice.severity = payload.severity.unwrap_or(notice.severity);
        if let Some(key) = &payload.key {
            notice.key.clone_from(key);
        }
        if payload.link.is_some() {
            notice.link.clone_from(&payload.link);
        }
        notice.data = payload.data.clone();
        if notice.title.trim().is_empty() {
            return Err("`title` is missing, and `data` is not that of a batch, of which one could be made".to_owned());
        }
        notice.title = clip(&one_line(&notice.title), TITLE_CHARS_MAX);
        notice.text = clip(notice.text.trim(), TEXT_CHARS_MAX);
        notice.key = clip(&one_line(&notice.key), KEY_CHARS_MAX);
        Ok(notice)
    }

    fn bare(event: &str, at: Instant) -> Self {
        Self {
            event: event.to_owned(),
            severity: Severity::Info,
            title: String::new(),
            text: String::new(),
            facts: Vec::new(),
            link: None,
            key: event.to_owned(),
            at,
            data: Value::Null,
        }
    }

    /// Whether it ends what the same key has begun.
    pub fn is_end(&self) -> bool {
        self.severity == Severity::Ok
    }

    /// The text, and the facts below it, for where there is only text.
    pub fn plain(&self) -> String {
        let facts = self.facts.iter().map(|(name, value)| format!("{name}: {value}"));
        let text = (!self.text.is_empty()).then(|| self.text.clone());
        text.into_iter().chain(facts).chain(self.link.clone()).collect::<Vec<_>>().join("\n")
    }
}

fn of_batch(event: &str, document: &CallbackDocument, at: Instant, pages: &str) -> Notice {
    let batch = &document.batch;
    let (severity, title, text) = told(document);
    let link = (!pages.is_empty()).then(|| format!("{pages}/batches/{}", batch.id));
    Notice {
        severity,
        title,
        text,
        facts: facts(batch),
        link,
        key: format!("batch/{}/{}", batch.tenant, batch.name),
        ..Notice::bare(event, batch.finished_at.unwrap_or(at))
    }
}

/// How much it matters, what the title is, and what the text.
fn told(document: &CallbackDocument) -> (Severity, String, String) {
    let batch = &document.batch;
    let (name, reason) = (&batch.name, batch.reason.clone().unwrap_or_default());
    match &document.news {
        News::FirstFailure { failure } => (Severity::Warning, format!("{name}: first failure"), failure.reason.clone()),
        News::Late { late_after } => {
            let text = late_after.as_ref().map(|after| format!("It has not ended within {after}.")).unwrap_or_default();
            (Severity::Warning, format!("{name} is late"), text)
        }
        News::Ended { .. } => match batch.state {
            BatchState::Halted => (Severity::Critical, format!("{name} has halted"), reason),
            BatchState::Cancelled => (Severity::Warning, format!("{name} was cancelled"), reason),
            BatchState::Complete if batch.counts.quarantined > 0 => {
                let text = format!("{} of {} items were set aside.", batch.counts.quarantined, batch.counts.input);
                (Severity::Ok, format!("{name} is complete"), text)
            }
            _ => (Severity::Ok, format!("{name} is {}", batch.state), reason),
        },
    }
}

fn facts(batch: &BatchDocument) -> Vec<(String, String)> {
    let counts = &batch.counts;
    let mut facts = vec![("Items".to_owned(), format!("{} of {}", counts.ok, counts.input))];
    let others = [
        ("Skipped", counts.skipped),
        ("Set aside", counts.quarantined),
        ("Cancelled", counts.cancelled),
        ("Pending", counts.pending),
        ("Dead chunks", batch.chunks_dead),
    ];
    facts.extend(
        others.into_iter().filter(|(_, many)| *many > 0).map(|(name, many)| (name.to_owned(), many.to_string())),
    );
    if let Some(finished) = batch.finished_at
        && let Ok(took) = (finished - batch.created_at).to_std()
    {
        facts.push(("Took".to_owned(), duration::format(took)));
    }
    facts.push(("Batch".to_owned(), batch.id.to_string()));
    if batch.tenant != gristmill_core::id::DEFAULT_TENANT {
        facts.push(("Tenant".to_owned(), batch.tenant.clone()));
    }
    facts
}

/// A text without line ends and other control characters.
pub(super) fn one_line(text: &str) -> String {
    text.split(|char: char| char.is_whitespace() || char.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The first so many characters; where there are more, the last one shown is an ellipsis.
pub(super) fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn at() -> Instant {
        Instant::from_timestamp(1_790_000_000, 0).expect("an instant")
    }

    fn batch(state: &str) -> Value {
        let finished = if state == "open" { Value::Null } else { json!("2026-01-31T08:05:00Z") };
        json!({
            "id": "01890a5d-ac96-774b-bcce-b302099a8057", "name": "nightly", "tenant": "acme", "state": state,
            "paused": false, "pause": null, "generation": 0, "chunks": 4, "remaining": 0, "chunks_dead": 1, "retries": 2,
            "failure_budget": "10%", "reason": "3 of 40 items failed", "created_at": "2026-01-31T08:00:00Z", "finished_at": finished,
            "counts": { "input": 40, "ok": 37, "skipped": 0, "quarantined": 3, "cancelled": 0, "pending": 0 },
        })
    }

    fn of(payload: Value) -> Result<Notice, String> {
        let payload: NotifyPayload = serde_json::from_value(payload).expect("a payload");
        Notice::of(&payload, at(), "https://jobs.example.com")
    }

    #[test]
    fn a_batch_says_how_it_ended_and_the_same_key_ends_what_it_began() {
        let halted =
            of(json!({ "to": "ops", "type": "batch.halted", "data": { "batch": batch("halted"), "result": null } }));
        let halted = halted.expect("a notice");
        assert_eq!(
            (halted.severity, halted.title.as_str(), halted.text.as_str()),
            (Severity::Critical, "nightly has halted", "3 of 40 items failed")
        );
        assert_eq!(
            halted.link.as_deref(),
            Some("https://jobs.example.com/batches/01890a5d-ac96-774b-bcce-b302099a8057")
        );
        let facts: Vec<_> = halted.facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            facts,
            [
                "Items=37 of 40",
                "Set aside=3",
                "Dead chunks=1",
                "Took=5m",
                "Batch=01890a5d-ac96-774b-bcce-b302099a8057",
                "Tenant=acme"
            ]
        );
        let complete =
            of(json!({ "to": "ops", "type": "batch.complete", "data": { "batch": batch("complete"), "result": {} } }));
        let complete = complete.expect("a notice");
        assert!(complete.is_end() && complete.key == halted.key && complete.key == "batch/acme/nightly");
        assert_eq!(complete.text, "3 of 40 items were set aside.");
    }

    #[test]
    fn a_late_one_and_a_first_failure_warn() {
        let late =
            of(json!({ "to": "ops", "type": "batch.late", "data": { "batch": batch("open"), "late_after": "2h" } }))
                .expect("a notice");
        assert_eq!((late.severity, late.title.as_str(), late.at), (Severity::Warning, "nightly is late", at()));
        assert!(late.text.contains("2h"), "{}", late.text);
    }

    #[test]
    fn what_the_payload_says_comes_first_and_without_anything_there_is_nothing_to_say() {
        let said =
            of(json!({ "to": "ops", "title": "a\nb\u{1b}[31m", "text": " c ", "severity": "critical", "key": "disk" }))
                .expect("a notice");
        assert_eq!(
            (said.event.as_str(), said.title.as_str(), said.text.as_str(), said.key.as_str()),
            ("notice", "a b [31m", "c", "disk")
        );
        let own = of(
            json!({ "to": "ops", "type": "batch.halted", "severity": "info", "data": { "batch": batch("halted"), "result": null } }),
        );
        assert_eq!(own.expect("a notice").severity, Severity::Info);
        let nothing = of(json!({ "to": "ops", "type": "disk.full", "data": { "free": 0 } })).expect_err("no title");
        assert!(nothing.contains("`title` is missing"), "{nothing}");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!((clip("äöü", 3), clip("äöüß", 3)), ("äöü".to_owned(), "äö…".to_owned()));
    }
}
