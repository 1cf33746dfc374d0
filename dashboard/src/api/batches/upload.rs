//! Batches: start one whose input is the body of the request.
//!
//! The body is read while it is copied to where inputs without ranges are kept, within the bounds of a spool: it never
//! stands in memory as a whole. A body that breaks off starts nothing.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use gristmill_core::batch::FailureBudget;
use gristmill_core::definition::CHUNK_ITEMS_MAX;
use gristmill_core::schema::text;
use gristmill_service::documents::{BatchWithResult, WouldStartDocument};
use gristmill_service::start::BatchRequest;
use gristmill_service::start::params::params;
use serde_json::Value;
use tokio::sync::mpsc;

use super::start::{Started, begin};
use crate::api::rehearsable::Rehearsable;
use crate::gate::body::check_media;
use crate::gate::describe::{Argument, BodyShape, Endpoint, NDJSON};
use crate::gate::limits::piece;
use crate::gate::{Allowed, Api, ApiError, Change, Creation, Parameters, Params, Path, Query, Result, perm};

/// The types of bodies that are taken: which form the input has says the definition.
const MEDIA: [&str; 4] = ["text/csv", NDJSON, "application/gzip", "application/octet-stream"];

/// How many pieces of a body are read ahead.
const PIECES_AHEAD: usize = 8;

/// How a batch differs from its definition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    chunk: Option<u64>,
    failure_budget: Option<FailureBudget>,
    params: Value,
    idempotency_key: Option<String>,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        let chunk = query.one("chunk", "How many items make a chunk");
        if chunk.is_some_and(|chunk| !(1..=CHUNK_ITEMS_MAX).contains(&chunk)) {
            query.fault("chunk", format!("must be 1 to {CHUNK_ITEMS_MAX}"));
        }
        let about = "How many items may be quarantined: a count, or a percentage such as `2.5%`";
        let budget: Option<String> = query.one("failure_budget", about);
        let failure_budget = budget.and_then(|text| match text.parse() {
            Ok(budget) => Some(budget),
            Err(error) => {
                query.fault("failure_budget", format!("{error}"));
                None
            }
        });
        let said: Vec<String> = query.many("param", "A parameter of the run, `KEY=VALUE`; may be repeated");
        let params = params(&said).unwrap_or_else(|error| {
            query.fault("param", error.to_string());
            Value::Null
        });
        let idempotency_key = query.one("idempotency_key", "Nothing is started when a batch with this key ever was");
        Self { chunk, failure_budget, params, idempotency_key }
    }
}

/// The input of a batch, as it comes.
pub(super) struct Input {
    body: Body,
    stall: Duration,
}

impl FromRequest<Api> for Input {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self> {
        check_media(request.headers(), &MEDIA)?;
        Ok(Self { body: request.into_body(), stall: api.stall() })
    }
}

impl Argument for Input {
    fn describe(endpoint: &mut Endpoint) {
        for media in MEDIA {
            let schema = text("the input, in the form that the definition says, plain or compressed", "id,shop");
            endpoint.bodies.push(BodyShape { media, schema, optional: false });
        }
    }
}

pub(super) async fn upload(
    caller: Allowed<perm::BatchesStart>,
    Path(name): Path<String>,
    Params((change, wanted)): Params<(Change, Wanted)>,
    input: Input,
) -> Creation<Rehearsable<BatchWithResult, WouldStartDocument>> {
    let Wanted { chunk, failure_budget, params, idempotency_key } = wanted;
    let request = BatchRequest {
        name,
        input: vec!["-".to_owned()],
        chunk,
        failure_budget,
        params,
        idempotency_key,
        trace: None,
        stdin: Some(Box::new(Pieces::of(input))),
    };
    begin(&caller, &change, request, Started::FromBody).await
}

/// A body as a reader, for a thread that may wait.
struct Pieces {
    pieces: mpsc::Receiver<Result<Bytes>>,
    rest: Bytes,
}

impl Pieces {
    /// Reads the body beside its reader, and stops when that is gone.
    fn of(Input { body, stall }: Input) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        tokio::spawn(async move {
            let mut stream = body.into_data_stream();
            while let Some(next) = piece(&mut stream, stall).await.transpose() {
                let broken = next.is_err();
                if sender.send(next).await.is_err() || broken {
                    return;
                }
            }
        });
        Self { pieces, rest: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.rest = piece,
                Some(Err(error)) => return Err(io::Error::other(error.message)),
            }
        }
        let taken = self.rest.split_to(into.len().min(self.rest.len()));
        into[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
