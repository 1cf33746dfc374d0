//! Ticks that waited: buffered ones, those of backfills, those that were given back, and those that an event made.

use gristmill_core::id::WorkerId;
use gristmill_core::schedule::{Busy, Overlap, ScheduleSpec, Step, Target};
use gristmill_service::start::turn;
use gristmill_store::{FireTick, Firing, Result, ScheduleOrigin, ScheduleView, TickOutcome, TickView, requested_batch};

use super::runner::{PassReport, ScheduleRunner, WAITING_MAX};

impl ScheduleRunner {
    /// Starts ticks whose turn it is.
    pub(super) async fn start_waiting(&mut self, who: WorkerId, report: &mut PassReport) -> Result<()> {
        let waiting = self.store.startable_ticks(WAITING_MAX).await?;
        let mut firings = Vec::new();
        let mut views: Vec<ScheduleView> = Vec::new();
        for row in &waiting {
            let known = views.iter().position(|view| view.tenant == row.tenant && view.name == row.schedule);
            let index = match known {
                Some(index) => index,
                None => {
                    let Some(view) = self.view_of(row).await? else {
                        firings.extend(self.without_home(row));
                        continue;
                    };
                    views.push(view);
                    views.len() - 1
                }
            };
            firings.extend(self.turn_of(row, &mut views[index], who, report).await?);
        }
        self.fire(firings, report).await
    }

    /// The schedule of a row: one of the store, or one that stands for a hook, a watched folder or a program's request.
    async fn view_of(&self, row: &TickView) -> Result<Option<ScheduleView>> {
        let trigger = self.run_context.snapshot.borrow().triggers.get(&row.schedule).cloned().or(requested(row));
        if let Some(spec) = trigger.filter(|_| row.tenant == self.run_context.tenant) {
            return Ok(Some(triggered(row, spec)));
        }
        Ok(self.store.schedules(Some(&row.tenant), Some(&row.schedule)).await?.into_iter().next())
    }

    /// A tick made by an event would wait for ever once its schedule, hook or watched folder is gone.
    fn without_home(&self, row: &TickView) -> Option<Firing> {
        let (reason, gone) = match row.schedule.split_once('/') {
            Some((what, name)) => {
                let reason = format!("there is no [{what}.{name}] in the configuration any more");
                (reason, row.tenant == self.run_context.tenant)
            }
            None => (format!("there is no schedule `{}` any more", row.schedule), row.event.is_some()),
        };
        gone.then(|| firing(row, FireTick { outcome: TickOutcome::Failed, reason: Some(reason), ..turn(row) }))
    }

    /// Decides a row whose turn it is, and returns what may be written at once. Planning a batch begins here.
    async fn turn_of(
        &mut self,
        row: &TickView,
        view: &mut ScheduleView,
        who: WorkerId,
        report: &mut PassReport,
    ) -> Result<Option<Firing>> {
        let made = row.event.is_some();
        let key = (row.tenant.clone(), row.schedule.clone(), row.tick);
        if self.in_hand.contains(&key) || (!view.enabled && (made || row.outcome == TickOutcome::Buffered)) {
            return Ok(None);
        }
        report.schedules += 1;
        // A tick that was given back, or has waited for its turn, has passed this check already.
        let asks = made && row.outcome == TickOutcome::Waiting && row.tries == 0;
        if asks && let Some(held) = self.held_back(row, view) {
            report.others += 1;
            return Ok(Some(firing(row, held)));
        }
        view.running += 1;
        let tick = FireTick { holder: Some(who), ..turn(row) };
        if matches!(view.spec.target(), Ok(Target::Batch(_))) {
            self.plan(view.spec.clone(), firing(row, tick), report);
            return Ok(None);
        }
        Ok(Some(firing(row, self.job_of(view, tick))))
    }

    /// The row to write when an earlier run keeps the tick from starting: it waits or is skipped.
    fn held_back(&mut self, row: &TickView, view: &mut ScheduleView) -> Option<FireTick> {
        let planned = self.in_hand.iter().filter(|(tenant, name, _)| *tenant == view.tenant && *name == view.name);
        let running = view.running.max(planned.count() as u64);
        let (outcome, reason) = match view.spec.overlap().step(Busy { running, buffered: view.buffered }) {
            Step::Run => return None,
            Step::CancelAndRun => {
                self.supersede(view);
                return None;
            }
            Step::Buffer => (TickOutcome::Buffered, "it waits for an earlier run"),
            Step::Skip => (TickOutcome::SkippedOverlap, "an earlier run was under way"),
        };
        view.buffered += u64::from(outcome == TickOutcome::Buffered);
        Some(FireTick { outcome, reason: Some(reason.to_owned()), ..turn(row) })
    }
}

/// A program's request: a run of a batch definition with parameters of its own. Whether there is such a definition is
/// checked when it starts.
fn requested(row: &TickView) -> Option<ScheduleSpec> {
    let batch = requested_batch(&row.schedule)?.to_owned();
    let params = row.about.as_ref().and_then(|about| about.get("params")).cloned();
    Some(ScheduleSpec { batch: Some(batch), params, ..ScheduleSpec::default() })
}

/// What a hook or a watched folder starts, as a schedule: each of its events has a run of its own.
fn triggered(row: &TickView, spec: ScheduleSpec) -> ScheduleView {
    ScheduleView {
        tenant: row.tenant.clone(),
        name: row.schedule.clone(),
        origin: ScheduleOrigin::File,
        enabled: true,
        spec: ScheduleSpec { overlap: Some(Overlap::Allow), ..spec },
        version: 0,
        decided_at: row.decided_at,
        next_at: None,
        created_at: row.decided_at,
        updated_at: row.decided_at,
        running: 0,
        buffered: 0,
    }
}

fn firing(row: &TickView, tick: FireTick) -> Firing {
    Firing { tenant: row.tenant.clone(), schedule: row.schedule.clone(), advance: None, ticks: vec![tick] }
}
