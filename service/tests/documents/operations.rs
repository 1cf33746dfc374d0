//! Operations over many jobs.

use gristmill_core::operation::{OperationState, OperationVerb};
use gristmill_core::query::{List, parse};
use gristmill_service::control::operation::OperationRequest;
use gristmill_service::documents::{OperationDocument, WouldOperateDocument};
use gristmill_store::OperationPreview;

use super::{Sample, at, id, sample};

pub(super) fn samples() -> Vec<Sample> {
    let full = OperationDocument {
        id: id(31),
        tenant: "main".to_owned(),
        verb: OperationVerb::Cancel,
        query: "kind:import* age>1h".to_owned(),
        snapshot: at(0),
        state: OperationState::Finished,
        actor: "ada@laptop".to_owned(),
        reason: "wrong file".to_owned(),
        rate: Some(200),
        preview: 12_481,
        preview_more: false,
        done: 12_470,
        failed: 1,
        skipped: 10,
        undone: 3,
        undo_failed: 1,
        error: Some("its key is held".to_owned()),
        undo_until: Some(at(660)),
        can_be_undone: true,
        created_at: at(1),
        ended_at: Some(at(60)),
    };
    let minimal = OperationDocument {
        verb: OperationVerb::Redrive,
        query: "kind:*".to_owned(),
        state: OperationState::Running,
        rate: None,
        preview: 100_000,
        preview_more: true,
        done: 0,
        failed: 0,
        skipped: 0,
        undone: 0,
        undo_failed: 0,
        error: None,
        undo_until: None,
        can_be_undone: false,
        ended_at: None,
        ..full.clone()
    };
    let query = parse(List::Jobs, "kind:import* age>1h").expect("a query");
    let request = OperationRequest { verb: OperationVerb::Cancel, query, rate: Some(200), snapshot: None, id: None };
    let preview = OperationPreview {
        snapshot: at(0),
        matches: 12_481,
        more: false,
        samples: vec!["17".to_owned(), "18".to_owned()],
    };
    let nothing = OperationPreview { snapshot: at(0), matches: 0, more: false, samples: Vec::new() };
    let unlimited = OperationRequest { rate: None, ..request.clone() };
    vec![
        sample("OperationDocument", full, minimal),
        sample(
            "WouldOperateDocument",
            WouldOperateDocument::new(&request, &preview),
            WouldOperateDocument::new(&unlimited, &nothing),
        ),
    ]
}
