//! The bytes of a message: the same at every attempt, and safe against smuggled headers.

use std::time::{Duration, SystemTime};

use gristmill_core::Instant;
use gristmill_core::id::JobId;
use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use crate::mail::header;

/// The parts of a message.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The sender.
    pub from: &'a Mailbox,
    /// The recipient.
    pub to: &'a Mailbox,
    /// The subject. One line.
    pub subject: &'a str,
    /// Its plain text.
    pub text: &'a str,
    /// Its HTML version, if it has one.
    pub html: Option<&'a str>,
    /// The `Message-ID` with its angle brackets.
    pub message_id: &'a str,
    /// The `Date`, to the second.
    pub date: Instant,
}

/// A message that is ready to go.
#[derive(Debug, Clone)]
pub struct Composed {
    /// Its recipient, and the address to which refusals go.
    pub envelope: Envelope,
    /// The `Message-ID` with its angle brackets.
    pub message_id: String,
    /// When it was made.
    pub date: Instant,
    /// Headers and body, with CR LF line ends.
    pub bytes: Vec<u8>,
}

/// Composes a message.
///
/// # Errors
///
/// When the subject holds a line end or a NUL, or the parts do not make a valid message: a text without any address. No
/// retry helps.
pub fn compose(draft: &Draft<'_>) -> Result<Composed, String> {
    one_line("the subject", draft.subject)?;
    let envelope = Envelope::new(Some(draft.from.email.clone()), vec![draft.to.email.clone()])
        .map_err(|error| format!("the message has no valid envelope: {error}"))?;
    let mut builder = Message::builder().from(draft.from.clone()).to(draft.to.clone());
    for header in [header::mailbox("From", draft.from), header::mailbox("To", draft.to)].into_iter().flatten() {
        builder = builder.raw_header(header);
    }
    let builder = builder
        .raw_header(header::text("Subject", draft.subject))
        .message_id(Some(draft.message_id.to_owned()))
        .date(system_time(draft.date))
        // RFC 3834: holiday notices and other programs must not answer a program.
        .raw_header(raw("Auto-Submitted", "auto-generated"))
        .envelope(envelope.clone());
    let message = match draft.html {
        None => builder.header(ContentType::TEXT_PLAIN).body(body(draft.text)),
        // The library would pick a random boundary, and every attempt would have different bytes.
        Some(html) => builder.multipart(
            MultiPart::alternative()
                .boundary(boundary(draft.message_id))
                .singlepart(SinglePart::plain(body(draft.text)))
                .singlepart(SinglePart::html(body(html))),
        ),
    }
    .map_err(|error| format!("the message cannot be put together: {error}"))?;
    Ok(Composed { envelope, message_id: draft.message_id.to_owned(), date: draft.date, bytes: message.formatted() })
}

/// A text as it goes over the wire. Nothing but whole line ends may stand there as it is (RFC 5321, 2.3.8): a server that
/// takes a bare CR for a line end would see the end of the message where there is none, and commands behind it.
fn body(text: &str) -> Body {
    let mut rest = text.chars().peekable();
    let mut strange = false;
    while let Some(c) = rest.next() {
        strange |= match c {
            '\r' => rest.peek() != Some(&'\n'),
            '\n' | '\t' => false,
            c => c.is_ascii_control(),
        };
    }
    if !strange {
        return Body::new(text.to_owned());
    }
    // It fits every text; the library gives one back only where an encoding does not.
    Body::new_with_encoding(text.to_owned(), ContentTransferEncoding::Base64).unwrap_or_else(Body::new)
}

/// Reads one mailbox, `name@example.com` or `Name <name@example.com>`. `what` names it in the error.
///
/// # Errors
///
/// When it is anything else, several, or holds a control character: a text without the address.
pub fn mailbox(what: &str, text: &str) -> Result<Mailbox, String> {
    one_line(what, text)?;
    let (name, address) = match text.trim().strip_suffix('>').map(|rest| rest.rsplit_once('<')) {
        Some(Some((name, address))) => (name.trim().trim_matches('"').trim(), address),
        Some(None) => return Err(not_a_mailbox(what)),
        None => ("", text),
    };
    let address: Address = address.trim().parse().map_err(|_| not_a_mailbox(what))?;
    // A space or a bracket inside would end the address early in the SMTP command.
    if address.to_string().contains([' ', '<', '>', ',', '\t']) {
        return Err(not_a_mailbox(what));
    }
    Ok(Mailbox::new((!name.is_empty()).then(|| name.to_owned()), address))
}

fn not_a_mailbox(what: &str) -> String {
    format!("{what} is not one address; write `name@example.com` or `Name <name@example.com>`")
}

/// The `Message-ID` of a job's message: the same for every attempt, and in our own domain.
pub fn message_id(tenant: &str, job: JobId, from: &Mailbox) -> String {
    let digest = Sha256::digest(format!("{tenant}\0{job}"));
    format!("<{}@{}>", hex::encode(&digest[..16]), from.email.domain())
}

fn boundary(message_id: &str) -> String {
    hex::encode(&Sha256::digest(format!("boundary of {message_id}"))[..20])
}

