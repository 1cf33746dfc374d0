//! What servers report later: that a message was not delivered, is delayed or was delivered (RFC 3464, RFC 6522), and
//! that a recipient has called it spam (RFC 5965).
//!
//! Reports are written by strangers. Nothing of one is believed but what it says of a message that the caller knows:
//! the ids are there to look it up.

mod mime;

use serde::Serialize;

use crate::classify::Enhanced;
use mime::{Fields, Part};

/// How much of a message is read: a report stands at its beginning.
const BYTES_MAX: usize = 1024 * 1024;

/// How many recipients of one report are kept.
const RECIPIENTS_MAX: usize = 1_000;

/// How long a diagnosis is.
const TEXT_CHARS_MAX: usize = 500;

/// What has come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Returned {
    /// A delivery status notification.
    Delivery(DeliveryReport),
    /// A complaint, or another feedback.
    Feedback(FeedbackReport),
    /// An answer by a program (RFC 3834), such as a holiday notice: nothing follows from it.
    AutoReply,
}

/// A delivery status notification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DeliveryReport {
    /// The id that the sender gave to the envelope (`ENVID`).
    pub envelope_id: Option<String>,
    /// The `Message-ID` of the message that it is about, if its headers came back.
    pub message_id: Option<String>,
    /// The server that reports.
    pub reporter: Option<String>,
    /// What became of each recipient.
    pub recipients: Vec<RecipientReport>,
}

gristmill_core::words! {
    /// What was done for a recipient (RFC 3464, 2.3.3).
    pub enum Action {
        /// It will not be delivered.
        Failed = "failed",
        /// It is still tried.
        Delayed = "delayed",
        /// It is in the mailbox.
        Delivered = "delivered",
        /// It went on to a server that makes no reports.
        Relayed = "relayed",
        /// It went on to several addresses.
        Expanded = "expanded",
    }
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecipientReport {
    /// The address: the one that the sender gave, if the report has it, or else the one at which delivery ended.
    pub address: String,
    /// What was done.
    pub action: Action,
    /// The enhanced status code, such as `5.1.1`.
    pub status: Option<String>,
    /// What the last server said.
    pub diagnostic: Option<String>,
    /// The last server.
    pub server: Option<String>,
}

impl RecipientReport {
    /// Whether the address is one to which nothing more should be sent: it does not exist, or is closed. A failure for
    /// another reason, or one without a code, says nothing of the address.
    pub fn closes_the_address(&self) -> bool {
        let code = self.status.as_deref().and_then(Enhanced::at_start);
        let closed = code.map(|code| (code.class, code.subject, code.detail));
        self.action == Action::Failed && matches!(closed, Some((5, 1, 1 | 2 | 3 | 6 | 10) | (5, 2, 1) | (5, 7, 13)))
    }
}

/// A complaint or another feedback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FeedbackReport {
    /// `abuse`, `fraud`, `virus`, `not-spam`, `opt-out` and others.
    pub kind: String,
    /// The `Message-ID` of the message that it is about, if its headers came back.
    pub message_id: Option<String>,
    /// The recipients that it names. Mail services often leave them out.
    pub recipients: Vec<String>,
    /// Who reports.
    pub reporter: Option<String>,
}

impl FeedbackReport {
    /// Whether a person has called the message unwanted.
    pub fn is_complaint(&self) -> bool {
        ["abuse", "fraud", "opt-out", "opt-out-list", "complaint"].contains(&self.kind.as_str())
    }
}

/// Reads a message that may be a report. `None` when it is none.
pub fn read(message: &[u8]) -> Option<Returned> {
    let text = String::from_utf8_lossy(&message[..message.len().min(BYTES_MAX)]);
    let (head, parts) = mime::message(&text);
    if let Some(status) = part(&parts, &["message/delivery-status", "message/global-delivery-status"]) {
        let report = delivery(&status.text, original_id(&parts));
        return (!report.recipients.is_empty()).then_some(Returned::Delivery(report));
    }
    if let Some(feedback) = part(&parts, &["message/feedback-report"]) {
        return Some(Returned::Feedback(complaint(&feedback.text, original_id(&parts))));
    }
    let automatic = mime::value(&head, "auto-submitted").is_some_and(|value| !value.eq_ignore_ascii_case("no"));
    automatic.then_some(Returned::AutoReply)
}

