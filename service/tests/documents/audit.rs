//! Entries of the audit, and what verifying it has shown.

use gristmill_core::audit::{AuditEntry, Broken, Fault, Sum};
use gristmill_service::audit::Verified;
use gristmill_service::documents::{AuditEntryDocument, AuditVerifiedDocument};
use serde_json::json;

use super::{Sample, at, id, sample};

fn entry() -> AuditEntry {
    AuditEntry {
        tenant: "acme".to_owned(),
        seq: 17,
        at: at(0),
        order: id(1),
        step: id(2),
        actor_kind: "user".to_owned(),
        actor: "ada@example.org".to_owned(),
        subject: Some(id(3)),
        role: Some("operator".to_owned()),
        address: Some("192.0.2.7".to_owned()),
        request: Some("r-1".to_owned()),
        action: "queue.pause".to_owned(),
        target: "mail".to_owned(),
        reason: Some("too hot".to_owned()),
        details: json!({ "affected": 3, "before": { "paused": false } }).to_string(),
    }
}

fn chain(broken: Option<Broken>) -> Verified {
    Verified {
        tenant: "acme".to_owned(),
        entries: 3,
        archived: 14,
        signed: 1,
        removed: 14,
        last: 17,
        hash: Sum::of(b"an entry").to_string(),
        broken,
    }
}

pub(super) fn samples() -> Vec<Sample> {
    let full = AuditEntryDocument::from(entry().sealed(Sum::of(b"the one before")));
    let none = AuditEntry { subject: None, role: None, address: None, request: None, reason: None, seq: 1, ..entry() };
    let minimal = AuditEntryDocument::from(none.sealed(Sum::default()));
    let about = "entry 18 is not the one whose hash it has".to_owned();
    let broken = Broken { tenant: "acme".to_owned(), seq: 18, fault: Fault::Changed, about };
    vec![
        sample("AuditEntryDocument", full, minimal),
        sample(
            "AuditVerifiedDocument",
            AuditVerifiedDocument::new(vec![chain(Some(broken)), chain(None)]),
            AuditVerifiedDocument::new(Vec::new()),
        ),
    ]
}
