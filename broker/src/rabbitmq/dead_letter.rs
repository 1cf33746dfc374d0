//! The properties of a message: those of a copy of a dead job say in their headers what is known of it, so that the
//! broker's own tools show it. The body is that of every message.

use std::collections::HashMap;

use gristmill_core::dispatch::{DeadLetter, Purpose};
use gristmill_core::id::JobId;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

/// Delivery mode 2: the broker writes it to disk before it confirms.
const PERSISTENT: u8 = 2;

/// The header that marks a copy of a dead job.
const PURPOSE: &str = "gristmill-purpose";

/// The most bytes of a text in a header. The whole text is in the store.
const TEXT_BYTES_MAX: usize = 2_000;

/// What is known of dead jobs, by their ids.
#[derive(Debug)]
pub(crate) struct Letters<'a>(HashMap<JobId, &'a DeadLetter>);

impl<'a> Letters<'a> {
    pub(crate) fn new(letters: &'a [DeadLetter]) -> Self {
        Self(letters.iter().map(|letter| (letter.job, letter)).collect())
    }

    /// The properties of the message that names this job.
    pub(crate) fn properties(&self, purpose: Purpose, job: JobId) -> BasicProperties {
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_app_id("gristmill".into())
            .with_message_id(job.to_string().into());
        match purpose {
            Purpose::Dispatch => properties,
            Purpose::DeadLetter => properties.with_headers(headers(self.0.get(&job).copied())),
        }
    }
}

fn headers(letter: Option<&DeadLetter>) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(PURPOSE.into(), text("dead_letter"));
    let Some(DeadLetter { job: _, kind, attempt, error, trace }) = letter else { return headers };
    headers.insert("gristmill-kind".into(), text(kind));
    headers.insert("gristmill-attempt".into(), AMQPValue::LongUInt(*attempt));
    for (name, value) in [("gristmill-error", error), ("traceparent", trace)] {
        if let Some(value) = value {
            headers.insert(name.into(), text(value));
        }
    }
    headers
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text[..text.floor_char_boundary(TEXT_BYTES_MAX)].into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn said(letter: Option<&DeadLetter>, name: &str) -> Option<AMQPValue> {
        headers(letter).inner().get(name).cloned()
    }

    #[test]
    fn a_copy_says_what_is_known_and_is_marked_even_when_nothing_is() {
        let job = JobId(Uuid::nil());
        let letter =
            DeadLetter { job, kind: "mail".to_owned(), attempt: 3, error: Some("ä".repeat(1_500)), trace: None };
        assert_eq!(said(Some(&letter), "gristmill-kind"), Some(AMQPValue::LongString("mail".into())));
        assert_eq!(said(Some(&letter), "gristmill-attempt"), Some(AMQPValue::LongUInt(3)));
        assert_eq!(said(Some(&letter), "gristmill-error"), Some(AMQPValue::LongString("ä".repeat(1_000).into())));
        assert_eq!(said(Some(&letter), "traceparent"), None);
        for letter in [Some(&letter), None] {
            assert_eq!(said(letter, PURPOSE), Some(AMQPValue::LongString("dead_letter".into())));
        }
        let dispatched = Letters::new(&[letter]).properties(Purpose::Dispatch, job);
        assert!(dispatched.headers().is_none());
    }
}