fn part<'a>(parts: &'a [Part], kinds: &[&str]) -> Option<&'a Part> {
    parts.iter().find(|part| kinds.contains(&part.kind.as_str()))
}

/// The `Message-ID` among the headers of the message that came back.
fn original_id(parts: &[Part]) -> Option<String> {
    let kinds = ["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"];
    let original = part(parts, &kinds)?;
    let (fields, _) = mime::fields(original.text.trim_start());
    mime::value(&fields, "message-id").map(short)
}

/// The groups of fields of a status part: one for the message, then one for each recipient.
fn delivery(text: &str, message_id: Option<String>) -> DeliveryReport {
    let mut groups = groups(text).into_iter();
    let whole = groups.next().unwrap_or_default();
    let mut recipients: Vec<RecipientReport> = Vec::new();
    // Some servers leave the empty line out: the recipient is then in the group of the message.
    recipients.extend(recipient(&whole));
    recipients.extend(groups.filter_map(|group| recipient(&group)));
    recipients.truncate(RECIPIENTS_MAX);
    DeliveryReport {
        envelope_id: mime::value(&whole, "original-envelope-id").map(|id| short(&without_xtext(id))),
        message_id,
        reporter: mime::value(&whole, "reporting-mta").map(|value| short(typed(value))),
        recipients,
    }
}

fn groups(text: &str) -> Vec<Fields> {
    let (mut groups, mut rest) = (Vec::new(), text);
    while !rest.trim().is_empty() && groups.len() <= RECIPIENTS_MAX {
        let (fields, after) = mime::fields(rest.trim_start_matches(['\r', '\n']));
        groups.push(fields);
        rest = after;
    }
    groups
}

fn recipient(fields: &[(String, String)]) -> Option<RecipientReport> {
    let field = |name: &str| mime::value(fields, name);
    let original = field("original-recipient").map(|value| without_xtext(typed(value)));
    let last = field("final-recipient").map(|value| typed(value).to_owned());
    let address = address(&original.filter(|address| address.contains('@')).or(last)?)?;
    let status = field("status").and_then(Enhanced::at_start);
    let action = match field("action").map(str::to_ascii_lowercase) {
        // Some write more behind the word, as in `failed (user unknown)`.
        Some(said) => said.split(|c: char| !c.is_ascii_alphabetic()).next().and_then(|word| word.parse().ok()),
        // Without the word, which every report must have, the code says the same.
        None => None,
    };
    let action = action.or_else(|| {
        Some(match status?.class {
            2 => Action::Delivered,
            4 => Action::Delayed,
            _ => Action::Failed,
        })
    })?;
    Some(RecipientReport {
        address,
        action,
        status: status.map(|code| code.to_string()),
        diagnostic: field("diagnostic-code").map(|value| short(typed(value))),
        server: field("remote-mta").map(|value| short(typed(value))),
    })
}

fn complaint(text: &str, message_id: Option<String>) -> FeedbackReport {
    let (fields, _) = mime::fields(text.trim_start());
    let all = |name: &'static str| fields.iter().filter(move |(known, _)| known == name);
    FeedbackReport {
        kind: mime::value(&fields, "feedback-type").map(|kind| short(&kind.to_ascii_lowercase())).unwrap_or_default(),
        message_id,
        recipients: all("original-rcpt-to").filter_map(|(_, value)| address(value)).take(RECIPIENTS_MAX).collect(),
        reporter: mime::value(&fields, "user-agent").map(short),
    }
}

/// What is behind the type of a value such as `rfc822; a@b.example`.
fn typed(value: &str) -> &str {
    value.split_once(';').map_or(value, |(_, rest)| rest).trim()
}

/// One address without brackets. `None` when there is none.
fn address(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>').trim();
    let whole = text.contains('@') && text.len() <= 320 && !text.contains(|c: char| c.is_control() || c == ' ');
    whole.then(|| text.to_owned())
}

/// Undoes the encoding of RFC 3461, 4: `+2B` for `+`.
fn without_xtext(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let decoded = after.get(..2).filter(|_| *first == b'+').and_then(|digits| hex::decode(digits).ok());
        match decoded {
            Some(byte) => {
                bytes.extend(byte);
                rest = &after[2..];
            }
            None => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect()
}
