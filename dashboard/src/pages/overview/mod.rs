//! The overview: how things are in one sentence, and what needs a person. [`health()`]: the sentence; [`lists`]: the parts.

mod health;
mod lists;

use chrono::TimeDelta;
use gristmill_core::access::Permission;
use gristmill_core::batch::BatchState;
use gristmill_store::{BatchFilter, BatchView, Page as Rows, QueueView, ScheduleView, UnhandledView, WorkerView};
use maud::html;

use self::health::{Facts, Health, health};
use crate::gate::{Allowed, Caller, Params, Result, Routes, perm};
use crate::live::Topic;
use crate::pages::history::{self, Of, Span};
use crate::pages::parts::icon::icon;
use crate::pages::{Head, Paged, View};

pub(super) fn routes() -> Routes {
    Routes::default().get("/", "How things are, and what needs a person", show)
}

/// How many batches of each state that are under way are shown.
const BATCHES_MAX: u32 = 8;

/// Everything that the page is made of.
struct Seen {
    queues: Vec<QueueView>,
    unhandled: Option<Vec<UnhandledView>>,
    workers: Vec<WorkerView>,
    batches: Option<Vec<BatchView>>,
    schedules: Option<Vec<ScheduleView>>,
}

async fn show(caller: Allowed<perm::QueuesRead>, view: View, Params(span): Params<Span>) -> Paged {
    let seen = seen(&caller, &view).await?;
    let passed = history::read(&caller, &view, span, Of::default()).await;
    let facts = facts(&seen, &view);
    let Health { tone, shape, text } = health(&facts);
    let main = html! {
        h1 class="unseen" { "Overview" }
        p id="health" class={ "health " (tone.class()) } { (icon(shape)) span { (text) } }
        (lists::tiles(&seen))
        (history::panels(&view, span, passed))
        (lists::batches(&caller, &view, seen.batches.as_deref()).await)
        div class="columns" {
            (lists::queues(&view, &seen))
            (lists::workers(&view, &seen.workers))
            @if caller.may(Permission::SchedulesRead) { (lists::schedules(&view, seen.schedules.as_deref())) }
        }
    };
    let topics = [Topic::Queues, Topic::Batches, Topic::Workers];
    Ok(view.page(&caller, Head::new("Overview", "/").live(topics), main))
}

async fn seen(caller: &Caller, view: &View) -> Result<Seen> {
    let (store, tenant) = (caller.store(), caller.tenant());
    Ok(Seen {
        queues: view.read(store.queues(tenant)).await?,
        unhandled: view.panel(store.unhandled(tenant)).await,
        workers: view.read(store.workers()).await?,
        batches: if caller.may(Permission::BatchesRead) { under_way(caller, view).await } else { None },
        schedules: view.panel(store.schedules(Some(tenant), None)).await,
    })
}

/// The batches that are under way, the newest first.
async fn under_way(caller: &Caller, view: &View) -> Option<Vec<BatchView>> {
    let mut found = Vec::new();
    for state in [BatchState::Open, BatchState::Sealed, BatchState::Aggregating] {
        let filter = BatchFilter {
            tenant: caller.tenant().to_owned(),
            name: None,
            state: Some(state),
            ..BatchFilter::default()
        };
        let rows = Rows { after: None, limit: BATCHES_MAX };
        found.extend(view.panel(caller.store().batches(&filter, &rows)).await?);
    }
    found.sort_by_key(|batch| std::cmp::Reverse(batch.id));
    Some(found)
}

/// What the sentence is made of.
fn facts(seen: &Seen, view: &View) -> Facts {
    let hour = view.now() - TimeDelta::hours(1);
    Facts {
        now: view.now(),
        workers: seen.workers.iter().filter(|worker| worker.works()).count(),
        lost: seen.workers.iter().filter(|worker| worker.state == "lost" && worker.seen_at > hour).count(),
        running: seen.queues.iter().map(|queue| queue.running).sum(),
        waiting: seen.queues.iter().filter(|queue| !queue.paused).map(|queue| queue.queued).sum(),
        behind: seen
            .queues
            .iter()
            .filter(|queue| !queue.paused)
            .filter_map(|queue| Some((queue.name.clone(), queue.oldest_queued_at?)))
            .collect(),
        unhandled: seen.unhandled.iter().flatten().map(|found| found.jobs).sum(),
        late: seen.schedules.iter().flatten().filter(|schedule| lists::is_late(schedule, view.now())).count(),
    }
}
