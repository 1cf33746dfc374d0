//! What an answer of a mail server means for a recipient: one pure decision table.
//!
//! The order of the rules matters: where the transaction stood comes first, because the same code means another thing
//! to the sender's address than to a recipient's; then the enhanced code (RFC 3463 and IANA's registry), which says
//! more than the reply code; then what servers without enhanced codes write; then the first digit (RFC 5321, 4.2.1).
//! Each verdict carries the name of its rule, so that a person can see why.

mod blame;
mod reply;

use std::time::Duration;

pub use blame::{Blame, asks_to_slow_down, blame};
pub use reply::{Enhanced, asked_wait};

gristmill_core::words! {
    /// Where a transaction stood when something was answered, or when nothing was.
    pub enum Phase {
        /// The connection was being made, up to the server's greeting.
        Connect = "connect",
        /// TLS was being set up.
        Tls = "tls",
        /// The two were introducing themselves (EHLO), or a transaction was being reset.
        Hello = "hello",
        /// We were logging in.
        Auth = "auth",
        /// The sender's address was named (MAIL).
        Mail = "mail",
        /// A recipient's address was named (RCPT).
        Rcpt = "rcpt",
        /// The server was asked whether it takes the message now (DATA).
        Data = "data",
        /// The message was under way, and its final dot was not: no server may take it.
        Body = "body",
        /// The final dot was under way or sent: without an answer it is unknown whether the server took the message.
        Dot = "dot",
    }
}

impl Phase {
    /// Whether nothing of the message was named yet.
    pub fn is_before_the_message(self) -> bool {
        matches!(self, Self::Connect | Self::Tls | Self::Hello | Self::Auth)
    }

    /// Whether bytes of the message may have been under way.
    pub fn is_with_the_data(self) -> bool {
        matches!(self, Self::Body | Self::Dot)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The server answered.
    Reply {
        /// The reply code, 200 to 599.
        code: u16,
        /// The words behind it, all lines, with the enhanced code if there is one.
        text: String,
    },
    /// The connection broke, or could not be made.
    Lost {
        /// How.
        why: String,
    },
    /// No answer came within the time for it.
    Silent,
    /// The connection cannot be encrypted as it must be.
    Insecure {
        /// Why.
        why: String,
    },
    /// We did not ask: the message does not fit this server, such as an address that it could not take.
    Unfit {
        /// Why.
        why: String,
    },
}

gristmill_core::words! {
    /// What a verdict speaks of.
    pub enum Scope {
        /// This recipient alone.
        Recipient = "recipient",
        /// The message, for any recipient.
        Message = "message",
        /// What the other side thinks of the sender's domain or address.
        Sender = "sender",
        /// All mail to the recipient's domain.
        Domain = "domain",
        /// All mail by this server.
        Host = "host",
        /// This transaction.
        Session = "session",
        /// Our own settings.
        Ourselves = "ourselves",
    }
}

/// What becomes of the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server has taken the message (after the final dot), or agrees so far (before).
    Accepted,
    /// Not now. The other side does not have the message.
    Deferred {
        /// How long to wait. `None`: as the job's own policy says.
        after: Option<Duration>,
        /// How old the message may become with this answer before it bounces. `None`: as old as any.
        within: Option<Duration>,
    },
    /// Never. The other side does not have the message.
    Bounced {
        /// Whether nothing more is sent to this address.
        suppress: bool,
    },
    /// The server does not let us in, and will not for any message: nothing is sent for so long, and no recipient's mail
    /// is given up for it.
    OurFault {
        /// How long the transport pauses.
        pause: Duration,
    },
    /// It cannot be known (RFC 1047).
    Unknown,
}

/// A decision and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of the recipient.
    pub outcome: Outcome,
    /// What it speaks of.
    pub scope: Scope,
    /// The name of the rule that decided.
    pub rule: &'static str,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// How long the transport pauses when the server does not let us in.
pub const PAUSE: Duration = Duration::from_secs(5 * 60);

/// How long a server that greylists without saying for how long is given: it takes five minutes as a rule.
const GREYLIST: Duration = Duration::from_secs(5 * 60);

/// How long a domain is left alone that finds us too many or too unknown.
const REPUTATION: Duration = Duration::from_secs(15 * 60);

/// How long a server that finds our commands wrong is asked again: a broken connection looks like this, too.
const PROTOCOL: Duration = Duration::from_secs(30 * 60);

fn verdict(rule: &'static str, scope: Scope, outcome: Outcome) -> Verdict {
    Verdict { outcome, scope, rule }
}

fn deferred(rule: &'static str, scope: Scope, after: Option<Duration>) -> Verdict {
    verdict(rule, scope, Outcome::Deferred { after, within: None })
}

