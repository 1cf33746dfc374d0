//! The parts of the overview: tiles, batches under way, queues by age, workers, schedules.

use chrono::{DateTime, TimeDelta, Utc};
use gristmill_store::{BatchView, QueueView, ScheduleView, WorkerView};
use maud::{Markup, html};

use super::Seen;
use crate::gate::Caller;
use crate::pages::View;
use crate::pages::charts::strip::strip;
use crate::pages::nav;
use crate::pages::parts::batch::{looks, name, progress};
use crate::pages::parts::empty::empty;
use crate::pages::parts::icon::Icon;
use crate::pages::parts::number::{count_or_none, counted, grouped, percent};
use crate::pages::parts::panel::{late_panel, panel, tile};
use crate::pages::parts::state::{self, Tone};
use crate::pages::parts::table::{column, numbers, row, table, wide};
use crate::pages::parts::time::{instant, since};

/// How long after its time a schedule counts as late.
const LATE: TimeDelta = TimeDelta::seconds(60);

/// How many rows a list of the overview has.
const ROWS: usize = 10;

/// How many batches are shown, each with a reading of its own.
const STRIPS: usize = 5;

/// How many cells show where a batch is.
const CELLS: u32 = 60;

/// The numbers.
pub(super) fn tiles(seen: &Seen) -> Markup {
    let sum = |of: fn(&QueueView) -> u64| seen.queues.iter().map(of).sum::<u64>();
    let (running, queued, retry, dead) = (sum(|q| q.running), sum(|q| q.queued), sum(|q| q.retry), sum(|q| q.dead));
    let slots: u64 = seen.workers.iter().filter(|worker| worker.works()).map(|worker| u64::from(worker.slots)).sum();
    let alive = seen.workers.iter().filter(|worker| worker.works()).count() as u64;
    let quarantined: u64 = seen.batches.iter().flatten().map(|batch| batch.counts.quarantined).sum();
    let or = |class: &'static str, if_any: u64| if if_any > 0 { class } else { "" };
    let at = |path: &str| nav::exists(path).then(|| path.to_owned());
    html! {
        div class="tiles" id="tiles" {
            (tile("Running", grouped(running), format!("of {}", counted(slots, "slot", "slots")), "", None))
            (tile("Waiting", grouped(queued), counted(seen.queues.len() as u64, "queue", "queues"), "", at("/queues").as_deref()))
            (tile("To be tried again", grouped(retry), "after a failure", or("careful", retry), None))
            (tile("Scheduled", grouped(sum(|q| q.scheduled)), "for later", "", None))
            (tile("Dead", grouped(dead), "wait for a decision", or("bad", dead), at("/dead").as_deref()))
            (tile("Quarantined", grouped(quarantined), "items of batches under way", or("careful", quarantined),
                at("/quarantine").as_deref()))
            (tile("Workers", grouped(alive), "alive", if alive == 0 { "bad" } else { "" }, at("/workers").as_deref()))
        }
    }
}

/// The batches that are under way, each with a strip that shows where it is.
pub(super) async fn batches(caller: &Caller, view: &View, batches: Option<&[BatchView]>) -> Markup {
    let Some(batches) = batches else { return html! {} };
    let columns =
        [wide("Batch"), column("State"), wide("Where"), numbers("Done"), numbers("Quarantined"), column("Since")];
    let mut rows = Vec::new();
    for batch in batches.iter().take(STRIPS) {
        let width = u32::try_from(batch.chunks.div_ceil(u64::from(CELLS))).unwrap_or(u32::MAX).max(1);
        let ranges = view.panel(caller.store().chunk_ranges(batch.id, width)).await;
        let ended = batch.counts.input - batch.counts.pending();
        rows.push(row(
            batch.id.to_string(),
            [
                name(batch),
                state::batch(batch.state, batch.paused),
                match ranges {
                    Some(ranges) => strip(&format!("Chunks of {}", batch.name), &looks(batch, &ranges, width)),
                    None => progress(batch),
                },
                html! { (percent(ended, batch.counts.input)) },
                count_or_none(batch.counts.quarantined),
                since(batch.created_at),
            ],
        ));
    }
    panel(
        "active",
        "Batches under way",
        html! {
            @if rows.is_empty() {
                (empty("No batch is under way", "Start one, and it is shown here while it runs.", &["gristmill batch run NAME"]))
            } @else {
                (table("active-table", "Batches under way", &columns, rows))
            }
            p {
            @if let Some(more @ 1..) = batches.len().checked_sub(STRIPS) {
                span class="muted" { "and " (counted(more as u64, "batch", "batches")) " more. " }
            }
            a href="/batches" { "All batches" }
        }
        },
    )
}

