//! A batch as one document that stands by itself: its numbers, its chunks as a field and over time, how the estimate has held,
//! why items failed, what was merged. For a file, a mail, a printer: without a script, a link or anything from elsewhere.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use gristmill_core::id::BatchId;
use gristmill_service::documents::EtaRecordDocument;
use gristmill_service::eta_record::eta_record_by;
use gristmill_store::{
    BatchView, CHUNK_BRIEFS_MAX, ChunkBrief, JobView, Page as Rows, QuarantineView, StoreError, StoreHandle,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::show::numbers;
use super::tabs::{LOOKED_AT, dead, filter, reasons, reasons_table};
use super::{grid, record, timeline};
use crate::api::batches::find;
use crate::gate::describe::{Endpoint, Replies, Reply, plain};
use crate::gate::{Allowed, Path, Result, perm};
use crate::pages::assets::STYLE;
use crate::pages::charts::gantt::{self, Bar};
use crate::pages::charts::heat::{self, Cell};
use crate::pages::parts::batch::{all_ranges, progress, shares};
use crate::pages::parts::json::json;
use crate::pages::parts::panel::panel;
use crate::pages::parts::progress::legend;
use crate::pages::parts::state;
use crate::pages::parts::time::shown;

/// Its type: a file to be kept, and no page of ours.
const MEDIA: &str = "text/html";

/// Nothing is fetched and nothing runs, wherever it is shown.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// A report, as a file.
#[derive(Debug)]
pub(super) struct Report {
    batch: BatchId,
    text: String,
}

impl IntoResponse for Report {
    fn into_response(self) -> Response {
        let name = format!("attachment; filename=\"{}.html\"", self.batch);
        let mut response = self.text.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        if let Ok(name) = HeaderValue::try_from(name) {
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
        response
    }
}

impl Replies for Result<Report> {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.replies.push(Reply { status: 200, media: MEDIA, schema: plain::<String>() });
    }
}

pub(super) async fn download(caller: Allowed<perm::ContentsRead>, Path(id): Path<BatchId>) -> Result<Report> {
    let batch = find(&caller, id).await?;
    let text = report(caller.store(), &batch, Utc::now()).await?;
    Ok(Report { batch: id, text })
}

/// What is read for it.
struct Read {
    cells: Vec<Cell>,
    chunks: Vec<ChunkBrief>,
    record: Option<EtaRecordDocument>,
    items: Vec<QuarantineView>,
    dead: Vec<JobView>,
}

/// The report of a batch as it is now: a whole document.
///
/// # Errors
///
/// Those of the store.
pub async fn report(store: &StoreHandle, batch: &BatchView, now: DateTime<Utc>) -> Result<String, StoreError> {
    let whole = batch.chunks <= u64::from(CHUNK_BRIEFS_MAX);
    let chunks = store.chunk_briefs(batch.id, 0, CHUNK_BRIEFS_MAX).await?;
    let cells = if whole {
        chunks.iter().map(|chunk| Cell { href: String::new(), ..grid::cell(chunk) }).collect()
    } else {
        let width = u32::try_from(batch.chunks.div_ceil(grid::RANGES)).unwrap_or(u32::MAX);
        let ranges = store.chunk_ranges(batch.id, width).await?;
        all_ranges(batch.chunks, &ranges, width).map(|(range, size)| grid::plain_range(&range, size)).collect()
    };
    let record = (whole && !chunks.is_empty()).then(|| eta_record_by(batch, &chunks));
    let rows = Rows { after: None, limit: LOOKED_AT };
    let items = store.quarantine(&filter(batch), &rows).await?;
    let dead = store.jobs(&dead(batch), &rows).await?;
    Ok(document(batch, &Read { cells, chunks, record, items, dead }, now).into_string())
}

fn document(batch: &BatchView, read: &Read, now: DateTime<Utc>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (batch.name) " " (batch.state) }
                style { (PreEscaped(STYLE.text())) }
            }
            body class="report" {
                main {
                    h1 { (batch.name) }
                    p class="about" {
                        (state::batch(batch.state, batch.paused)) " started " (shown(batch.created_at))
                        @if let Some(end) = batch.finished_at { ", ended " (shown(end)) }
                        ", as of " (shown(now)) ". " code { (batch.id) }
                    }
                    @if let Some(reason) = &batch.reason { p { (reason) } }
                    (panel("summary", "Items", html! {
                        (progress(batch)) (legend(&shares(&batch.counts))) (numbers(now, batch, false))
                    }))
                    (parts(batch, read, now))
                }
            }
        }
    }
}

fn parts(batch: &BatchView, read: &Read, now: DateTime<Utc>) -> Markup {
    let spans = timeline::spans(&read.chunks, now);
    let bars: Vec<Bar> = spans.iter().map(|span| Bar { href: String::new(), ..span.bar() }).collect();
    let about = timeline::said(&spans);
    let groups = reasons(&read.items, &read.dead);
    html! {
        @if !read.cells.is_empty() {
            (panel("chunks", "Chunks", html! { (heat::heat("Chunks of the batch", &read.cells)) (heat::legend(&read.cells)) }))
        }
        @if let Some(picture) = gantt::gantt("timeline", "When chunks ran", &about, &bars) {
            (panel("times", "Timeline", html! { p { (about) } (picture) (gantt::legend(&bars)) }))
        }
        @if let Some(held) = read.record.as_ref().filter(|held| held.said.iter().any(|said| said.eta.likely.is_some())) {
            (panel("estimates", "How the estimate has held", html! { p { (record::said(held)) } (record::picture(held)) }))
        }
        @if !groups.is_empty() { (panel("failures", "Why items and chunks failed", reasons_table(&groups))) }
        @if let Some(result) = &batch.result { (panel("merged", "Result", json("result", result))) }
    }
}
