//! A batch that halted or was cancelled continues: what it had not done becomes claimable in the next generation.

use gristmill_core::batch::{BatchState, Counts, FailureBudget};
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;

use super::SqliteStore;
use super::control::finish;
use super::create::no_batch;
use super::row::{self, moved_columns};
use super::transition::Transition;
use crate::check;
use crate::error::Result;
use crate::restart::{Halted, may_restart, refuse_over_budget, refuse_without_input};
use crate::sql::batch_ends;
use crate::stop::stopping;
use crate::{ControlReport, Restart};

/// How many samples a report has.
const SAMPLES: usize = 5;

pub(super) async fn restart(
    store: &SqliteStore,
    tenant: &str,
    restart: &Restart,
    dry_run: bool,
) -> Result<ControlReport> {
    let mut t = Transition::begin(store).await?;
    let report = restart_in(&mut t, tenant, restart).await?;
    finish(t, report, dry_run).await
}

/// The same within a transaction.
pub(super) async fn restart_in(t: &mut Transition<'_>, tenant: &str, restart: &Restart) -> Result<ControlReport> {
    let batch = restart.batch;
    let statement = concat!(
        "SELECT state, sealed_at IS NOT NULL AS planned, deleting_at IS NOT NULL AS deleting, ",
        stopping!(),
        " AS stopping, spool, tolerate, input, ok, skipped, quarantined, cancelled
          FROM batch WHERE id = ?1 AND tenant = ?2"
    );
    let found = t.row(sqlx::query(statement).bind(batch.0).bind(tenant.to_owned())).await?;
    let found = found.ok_or_else(|| no_batch(batch))?;
    let halted = Halted {
        state: row::word::<BatchState>(&found, "state")?,
        planned: row::flag(&found, "planned")?,
        deleting: row::flag(&found, "deleting")?,
        stopping: row::flag(&found, "stopping")?,
    };
    let spools_removed = row::get::<Option<String>>(&found, "spool")?.is_some_and(|spool| spool != "kept");
    may_restart(batch, &halted)?;
    let states: &[JobState] =
        if restart.dead { &[JobState::Cancelled, JobState::Dead] } else { &[JobState::Cancelled] };
    // A chunk without items is one that was split: its halves have them.
    let statement = concat!(
        "SELECT state, ",
        moved_columns!(),
        " FROM job WHERE batch_id = ?1 AND seq IS NOT NULL AND items > 0 AND state IN (SELECT value FROM json_each(?2))
          ORDER BY id"
    );
    let unfinished = t.rows(sqlx::query(statement).bind(batch.0).bind(check::json(states)?)).await?;
    refuse_without_input(batch, spools_removed, unfinished.len())?;
    let mut counts: Counts = row::counts(&found)?;
    let mut ids = Vec::with_capacity(unfinished.len());
    // At least an empty change: if nothing is left to do, the aggregate fires.
    t.delta(batch);
    for row in &unfinished {
        let (job, from) = (row::moved(row)?, row::word(row, "state")?);
        t.moved(&job, from, JobState::Queued);
        let items = u64::try_from(job.items).unwrap_or(0);
        let delta = t.delta(batch);
        delta.remaining += 1;
        if from == JobState::Dead {
            delta.dead -= 1;
            delta.quarantined -= job.items;
            counts.quarantined = counts.quarantined.saturating_sub(items);
        } else {
            delta.cancelled -= job.items;
        }
        ids.push(job.id);
    }
    let failure_budget = restart.failure_budget.map_or_else(|| row::word::<FailureBudget>(&found, "tolerate"), Ok)?;
    refuse_over_budget(batch, failure_budget, &counts)?;
    let generation = reopen(t, batch, failure_budget, &ids).await?;
    let samples = ids.iter().take(SAMPLES).map(ToString::to_string).collect();
    Ok(ControlReport { affected: ids.len() as u64, samples, generation, ..ControlReport::default() })
}

/// Opens the batch's next generation with these jobs. Returns its number.
async fn reopen(
    t: &mut Transition<'_>,
    batch: BatchId,
    failure_budget: FailureBudget,
    ids: &[JobId],
) -> Result<Option<u32>> {
    batch_ends::supersede(t, batch).await?;
    let statement = "
        UPDATE batch SET state = 'sealed', generation = generation + 1, aggregate_error = NULL, halting = 0, paused = 0, result = NULL,
                         finished_at = NULL, reason = NULL, tolerate = ?2
        WHERE id = ?1 RETURNING generation";
    let opened = t.row(sqlx::query(statement).bind(batch.0).bind(failure_budget.to_string())).await?;
    let generation: Option<u32> = opened.as_ref().map(|row| row::number(row, "generation")).transpose()?;
    let statement = "
        UPDATE job SET state = 'queued', max_attempts = max(max_attempts, attempt + granted), queued_at = ?2,
                       finished_at = NULL, error = NULL, generation = ?3
        WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1))";
    t.run(sqlx::query(statement).bind(check::json(ids)?).bind(t.now).bind(generation)).await?;
    Ok(generation)
}