fn not_let_in() -> Verdict {
    verdict("not-let-in", Scope::Ourselves, Outcome::OurFault { pause: PAUSE })
}

fn bounced(rule: &'static str, scope: Scope) -> Verdict {
    verdict(rule, scope, Outcome::Bounced { suppress: false })
}

/// Decides what a signal means for a recipient, from where the transaction stood.
///
/// Nothing but the code, its words and the phase decides, and every combination has an answer: there is no code that a
/// server could send and this could not judge.
pub fn classify(phase: Phase, signal: &Signal) -> Verdict {
    match signal {
        Signal::Reply { code, text } => answered(phase, *code, text),
        // It offers no way to log in that we have: that is no message's fault.
        Signal::Unfit { .. } if phase == Phase::Auth => not_let_in(),
        Signal::Unfit { .. } => bounced("does-not-fit-the-server", Scope::Message),
        Signal::Insecure { .. } => deferred("tls-failed", Scope::Host, None),
        // Only the final dot leaves anything open: a server that has not seen it has no message (RFC 5321, 4.1.1.4).
        Signal::Lost { .. } | Signal::Silent if phase == Phase::Dot => {
            verdict("no-answer-after-the-data", Scope::Session, Outcome::Unknown)
        }
        Signal::Lost { .. } => deferred("connection-lost", Scope::Host, None),
        Signal::Silent => deferred("no-answer", Scope::Host, None),
    }
}

fn answered(phase: Phase, code: u16, text: &str) -> Verdict {
    let enhanced = Enhanced::at_start(text);
    if code < 400 {
        return agreed(phase, code);
    }
    if is_our_fault(code, enhanced) {
        return not_let_in();
    }
    // Before MAIL no recipient is under discussion: whatever the code, no recipient's mail may be given up.
    if phase.is_before_the_message() || code == 421 {
        return deferred("host-not-now", Scope::Host, asked_wait(text));
    }
    if let Some(found) = by_enhanced(phase, code, enhanced, text) {
        return found;
    }
    by_words(phase, code, text).unwrap_or_else(|| by_first_digit(phase, code, text))
}

/// An answer that refuses nothing. After DATA it must be 3xx, everywhere else 2xx: anything else is not what was asked
/// for, and after the final dot it says nothing of what became of the message.
fn agreed(phase: Phase, code: u16) -> Verdict {
    let goes_on = (300..400).contains(&code);
    match phase {
        Phase::Auth => verdict("accepted", Scope::Recipient, Outcome::Accepted),
        Phase::Data if goes_on => verdict("accepted", Scope::Recipient, Outcome::Accepted),
        Phase::Data => protocol(),
        _ if (200..300).contains(&code) => verdict("accepted", Scope::Recipient, Outcome::Accepted),
        Phase::Dot => verdict("strange-answer-after-the-data", Scope::Session, Outcome::Unknown),
        _ => protocol(),
    }
}

/// The server wants a login, another login, or encryption first: RFC 4954 and the enhanced codes of its registry.
fn is_our_fault(code: u16, enhanced: Option<Enhanced>) -> bool {
    let said = enhanced.map(|code| (code.class, code.subject, code.detail));
    matches!(code, 530 | 534 | 535 | 538) || matches!(said, Some((5, 7, 8 | 9 | 11 | 57)))
}

/// Whether a refusal at this point speaks of one recipient: only the answer to its own RCPT does for certain.
fn speaks_of_one(phase: Phase) -> bool {
    phase == Phase::Rcpt
}

fn no_such_mailbox(rule: &'static str, phase: Phase) -> Verdict {
    let scope = if speaks_of_one(phase) { Scope::Recipient } else { Scope::Message };
    verdict(rule, scope, Outcome::Bounced { suppress: speaks_of_one(phase) })
}

