//! Jobs: enqueue many, as a list or as a stream of lines.
//!
//! A list is one transaction. A stream is committed in groups while it is read, so that a million jobs need the memory
//! of one group; the answer says how far it came. A stream that breaks off leaves the groups before enqueued: a caller
//! that sends it again gives each job an `idempotency_key`, or the whole stream one, to which the number of the line is
//! added.

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{FromRequest, Request};
use gristmill_core::job::{NewJob, PAYLOAD_BYTES_MAX};
use gristmill_service::Order;
use gristmill_service::dispatcher::Overlap;
use gristmill_service::documents::{EnqueuedManyDocument, WouldEnqueueManyDocument};
use gristmill_store::GROUP_JOBS_MAX;
use serde_json::{Value, json};

use super::request::{JobBody, job_of};
use crate::api::rehearsable::Rehearsable;
use crate::gate::body::{check_media, read, schema, value};
use crate::gate::describe::{Argument, BodyShape, Endpoint, JSON, NDJSON};
use crate::gate::limits::{piece, whole};
use crate::gate::{
    Allowed, Api, ApiError, Caller, Change, Creation, ErrorCode, Fault, Made, Parameters, Params, Query, Result, perm,
};

/// The longest line: a payload at its limit and room for what is around it.
const LINE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 64 * 1024;

/// The most ids that an answer names.
const IDS_MAX: usize = 100_000;

/// How the jobs of a stream are enqueued.
pub(super) struct Stream {
    idempotency_key: Option<String>,
}

impl Parameters for Stream {
    fn read(query: &mut Query) -> Self {
        let about =
            "Each job without a key of its own gets this one and its number, so that the stream may be sent again";
        Self { idempotency_key: query.one("idempotency_key", about) }
    }
}

/// Many jobs, as they come.
pub(super) enum Jobs {
    /// All at once.
    List(Value),
    /// One a line.
    Lines(Body),
}

impl FromRequest<Api> for Jobs {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self> {
        let media = check_media(request.headers(), &[JSON, NDJSON])?;
        if media == NDJSON {
            return Ok(Self::Lines(request.into_body()));
        }
        let bytes = whole(request.into_body(), api.settings().body_bytes_max, api.stall()).await?;
        // A list around it is one level more.
        value(&bytes).map(Self::List)
    }
}

impl Argument for Jobs {
    fn describe(endpoint: &mut Endpoint) {
        use utoipa::openapi::schema::{ArrayBuilder, Schema};
        let one = schema::<JobBody>(&mut endpoint.schemas);
        let list = Schema::Array(ArrayBuilder::new().items(one.clone()).max_items(Some(GROUP_JOBS_MAX)).build()).into();
        endpoint.bodies.push(BodyShape { media: JSON, schema: list, optional: false });
        endpoint.bodies.push(BodyShape { media: NDJSON, schema: one, optional: false });
    }
}

pub(super) async fn enqueue_many(
    caller: Allowed<perm::JobsEnqueue>,
    Params((change, stream)): Params<(Change, Stream)>,
    jobs: Jobs,
) -> Creation<Rehearsable<EnqueuedManyDocument, WouldEnqueueManyDocument>> {
    let key = stream.idempotency_key.or_else(|| caller.idempotency_key());
    let group = Group { caller: &caller, order: caller.order(&change), key };
    let done = match jobs {
        Jobs::List(list) => group.list(list).await?,
        Jobs::Lines(body) => {
            let mut overlap = Overlap::default();
            let done = group.lines(body, &mut overlap).await;
            overlap.finished().await;
            done?
        }
    };
    let (read, enqueued) = (done.read, done.jobs);
    Ok(match change.dry_run {
        true => Made::not_made(Rehearsable::Would(WouldEnqueueManyDocument { dry_run: true, would_enqueue: read })),
        false => Made::new(Rehearsable::Done(enqueued)),
    })
}

/// How far a stream was read, and what became of it.
#[derive(Debug, Default)]
struct Progress {
    read: u64,
    jobs: EnqueuedManyDocument,
}

struct Group<'a> {
    caller: &'a Caller,
    order: Order,
    key: Option<String>,
}

