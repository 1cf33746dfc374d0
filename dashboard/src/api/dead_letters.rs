//! Dead letters: list, redrive, discard. A dead letter is a job in state `dead`.

use std::collections::BTreeSet;

use futures::FutureExt;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::query::{List, Query as Asked};
use gristmill_service::documents::{DeadReportDocument, JobDocument};
use gristmill_service::pages::PAGE_ROWS;
use gristmill_store::{JobFilter, JobView, Page};

use super::jobs::{as_of_now, find, shown};
use crate::gate::{
    Allowed, Answer, Caller, Change, ErrorCode, Fields, JsonBody, Moment, Object, Outcome, Paging, Parameters, Params,
    Query, Result, Routes, asked, perm,
};

/// The most dead letters that may be named at once.
const NAMED_MAX: usize = 1_000;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/dead-letters", "Dead letters, newest first, without payloads", list)
        .post_slowly("/api/v1/dead-letters/redrive", "Bring dead letters back, by their ids or by a filter", redrive)
        .post_slowly(
            "/api/v1/dead-letters/discard",
            "Delete dead letters for good, by their ids or by a filter",
            discard,
        )
}

/// Which dead letters are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
struct Wanted {
    queue: Option<String>,
    kind: Option<String>,
    batch: Option<BatchId>,
    error: Option<String>,
    since: Option<Instant>,
    asked: Asked,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            queue: query.one("queue", "Only on this queue"),
            kind: query.one("kind", "Only of this kind"),
            batch: query.one("batch", "Only of this batch"),
            error: query.one("error", "Only with this text in the error, whatever its case"),
            since: query.one::<Moment>("since", "Only those that died since then").map(|moment| moment.0),
            asked: asked(query, List::DeadLetters),
        }
    }
}

impl Wanted {
    async fn filter(self, caller: &Caller) -> Result<JobFilter> {
        let Self { queue, kind, batch, error, since, asked } = self;
        let (tenant, query) = (caller.tenant().to_owned(), as_of_now(caller, asked).await?);
        Ok(JobFilter { tenant, states: vec![JobState::Dead], queue, kind, key: None, batch, error, since, query })
    }
}

async fn list(
    caller: Allowed<perm::JobsRead>,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Outcome<Vec<JobDocument>> {
    let jobs = caller.store().jobs(&wanted.filter(&caller).await?, &paging.0).await?;
    let next = paging.next(&jobs, |job| job.id.to_string());
    Ok(Answer::page(jobs.into_iter().map(|job| shown(&caller, job)).collect(), next))
}

/// Which dead letters a change is for.
#[derive(Debug, Clone, PartialEq)]
enum Selected {
    /// These.
    Named(Vec<JobId>),
    /// All that match now.
    Matching(Wanted),
}

impl Fields for Selected {
    const NAME: &'static str = "DeadLetterSelection";
    const EXAMPLE: &'static str = r#"{"queue": "mail", "error": "timed out"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let jobs: Option<Vec<JobId>> = object.optional("jobs", "These, at most 1000; instead of a filter");
        let all = object.optional("all", "All that are dead now").unwrap_or(false);
        let since: Option<String> = object.optional("since", "Only those that died since this instant");
        let since = since.and_then(|text| match text.parse::<Moment>() {
            Ok(moment) => Some(moment.0),
            Err(wrong) => {
                object.fault("since", wrong);
                None
            }
        });
        let wanted = Wanted {
            queue: object.optional("queue", "Only on this queue"),
            kind: object.optional("kind", "Only of this kind"),
            batch: object.optional("batch", "Only of this batch"),
            error: object.optional("error", "Only with this text in the error, whatever its case"),
            since,
            asked: Asked::default(),
        };
        let filtered = wanted != Wanted::default();
        match jobs {
            Some(jobs) if filtered || all => {
                object.fault("jobs", "is given together with a filter; give only one");
                Some(Self::Named(jobs))
            }
            Some(jobs) if jobs.len() > NAMED_MAX => {
                object.fault("jobs", format!("names more than {NAMED_MAX}"));
                None
            }
            Some(jobs) => Some(Self::Named(jobs)),
            None if filtered || all => Some(Self::Matching(wanted)),
            None => {
                object.fault("jobs", "is missing: name them, or give a filter, or `all`");
                None
            }
        }
    }
}

impl Selected {
    /// The dead letters, those of one batch adjacent, so that its next generation is opened once; and why others that
    /// were named are none.
    async fn jobs(self, caller: &Caller) -> Result<(Vec<JobView>, Vec<String>)> {
        let (mut dead, mut others) = (Vec::new(), Vec::new());
        match self {
            Self::Named(ids) => (dead, others) = named(caller, ids).await?,
            Self::Matching(wanted) => {
                let (filter, mut page) = (wanted.filter(caller).await?, Page { after: None, limit: PAGE_ROWS });
                loop {
                    let rows = caller.store().jobs(&filter, &page).await?;
                    page.after = rows.last().filter(|_| rows.len() == PAGE_ROWS as usize).map(|job| job.id.to_string());
                    dead.extend(rows);
                    if page.after.is_none() {
                        break;
                    }
                }
            }
        }
        dead.sort_by_key(|job| (job.batch, job.id));
        Ok((dead, others))
    }
}

/// Those of the jobs that are dead letters, and why the others are none.
pub(crate) async fn named(caller: &Caller, ids: Vec<JobId>) -> Result<(Vec<JobView>, Vec<String>)> {
    let (mut dead, mut others) = (Vec::new(), Vec::new());
    for id in ids.into_iter().collect::<BTreeSet<_>>() {
        match find(caller, id).await {
            Ok(job) if job.state == JobState::Dead => dead.push(job),
            Ok(job) => others.push(format!("the job {id} is {}, and no dead letter", job.state)),
            Err(error) if error.code == ErrorCode::NotFound => others.push(error.message),
            Err(error) => return Err(error),
        }
    }
    Ok((dead, others))
}

async fn redrive(
    caller: Allowed<perm::JobsControl>,
    Params(change): Params<Change>,
    JsonBody(selected): JsonBody<Selected>,
) -> Outcome<DeadReportDocument> {
    let (dead, others) = selected.jobs(&caller).await?;
    let ids: Vec<JobId> = dead.iter().map(|job| job.id).collect();
    let (service, order) = (caller.service().clone(), caller.order(&change));
    let report = async move { service.redrive_each(&order, &ids).await }.boxed().await?;
    Ok(Answer::new(DeadReportDocument::new(change.dry_run, &report, others)))
}

async fn discard(
    caller: Allowed<perm::JobsDelete>,
    Params(change): Params<Change>,
    JsonBody(selected): JsonBody<Selected>,
) -> Outcome<DeadReportDocument> {
    let (dead, others) = selected.jobs(&caller).await?;
    let jobs: Vec<(JobId, Instant)> = dead.iter().filter_map(|job| Some((job.id, job.finished_at?))).collect();
    let options = caller.api().program().pruner_options();
    let (service, order) = (caller.service().clone(), caller.order(&change));
    let report = async move { service.discard_dead(&order, &jobs, &options).await }.boxed().await?;
    Ok(Answer::new(DeadReportDocument::new(change.dry_run, &report, others)))
}