fn one_line(what: &str, text: &str) -> Result<(), String> {
    match text.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(c) => Err(format!(
            "{what} holds the control character U+{:04X}; it must be one line of text, or it could add headers of its own",
            u32::from(c)
        )),
    }
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn system_time(instant: Instant) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(instant.timestamp()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant() -> Instant {
        Instant::from_timestamp(1_700_000_000, 0).expect("valid")
    }

    fn draft_with<'a>(from: &'a Mailbox, to: &'a Mailbox, subject: &'a str) -> Draft<'a> {
        Draft {
            from,
            to,
            subject,
            text: "Hello.\n.\n",
            html: Some("<p>Hello</p>"),
            message_id: "<a@b.example>",
            date: instant(),
        }
    }

    #[test]
    fn two_attempts_have_the_same_bytes() {
        let (from, to) = (mailbox("from", "A <a@b.example>").expect("from"), mailbox("to", "c@d.example").expect("to"));
        let first = compose(&draft_with(&from, &to, "Grüße")).expect("composed");
        let second = compose(&draft_with(&from, &to, "Grüße")).expect("composed");
        assert_eq!(first.bytes, second.bytes);
        let text = String::from_utf8(first.bytes).expect("ASCII");
        assert!(text.contains("Message-ID: <a@b.example>\r\n"), "{text}");
        assert!(text.contains("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"), "{text}");
        assert!(text.contains("Auto-Submitted: auto-generated\r\n"), "{text}");
        assert!(text.is_ascii());
    }

    #[test]
    fn nothing_can_add_a_header() {
        for text in ["a@b.example\r\nBcc: x@y.example", "a\nb@c.example", "\0@b.example", "N\r\nX: y <a@b.example>"] {
            let error = mailbox("`to`", text).expect_err(text);
            assert!(error.contains("control character") && !error.contains("example"), "{error}");
        }
        let (from, to) = (mailbox("from", "a@b.example").expect("from"), mailbox("to", "c@d.example").expect("to"));
        let error = compose(&draft_with(&from, &to, "Hi\r\nBcc: x@y.example")).expect_err("refused");
        assert!(error.contains("U+000D"), "{error}");
    }

    /// The message on the wire, its headers unfolded, and its body decoded from base64 if it is.
    fn wire(from: &str, subject: &str, text: &str) -> (String, String, String) {
        let (from, to) = (mailbox("from", from).expect("from"), mailbox("to", "c@d.example").expect("to"));
        let draft = Draft { text, html: None, ..draft_with(&from, &to, subject) };
        let raw = String::from_utf8(compose(&draft).expect("composed").bytes).expect("ASCII");
        let (head, body) = raw.split_once("\r\n\r\n").expect("a body");
        let (head, mut body) = (head.replace("\r\n ", " "), body.to_owned());
        if head.contains("Content-Transfer-Encoding: base64") {
            use base64::Engine;
            let bytes = base64::engine::general_purpose::STANDARD.decode(body.replace("\r\n", "")).expect("base64");
            body = String::from_utf8(bytes).expect("UTF-8");
        }
        (raw, head, body)
    }

    #[test]
    fn no_line_is_over_998_and_no_control_character_is_on_the_wire() {
        let long = "y".repeat(1_500);
        let names = format!("{long} <a@b.example>");
        for (from, subject, text) in [
            ("a@b.example", "s", "hi\r.\r\nMAIL FROM:<a@evil.example>\r\nnul \0 here"),
            ("a@b.example", "s", "one\r\r\ntwo\r"),
            ("a@b.example", "s", "\u{1b}[31m\u{7f}\u{b}"),
            ("a@b.example", "s", "Grüße\r.\r"),
            ("a@b.example", &long, "t"),
            ("a@b.example", &" ".repeat(1_500), "t"),
            ("a@b.example", "s", &long),
            (&names, "s", "t"),
        ] {
            let (raw, _, body) = wire(from, subject, text);
            assert!(raw.split("\r\n").all(|line| line.len() <= 998), "{raw}");
            let bare = raw.replace("\r\n", "");
            assert!(bare.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{raw:?}");
            if text.contains(char::is_control) {
                assert_eq!(body, text.replace("\r\n", "\n").replace('\n', "\r\n"), "it arrives as it was written");
            }
        }
        let (_, head, _) = wire(&names, "s", "t");
        assert!(head.contains(" <a@b.example>") && head.matches("From:").count() == 1, "{head}");
    }

    #[test]
    fn a_word_that_looks_encoded_is_shown_as_it_was_written() {
        let (_, head, _) = wire("=?utf-8?q?Boss?= <a@b.example>", "=?utf-8?q?From_the_boss?=", "t");
        assert!(!head.contains("?q?"), "{head}");
        assert!(head.contains("Subject: =?utf-8?b?PT91dGYtOD9xP0Zyb21fdGhlX2Jvc3M/PQ==?="), "{head}");
        let (_, head, _) = wire("Mill <a@b.example>", "Plain words stay", "t");
        assert!(head.contains("Subject: Plain words stay") && head.contains("From: Mill <a@b.example>"), "{head}");
    }

    #[test]
    fn a_mailbox_is_one_address() {
        for text in
            ["", "a", "a@b.example, c@d.example", "a@b.example> SIZE=1 <x", "<a@b.example", "<>", "a b@c.example"]
        {
            mailbox("`to`", text).expect_err(text);
        }
        let quoted = mailbox("`to`", "\"Doe, Jo\" <jo@b.example>").expect("a quoted name");
        assert_eq!(quoted.name.as_deref(), Some("Doe, Jo"));
    }

    #[test]
    fn the_message_id_tells_tenants_and_jobs_apart() {
        let from = mailbox("from", "a@b.example").expect("from");
        let job = JobId(uuid::Uuid::from_u128(7));
        assert_eq!(message_id("one", job, &from), message_id("one", job, &from));
        assert_ne!(message_id("one", job, &from), message_id("two", job, &from));
        assert!(message_id("one", job, &from).ends_with("@b.example>"));
    }
}
