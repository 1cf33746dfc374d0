//! Operations over many jobs, items or batches: each is started, stepped to where nothing is due, called off and undone. Which jobs a step
//! takes first is the store's own affair, so that only whole runs are compared.

use std::time::Duration;

use gristmill_core::audit::ActorKind;
use gristmill_core::id::OperationId;
use gristmill_core::operation::{OperationVerb, Subjects};
use gristmill_core::query::parse;
use gristmill_store::{NewOperation, OperationView, Ordered, Result, Selection};
use gristmill_testkit::Random;
use uuid::Uuid;

use crate::made::LONG;
use crate::operation::Operation;
use crate::side::{Side, TENANTS, batch_id};

/// How many there are.
const NUMBERS: u64 = 3;

/// How many queries there are.
const QUERIES: u64 = 7;

/// What is done with an operation.
pub(crate) fn operation(random: &mut Random) -> Operation {
    let mut pick = |end: u64| usize::try_from(random.below(end)).unwrap_or(0);
    let number = pick(NUMBERS);
    match pick(12) {
        0..=4 => Operation::Operate {
            number,
            verb: pick(OperationVerb::ALL.len() as u64),
            query: pick(QUERIES),
            long: pick(3) > 0,
        },
        5..=8 => Operation::MakeSteps { number },
        9..=10 => Operation::BringBack { number },
        _ => Operation::CallOff { number },
    }
}

fn id(number: usize) -> OperationId {
    OperationId(Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000 + number as u128))
}

fn query(verb: OperationVerb, number: usize) -> String {
    let batch = format!("batch:{}", batch_id(0));
    let words = match verb.subjects() {
        Subjects::Jobs => None,
        Subjects::Items => Some(["state:open", "stage:parse", "-stage:parse", &batch, "reason:o age<1000d"]),
        Subjects::Batches => Some(["name:*", "name:retail", "-state:halted", "created:2020-01-01..", "age<1000d"]),
    };
    if let Some(words) = words {
        return words[number % words.len()].to_owned();
    }
    match (number, verb) {
        (0, _) => "kind:*".to_owned(),
        (1, _) => "kind:work,odd".to_owned(),
        (2, _) => "queue:queue0 -kind:odd".to_owned(),
        (3, _) => batch,
        (4, _) => "key:turn* attempts>=1".to_owned(),
        (5, OperationVerb::Cancel) => "state:scheduled,retry".to_owned(),
        _ => "-kind:chunk age<1000d".to_owned(),
    }
}

fn new(number: usize, verb: OperationVerb, asked: usize, long: bool) -> NewOperation {
    let query = parse(verb.list(), &query(verb, asked)).expect("a query");
    NewOperation {
        id: id(number),
        selection: Selection { tenant: TENANTS[0].to_owned(), verb, query, snapshot: None },
        preview: 0,
        preview_more: false,
        ordered: Ordered {
            order: Uuid::from_u128(1),
            actor_kind: ActorKind::Operator,
            actor: "ada@laptop".to_owned(),
            subject: None,
            role: None,
            address: None,
            request: None,
        },
        reason: "enough".to_owned(),
        rate: None,
        undo: if long { LONG } else { Duration::ZERO },
    }
}

/// What is the same on both sides: instants are each side's own, and a reason names jobs by their ids.
fn in_words(view: &OperationView) -> String {
    let OperationView { verb, query, state, done, failed, skipped, undone, undo_failed, can_be_undone, .. } = view;
    format!("{verb} {query} {state} {done} {failed} {skipped} {undone} {undo_failed} {can_be_undone}")
}

/// Whether it is one of these.
pub(crate) fn is(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Operate { .. }
            | Operation::MakeSteps { .. }
            | Operation::BringBack { .. }
            | Operation::CallOff { .. }
    )
}

pub(crate) async fn apply(side: &Side, operation: &Operation) -> Result<String> {
    let (store, tenant) = (&side.store, TENANTS[0]);
    let view = match operation {
        Operation::Operate { number, verb, query, long } => {
            let new = new(*number, OperationVerb::ALL[*verb], *query, *long);
            let preview = store.preview_operation(&new.selection).await?;
            let view = store.start_operation(&new).await?;
            return Ok(format!("{} of {} {}", in_words(&view), preview.matches, preview.more));
        }
        Operation::MakeSteps { number } => {
            while store.step_operation(id(*number), LONG).await?.is_some() {}
            store.operation(tenant, id(*number)).await?
        }
        Operation::BringBack { number } => Some(store.undo_operation(tenant, id(*number)).await?),
        Operation::CallOff { number } => Some(store.cancel_operation(tenant, id(*number)).await?),
        other => unreachable!("{other:?} is no operation over jobs"),
    };
    Ok(view.as_ref().map_or("none".to_owned(), in_words))
}