/// Queues, the one whose oldest job has waited longest first.
pub(super) fn queues(view: &View, seen: &Seen) -> Markup {
    let mut queues: Vec<&QueueView> = seen.queues.iter().collect();
    queues.sort_by_key(|queue| (queue.oldest_queued_at.unwrap_or(view.now()), queue.name.as_str()));
    let columns = [wide("Queue"), column("Oldest waits"), numbers("Waiting"), numbers("Running"), numbers("Dead")];
    let rows = queues.iter().take(ROWS).map(|queue| {
        row(
            &queue.name,
            [
                html! { a href={ "/queues/" (queue.name) } { (queue.name) } @if queue.paused { " " (state::state(Icon::Paused, "paused", Tone::Careful)) } },
                html! { @if let Some(at) = queue.oldest_queued_at { (since(at)) } @else { (count_or_none(0)) } },
                count_or_none(queue.queued),
                count_or_none(queue.running),
                count_or_none(queue.dead),
            ],
        )
    });
    panel(
        "queues",
        "Queues by age",
        html! {
            @if queues.is_empty() {
                (empty("No queue has had a job", "Enqueue one, and its queue is shown here.",
                    &["gristmill enqueue email --payload '{\"to\": \"you@example.com\", \"subject\": \"Hello\"}'"]))
            } @else { (table("queues-table", "Queues by the age of their oldest waiting job", &columns, rows)) }
            @if let Some(more @ 1..) = queues.len().checked_sub(ROWS) {
                p class="muted" { "and " (counted(more as u64, "queue", "queues")) " more" }
            }
        },
    )
}

/// Workers that need a person, or a word that none does.
pub(super) fn workers(view: &View, workers: &[WorkerView]) -> Markup {
    let troubled: Vec<&WorkerView> = workers.iter().filter(|worker| trouble(worker, view.now()).is_some()).collect();
    let alive = workers.iter().filter(|worker| worker.state == "alive").count() as u64;
    let columns = [wide("Process"), column("State"), column("Last heard of")];
    let rows = troubled.iter().take(ROWS).map(|worker| {
        let (word, tone) = trouble(worker, view.now()).unwrap_or(("alive", Tone::Good));
        row(
            worker.id.to_string(),
            [
                html! { (worker.host) span class="muted" { " " (worker.role) " " (worker.pid) } },
                state::state(Icon::Warning, word, tone),
                since(worker.seen_at),
            ],
        )
    });
    panel(
        "workers",
        "Workers with problems",
        html! {
            @if !troubled.is_empty() { (table("workers-table", "Workers with problems", &columns, rows)) }
            @else if alive == 0 { (empty("No process is alive", "Jobs wait until one is.", &["gristmill worker run"])) }
            @else { p class="muted" { "None: " (counted(alive, "process is", "processes are")) " alive." } }
        },
    )
}

/// What is wrong with a worker. One that stopped in order is well.
fn trouble(worker: &WorkerView, now: DateTime<Utc>) -> Option<(&'static str, Tone)> {
    match worker.state.as_str() {
        "lost" => Some(("lost", Tone::Bad)),
        "alive" if now - worker.seen_at > TimeDelta::seconds(10) => Some(("late", Tone::Careful)),
        _ => None,
    }
}

/// Whether a schedule should have run by now.
pub(super) fn is_late(schedule: &ScheduleView, now: DateTime<Utc>) -> bool {
    schedule.enabled && schedule.next_at.is_some_and(|next| now - next > LATE)
}

const SCHEDULE: &str = "[batch.NAME]\nschedule = { cron = \"0 6 * * *\" }";

/// Schedules that are late, and those that come next.
pub(super) fn schedules(view: &View, schedules: Option<&[ScheduleView]>) -> Markup {
    late_panel("schedules", "Schedules", schedules, |schedules| {
        let mut coming: Vec<&ScheduleView> =
            schedules.iter().filter(|schedule| schedule.enabled && schedule.next_at.is_some()).collect();
        coming.sort_by_key(|schedule| schedule.next_at);
        let columns = [wide("Schedule"), column("State"), column("Next")];
        let rows = coming.iter().take(ROWS).map(|schedule| {
            let state = match is_late(schedule, view.now()) {
                true => state::state(Icon::Warning, "late", Tone::Careful),
                false if schedule.running > 0 => state::state(Icon::Running, "running", Tone::Active),
                false => state::state(Icon::Clock, "planned", Tone::Calm),
            };
            let next = schedule.next_at.map(instant).unwrap_or_default();
            let name = html! { a href={ "/schedules/" (schedule.name) } { (schedule.name) } };
            row(&schedule.name, [name, state, next])
        });
        html! {
            @if coming.is_empty() {
                (empty("No schedule is enabled", "A batch with a schedule starts by itself.", &[SCHEDULE]))
            } @else { (table("schedules-table", "The next runs", &columns, rows)) }
        }
    })
}
