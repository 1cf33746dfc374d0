//! Mail whose parts an attacker chooses: what goes over the wire is one message with our headers, whatever they
//! hold, and its text arrives as it was.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gristmill_mail::compose::{Draft, compose, mailbox};

use crate::texts::hostile;

/// What a header or a body may hold on the wire.
fn is_clean(raw: &str) -> Result<(), String> {
    let longest = raw.split("\r\n").map(str::len).max().unwrap_or_default();
    if longest > 998 {
        return Err(format!("a line has {longest} characters"));
    }
    match raw.replace("\r\n", "").bytes().find(|byte| !matches!(byte, b' '..=b'~' | b'\t')) {
        Some(byte) => Err(format!("the byte {byte:#x} is on the wire")),
        None => Ok(()),
    }
}

/// The names of the headers, in their order.
fn headers(head: &str) -> Vec<&str> {
    let lines = head.split("\r\n").filter(|line| !line.starts_with(' '));
    lines.map(|line| line.split(':').next().unwrap_or_default()).collect()
}

fn decoded(raw: &str) -> Option<String> {
    let (head, body) = raw.split_once("\r\n\r\n")?;
    if head.contains("Content-Transfer-Encoding: base64") {
        return String::from_utf8(STANDARD.decode(body.replace("\r\n", "")).ok()?).ok();
    }
    head.contains("Content-Transfer-Encoding: 7bit").then(|| body.to_owned())
}

#[test]
fn whatever_a_mail_says_it_is_one_message_with_our_headers() {
    let (from, date) = (mailbox("from", "Mill <mill@example.com>").expect("from"), chrono::DateTime::UNIX_EPOCH);
    crate::attack("mail", crate::runs(500, 1), |random| {
        let person = hostile(random);
        // Refused in words, or a name and nothing else.
        let to = mailbox("`to`", &format!("{person} <ada@example.org>"));
        let to = to.unwrap_or_else(|_| mailbox("`to`", "ada@example.org").expect("to"));
        let (subject, text) = (hostile(random), hostile(random));
        let draft = Draft {
            from: &from,
            reply_to: &[],
            to: std::slice::from_ref(&to),
            cc: &[],
            bcc: &[],
            subject: &subject,
            text: Some(&text),
            html: None,
            headers: &[],
            attachments: &[],
            unsubscribe: None,
            message_id: "<a@b.example>",
            date,
        };
        let composed = match compose(&draft) {
            Ok(composed) => composed,
            Err(_) if subject.contains(char::is_control) => return Ok(()),
            Err(wrong) => return Err(format!("{subject:?}: {wrong}")),
        };
        let raw = String::from_utf8(composed.bytes).map_err(|error| error.to_string())?;
        is_clean(&raw)?;
        let (head, _) = raw.split_once("\r\n\r\n").ok_or("it has no body")?;
        let mut names = headers(head);
        names.sort_unstable();
        let ours = [
            "Auto-Submitted",
            "Content-Transfer-Encoding",
            "Content-Type",
            "Date",
            "From",
            "MIME-Version",
            "Message-ID",
            "Subject",
            "To",
        ];
        if !names.iter().all(|name| ours.contains(name)) || names.iter().filter(|name| **name == "To").count() != 1 {
            return Err(format!("{names:?}"));
        }
        if composed.recipients.len() != 1 || !head.contains("ada@example.org") {
            return Err(format!("it goes to {:?}", composed.recipients));
        }
        // A bare line end becomes a whole one; everything else arrives.
        let whole = |text: &str| text.replace("\r\n", "\n").replace('\n', "\r\n");
        match decoded(&raw) {
            Some(arrived) if arrived != whole(&text) => Err(format!("{text:?} arrives as {arrived:?}")),
            _ => Ok(()),
        }
    });
}
