//! Events that start runs: they are reported, and started anew.

use gristmill_store::{FireTick, Firing, NewEvent, Result, TickOutcome};
use serde_json::json;

use crate::apply::Told;
use crate::made::new_job;
use crate::operation::{Operation, SCHEDULES, TRIGGERS};
use crate::planned::{OUTCOMES, are_taken, fire, ledger, ledger_name, run_of, told_tick};
use crate::side::TENANTS;

pub(crate) async fn apply(told: &mut Told<'_>, operation: &Operation) -> Result<String> {
    let side = told.side;
    match operation {
        Operation::NoteEvent { trigger, event, other_tenant, job } => {
            let schedules = usize::try_from(SCHEDULES).unwrap_or(0);
            let event = NewEvent {
                tenant: TENANTS[usize::from(*other_tenant)].to_owned(),
                schedule: ledger_name(schedules + trigger),
                event: format!("event{event}"),
                about: json!({ "id": event, "with_job": job.is_some() }),
                job: job.as_ref().map(|asked| Box::new(new_job(asked))),
            };
            let noted = side.store.note_event(&event).await?;
            if let Some(job) = noted.tick.job {
                told.name(job).await;
            }
            let dispatched = told.dispatched(&noted.dispatched).await;
            Ok(format!("fresh {} {} {dispatched}", noted.fresh, told_tick(side, &noted.tick).await))
        }
        Operation::StartEvent { run, .. } if are_taken(side, run.iter()).await => Ok("its batch is taken".to_owned()),
        Operation::StartEvent { ledger: name, nth, stale, outcome, run } => {
            // That ledger, or the next one that has an event.
            let ledgers = usize::try_from(SCHEDULES + TRIGGERS).unwrap_or(1);
            let mut rows = Vec::new();
            for name in (*name..name + ledgers).map(|number| ledger_name(number % ledgers)) {
                rows.extend(ledger(side, TENANTS[0], &name).await.into_iter().rev().filter(|row| row.event.is_some()));
                if !rows.is_empty() {
                    break;
                }
            }
            // Rows of one instant have an order of their own.
            rows.sort_by(|one, other| one.event.cmp(&other.event));
            let Some(row) = rows.get(nth % rows.len().max(1)) else { return Ok("nothing came".to_owned()) };
            let seen = OUTCOMES.iter().position(|one| *one == row.outcome).unwrap_or(0);
            let tick = FireTick {
                tick: row.tick,
                interval: (row.from, row.to),
                cause: row.cause,
                outcome: if run.is_some() { TickOutcome::Ran } else { OUTCOMES[1 + outcome % 5] },
                late_ms: 7,
                ticks: 1,
                reason: Some("it was asked for anew".to_owned()),
                was: Some(OUTCOMES[(seen + usize::from(*stale)) % OUTCOMES.len()]),
                run: run.as_ref().map(run_of),
                holder: None,
                about: None,
                tzdb: None,
            };
            let (tenant, schedule) = (TENANTS[0].to_owned(), row.schedule.clone());
            fire(told, Firing { tenant, schedule, advance: None, ticks: vec![tick] }).await
        }
        other => unreachable!("{other:?} is no event"),
    }
}
