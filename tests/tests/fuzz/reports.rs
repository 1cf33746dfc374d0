//! What strangers send to a mail program: bounces and complaints, answers of servers, and HTML that becomes text. Nothing
//! of it panics, and what is read is bounded.

use gristmill_mail::classify::{Outcome, Phase, Signal, classify};
use gristmill_mail::compose::text_of;
use gristmill_mail::dsn::{Returned, read};

use crate::Target;
use crate::mutator::{hostile, hostile_text};

const REPORTS: [&str; 3] = [
    include_str!("../../../mail/tests/reports/postfix.eml"),
    include_str!("../../../mail/tests/reports/exchange.eml"),
    include_str!("../../../mail/tests/reports/complaint.eml"),
];

const PIECES: [&[u8]; 20] = [
    b"\r\n\r\n",
    b"\n\n",
    b"--",
    b"--b1_x\n",
    b"--b1_x--\n",
    b"Content-Type: multipart/report; boundary=\"",
    b"Content-Type: message/delivery-status\n\n",
    b"Content-Transfer-Encoding: base64\n",
    b"Content-Transfer-Encoding: quoted-printable\n",
    b"=",
    b"=F",
    b"+2",
    b"Final-Recipient: rfc822;",
    b"Action: ",
    b"Status: 5.",
    b";",
    b"<>",
    b"\x00",
    b"\xff\xfe",
    b"\xc3",
];

#[test]
fn whatever_a_report_says_it_is_read_within_bounds_or_is_none() {
    Target { name: "reports", ordinary: 20_000, share: 10 }.feed(|random| {
        let valid = *random.pick(&REPORTS);
        let found = match read(&hostile(random, valid.as_bytes(), &PIECES)) {
            None | Some(Returned::AutoReply) => return Ok(false),
            Some(found) => found,
        };
        let (texts, addresses) = match found {
            Returned::Delivery(report) => {
                let diagnoses = report.recipients.iter().filter_map(|one| one.diagnostic.clone());
                let addresses = report.recipients.iter().map(|one| one.address.clone()).collect::<Vec<_>>();
                (diagnoses.chain(report.message_id.clone()).chain(report.envelope_id.clone()).collect(), addresses)
            }
            Returned::Feedback(report) => (vec![report.kind], report.recipients),
            Returned::AutoReply => (Vec::new(), Vec::new()),
        };
        let texts: Vec<String> = texts;
        if let Some(bad) = texts.iter().find(|text| text.chars().count() > 500 || text.contains(char::is_control)) {
            return Err(format!("a text is not bounded: {bad:?}"));
        }
        match addresses.iter().find(|address| !address.contains('@') || address.contains(char::is_control)) {
            Some(bad) => Err(format!("{bad:?} is no address")),
            None => Ok(true),
        }
    });
}

const ANSWERS: [&str; 6] = [
    "5.1.1 <ada@example.org>: user unknown",
    "4.7.1 greylisted, try again in 300 seconds",
    "4.2.2 mailbox full",
    "blocked, see our blocklist",
    "5.7.8 wrong password",
    "2.0.0 queued as 42",
];

const WORDS: [&[u8]; 8] = [b" in ", b"99999999999999999999", b"5.1", b".", b"4.7.1 ", b"seconds", b"\xff", b"\r\n"];

#[test]
fn whatever_a_server_answers_there_is_a_verdict() {
    Target { name: "answers", ordinary: 20_000, share: 10 }.feed(|random| {
        let valid = *random.pick(&ANSWERS);
        let text = hostile_text(random, valid, &WORDS);
        let code = 200 + u16::try_from(random.below(400)).unwrap_or_default();
        let phase = *random.pick(&Phase::ALL);
        let verdict = classify(phase, &Signal::Reply { code, text: text.clone() });
        match verdict.outcome {
            Outcome::Bounced { .. } if code < 500 => Err(format!("{code} {text:?} bounced")),
            Outcome::Accepted if code >= 400 => Err(format!("{code} {text:?} was taken")),
            Outcome::Deferred { after: Some(after), .. } if after.as_secs() > 86_410 => {
                Err(format!("{code} {text:?} waits for {after:?}"))
            }
            outcome => Ok(outcome == Outcome::Accepted),
        }
    });
}

const HTML: &str = "<html><head><style>p{}</style></head><body><p>Hello <a href=\"https://example.org/?a=1&amp;b\">here</a>\
    <ul><li>one<li>two</ul><img alt='x' src=y><!-- no -->&nbsp;&#x41;</body></html>";

const TAGS: [&[u8]; 14] = [
    b"<",
    b">",
    b"</",
    b"<!--",
    b"-->",
    b"&#",
    b";",
    b"<script>",
    b"<a href=",
    b"\"",
    b"'",
    b"<li>",
    b"&#xD800;",
    b"\xe2\x80\xa8",
];

#[test]
fn whatever_html_is_given_a_text_comes_out() {
    Target { name: "html", ordinary: 10_000, share: 10 }.feed(|random| {
        let html = hostile_text(random, HTML, &TAGS);
        let text = text_of(&html);
        // A list has a mark for each of its points, a link an address: nothing else is added.
        if text.len() > html.len() * 3 + 10 {
            return Err(format!("{} bytes become {}", html.len(), text.len()));
        }
        Ok(text.contains("Hello"))
    });
}