fn by_enhanced(phase: Phase, code: u16, enhanced: Option<Enhanced>, text: &str) -> Option<Verdict> {
    let enhanced = enhanced?;
    // A code and an enhanced code of different classes contradict each other: the reply code rules (RFC 2034, 4).
    if u16::from(enhanced.class) != code / 100 {
        return None;
    }
    let found = match (enhanced.class, enhanced.subject, enhanced.detail) {
        (4, 5, 3) => deferred("too-many-recipients", Scope::Session, Some(Duration::ZERO)),
        (4, 2, 2) => mailbox_full(text),
        (4, 2, _) => deferred("greylisted", Scope::Recipient, Some(asked_wait(text).unwrap_or(GREYLIST))),
        (4, 7, 1) => deferred("greylisted", Scope::Recipient, Some(asked_wait(text).unwrap_or(GREYLIST))),
        (4, 7, _) => deferred("reputation", Scope::Domain, Some(asked_wait(text).unwrap_or(REPUTATION))),
        (4, 3, _) => deferred("system", Scope::Host, asked_wait(text)),
        (4, 4, _) => deferred("routing", Scope::Host, asked_wait(text)),
        (4, 5, _) => protocol(),
        (4, _, _) => deferred("not-now", Scope::Recipient, asked_wait(text)),
        (5, 1, 7 | 8) => bounced("sender-address", Scope::Sender),
        (5, 1, 1 | 2 | 3 | 6 | 10) => no_such_mailbox("no-such-mailbox", phase),
        (5, 1, _) => bounced("address", Scope::Recipient),
        (5, 2, 1) | (5, 7, 13) => no_such_mailbox("mailbox-disabled", phase),
        (5, 2, 2) => bounced("mailbox-full", Scope::Recipient),
        (5, 2, 3) | (5, 3, 4) => bounced("too-large", Scope::Message),
        (5, 2, _) => bounced("mailbox", Scope::Recipient),
        (5, 7, 20..=27) => bounced("authentication-of-the-sender", Scope::Sender),
        (5, 7, _) => bounced("policy", Scope::Sender),
        (5, 6, _) => bounced("content", Scope::Message),
        (5, 5, _) if (500..=504).contains(&code) => protocol(),
        // 5.5.0 behind 550 is what some large servers write to everything: their words say more.
        (5, 5, _) => return None,
        (5, 3 | 4, _) => bounced("route-for-ever", Scope::Host),
        _ => return None,
    };
    Some(found)
}

fn mailbox_full(text: &str) -> Verdict {
    let after = Some(asked_wait(text).unwrap_or(HOUR));
    verdict("mailbox-full-for-now", Scope::Recipient, Outcome::Deferred { after, within: Some(24 * HOUR) })
}

fn protocol() -> Verdict {
    let outcome = Outcome::Deferred { after: Some(MINUTE), within: Some(PROTOCOL) };
    verdict("our-commands", Scope::Session, outcome)
}

/// What servers without enhanced codes write. A phrase counts only behind a code of its class, and only in lower case.
const WORDS: [(u16, &[&str], &str); 9] = [
    (4, &["greylist", "graylist", "grey-list", "try again in"], "greylisted"),
    (4, &["too many recipients"], "too-many-recipients"),
    (4, &["mailbox full", "mailbox is full", "over quota", "quota exceeded"], "mailbox-full-for-now"),
    (4, &["rate limit", "too many connections", "too many messages", "reputation", "[ts0"], "reputation"),
    (5, &["message too large", "size limit", "exceeds the maximum", "message size exceeds"], "too-large"),
    (5, &["mailbox full", "mailbox is full", "over quota", "quota exceeded"], "mailbox-full"),
    (
        5,
        &["spam", "blocked", "blocklist", "blacklist", "spf", "dkim", "dmarc", "policy", "reputation", "relay"],
        "policy",
    ),
    (5, &["disabled", "suspended", "inactive", "deactivated"], "mailbox-disabled"),
    (
        5,
        &[
            "user unknown",
            "unknown user",
            "no such user",
            "no such recipient",
            "unknown recipient",
            "recipient unknown",
            "does not exist",
            "doesn't exist",
            "mailbox unavailable",
            "mailbox not found",
            "no mailbox here",
            "invalid recipient",
            "address rejected: undeliverable",
        ],
        "no-such-mailbox",
    ),
];

fn by_words(phase: Phase, code: u16, text: &str) -> Option<Verdict> {
    if (500..=504).contains(&code) {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let said = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
    let (_, _, rule) = WORDS.iter().find(|(class, phrases, _)| *class == code / 100 && said(phrases))?;
    let after = |usual: Duration| Some(asked_wait(text).unwrap_or(usual));
    Some(match *rule {
        "greylisted" => deferred(rule, Scope::Recipient, after(GREYLIST)),
        "too-many-recipients" => deferred(rule, Scope::Session, Some(Duration::ZERO)),
        "mailbox-full-for-now" => mailbox_full(text),
        "reputation" => deferred(rule, Scope::Domain, after(REPUTATION)),
        "too-large" => bounced(rule, Scope::Message),
        "mailbox-full" => bounced(rule, Scope::Recipient),
        "policy" => bounced(rule, Scope::Sender),
        _ => no_such_mailbox(rule, phase),
    })
}

fn by_first_digit(phase: Phase, code: u16, text: &str) -> Verdict {
    let wait = asked_wait(text);
    match code {
        450 if speaks_of_one(phase) => deferred("greylisted", Scope::Recipient, wait),
        400..=499 => deferred("not-now", Scope::Recipient, wait),
        500..=504 => protocol(),
        552 => bounced("too-large", Scope::Message),
        _ if phase == Phase::Mail => bounced("sender-address", Scope::Sender),
        _ => bounced("refused", if speaks_of_one(phase) { Scope::Recipient } else { Scope::Message }),
    }
}