impl Group<'_> {
    async fn list(&self, list: Value) -> Result<Progress> {
        let Value::Array(list) = list else {
            return Err(ApiError::fault("", "is not a list of jobs; a single one goes to /api/v1/jobs"));
        };
        if list.len() > GROUP_JOBS_MAX {
            let message =
                format!("has {} jobs; a list has at most {GROUP_JOBS_MAX}, more go as `{NDJSON}`", list.len());
            return Err(ApiError::fault("", message));
        }
        let (mut jobs, mut faults) = (Vec::new(), Vec::new());
        for (number, one) in list.into_iter().enumerate() {
            match self.job(one, number as u64 + 1) {
                Ok(job) => jobs.push(job),
                Err(wrong) => faults.extend(
                    wrong.into_iter().map(|fault| Fault::new(format!("/{number}{}", fault.path), fault.message)),
                ),
            }
        }
        if !faults.is_empty() {
            return Err(ApiError::invalid(faults));
        }
        let mut done = Progress { read: jobs.len() as u64, jobs: EnqueuedManyDocument::default() };
        if !jobs.is_empty() {
            done.jobs.add(&self.caller.service().enqueue_many(&self.order, jobs).await?.jobs);
        }
        Ok(done)
    }

    /// Each group is published beside the commits of those that follow.
    async fn lines(&self, body: Body, overlap: &mut Overlap) -> Result<Progress> {
        let mut lines = Lines::new(body, self.caller.api());
        let (mut done, mut number) = (Progress::default(), 0);
        loop {
            let jobs = self.next_group(&mut lines, &mut number).await.map_err(|error| so_far(&done, error))?;
            if jobs.is_empty() {
                return Ok(done);
            }
            let count = jobs.len() as u64;
            let enqueued = self.caller.service().enqueue_beside(overlap, &self.order, jobs).await;
            let report = enqueued.map_err(|error| so_far(&done, error.into()))?;
            done.read += count;
            done.jobs.add(&report.jobs);
            done.jobs.ids.truncate(IDS_MAX);
        }
    }

    /// The next jobs, all of them valid; empty at the end.
    async fn next_group(&self, lines: &mut Lines, number: &mut u64) -> Result<Vec<NewJob>> {
        let mut jobs = Vec::new();
        while jobs.len() < GROUP_JOBS_MAX {
            let Some(line) = lines.next().await? else { break };
            *number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let of_line = |message: String| format!("line {number}: {message}");
            let one = value(&line).map_err(|error| ApiError { message: of_line(error.message.clone()), ..error })?;
            jobs.push(self.job(one, *number).map_err(|faults| {
                let error = ApiError::invalid(faults);
                ApiError { message: of_line(error.message.clone()), ..error }
            })?);
        }
        Ok(jobs)
    }

    fn job(&self, one: Value, number: u64) -> Result<NewJob, Vec<Fault>> {
        let JobBody(mut request) = read::<JobBody>(one).map_err(|error| error.faults)?;
        if request.idempotency_key.is_none() {
            request.idempotency_key = self.key.as_ref().map(|key| format!("{key}:{number}"));
        }
        job_of(self.caller, request)
    }
}

/// The error with how far it came: everything up to there is enqueued.
fn so_far(done: &Progress, error: ApiError) -> ApiError {
    let progress = Some(Box::new(json!({ "lines": done.read, "enqueued": done.jobs })));
    ApiError { progress, ..error }
}

/// The lines of a body.
struct Lines {
    stream: BodyDataStream,
    stall: std::time::Duration,
    waiting: Vec<u8>,
    /// How far `waiting` was searched for the end of a line.
    searched: usize,
    ended: bool,
}

impl Lines {
    fn new(body: Body, api: &Api) -> Self {
        Self { stream: body.into_data_stream(), stall: api.stall(), waiting: Vec::new(), searched: 0, ended: false }
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(at) = self.waiting[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.waiting.split_off(self.searched + at + 1);
                let line = std::mem::replace(&mut self.waiting, rest);
                self.searched = 0;
                return Ok(Some(Bytes::from(line)));
            }
            self.searched = self.waiting.len();
            if self.waiting.len() > LINE_BYTES_MAX {
                let message = format!("a line is longer than {LINE_BYTES_MAX} bytes");
                return Err(ApiError::new(ErrorCode::TooLarge, message));
            }
            if self.ended {
                let last = std::mem::take(&mut self.waiting);
                self.searched = 0;
                return Ok((!last.is_empty()).then(|| Bytes::from(last)));
            }
            match piece(&mut self.stream, self.stall).await? {
                Some(piece) => self.waiting.extend_from_slice(&piece),
                None => self.ended = true,
            }
        }
    }
}
