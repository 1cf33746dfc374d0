//! Emails, the list of addresses to which nothing is sent, and what a report has led to.

use gristmill_core::letter::{RecipientRole, RecipientState, SuppressionReason};
use gristmill_core::mail_flow::{Breaker, BreakerState, Pace};
use gristmill_core::mailing::Funnel;
use gristmill_service::documents::{
    EmailDocument, EmailRowDocument, EmailStatDocument, MailDomainDocument, MailRelayDocument, MailTestDocument,
    MailingDocument, MailingRowDocument, ReturnedDocument, ReturnedKind, ReturnedRecipientDocument,
    SuppressionDocument, WouldResendDocument,
};
use gristmill_store::{EmailAttempt, EmailState, MailDomain, MailingVariant, RecipientView, Reported, Suspension};

use super::{Sample, at, id, sample};

fn row() -> EmailRowDocument {
    EmailRowDocument {
        key: "00000000-0000-0000-0000-000000000051".to_owned(),
        job: id(0x51),
        batch: Some(id(1)),
        state: EmailState::Failed,
        stream: "transactional".to_owned(),
        message_id: "<51@example.com>".to_owned(),
        sender: Some("mill@example.com".to_owned()),
        subject: Some("Your report".to_owned()),
        template: Some("batch-report".to_owned()),
        size: Some(4_096),
        sha256: Some("ab".repeat(32)),
        recipient_count: 1,
        first_recipient: Some("ada@example.org".to_owned()),
        created_at: at(0),
        moved_at: at(5),
    }
}

fn recipient() -> RecipientView {
    RecipientView {
        position: 0,
        role: RecipientRole::To,
        address: "ada@example.org".to_owned(),
        state: RecipientState::Bounced,
        attempts: 2,
        code: Some(550),
        status: Some("5.1.1".to_owned()),
        rule: Some("no-such-mailbox".to_owned()),
        note: Some("550 5.1.1 no such user".to_owned()),
        may_be_twice: false,
        moved_at: at(5),
    }
}

fn mailings() -> Vec<Sample> {
    let funnel = Funnel { made: 3, suppressed: 1, sent: 1, bounced: 1, ..Funnel::default() };
    let variant = MailingVariant { variant: "news".to_owned(), funnel };
    let mailing = MailingDocument::new(id(1), vec![variant.clone()]);
    let stat = EmailStatDocument { name: "example.org".to_owned(), funnel };
    let row = MailingRowDocument { batch: id(1), name: "newsletter".to_owned(), funnel };
    let test = MailTestDocument {
        dry_run: false,
        jobs: vec![id(0x51)],
        messages: 1,
        refused: vec!["`email` is not one address".to_owned()],
    };
    let would = MailTestDocument { dry_run: true, jobs: Vec::new(), messages: 0, refused: Vec::new() };
    vec![
        sample("MailingDocument", mailing, MailingDocument::new(id(1), Vec::new())),
        sample("MailingVariant", variant.clone(), variant),
        sample("MailingRowDocument", row.clone(), row),
        sample("Funnel", funnel, Funnel::default()),
        sample("EmailStatDocument", stat.clone(), stat),
        sample("MailTestDocument", test, would),
    ]
}

pub(super) fn samples() -> Vec<Sample> {
    let attempt = EmailAttempt {
        attempt: 1,
        server: "mx.example.org:25".to_owned(),
        transcript: "C: EHLO mill.example.com".to_owned(),
        ended_at: at(4),
    };
    let blind =
        RecipientView { address: String::new(), code: None, status: None, rule: None, note: None, ..recipient() };
    let full = EmailDocument { email: row(), recipients: vec![recipient()], attempts: vec![attempt.clone()] };
    let bare = EmailRowDocument { batch: None, template: None, size: None, sha256: None, ..row() };
    let minimal = EmailDocument { email: bare, recipients: Vec::new(), attempts: Vec::new() }.without_contents();
    let entry = SuppressionDocument {
        address_sha256: "cd".repeat(32),
        stream: "news".to_owned(),
        reason: SuppressionReason::Bounce,
        note: Some("5.1.1".to_owned()),
        created_at: at(0),
        until: Some(at(86_400)),
    };
    let lasting = SuppressionDocument { stream: String::new(), note: None, until: None, ..entry.clone() };
    let spoken = ReturnedRecipientDocument {
        said: "failed".to_owned(),
        status: Some("5.1.1".to_owned()),
        outcome: Reported::Moved,
    };
    let unsaid = ReturnedRecipientDocument { status: None, outcome: Reported::Unknown, ..spoken.clone() };
    let returned =
        ReturnedDocument { kind: ReturnedKind::Delivery, email: Some(row().key), recipients: vec![spoken.clone()] };
    let other = ReturnedDocument { kind: ReturnedKind::Other, email: None, recipients: Vec::new() };
    let would = WouldResendDocument { dry_run: true, email: row().key };
    let messages = vec![
        sample("EmailRowDocument", full.email.clone(), minimal.email.clone()),
        sample("EmailDocument", full, minimal),
        sample("RecipientView", recipient(), blind),
        sample("EmailAttempt", attempt.clone(), attempt),
        sample("WouldResendDocument", would.clone(), would),
        sample("SuppressionDocument", entry, lasting),
        sample("ReturnedDocument", returned, other),
        sample("ReturnedRecipientDocument", spoken, unsaid),
    ];
    messages.into_iter().chain(mailings()).collect()
}

/// Relays, and recipients' domains.
pub(super) fn flow() -> Vec<Sample> {
    let broken = Breaker {
        state: BreakerState::Open,
        until: Some(at(300)),
        failed: 1,
        pauses: 1,
        fault: true,
        why: Some("535 5.7.8 wrong password".to_owned()),
        ..Breaker::new(at(0))
    };
    let (name, place) = ("main".to_owned(), "mail.example.com:587".to_owned());
    let relay = MailRelayDocument { name, place, breaker: broken, messages: 40, day: Some("2026-03-01".to_owned()) };
    let used = MailRelayDocument { breaker: Breaker::new(at(0)), messages: 0, day: None, ..relay.clone() };
    let why = Some("they have an outage".to_owned());
    let suspension = Suspension { since: at(0), until: Some(at(60)), by: "ada".to_owned(), why };
    let said = Some("421 4.7.0 slow down".to_owned());
    let pace = Pace { learned: Some(30), learned_at: Some(at(1)), slowed: 2, said };
    let held = MailDomain { name: "example.org".to_owned(), suspension: Some(suspension.clone()), pace };
    let free = MailDomain { suspension: None, pace: Pace::default(), ..held.clone() };
    let until_resumed = Suspension { until: None, why: None, ..suspension.clone() };
    vec![
        sample("MailRelayDocument", relay, used),
        sample(
            "MailDomainDocument",
            MailDomainDocument { domain: held, waiting: 7 },
            MailDomainDocument { domain: free, waiting: 1 },
        ),
        sample("Suspension", suspension, until_resumed),
    ]
}
