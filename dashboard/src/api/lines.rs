//! Exports: one JSON object a line, read from the store page by page while they are sent.

use std::borrow::Cow;
use std::marker::PhantomData;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use gristmill_core::schema::free;
use gristmill_service::documents::ExportedItemDocument;
use gristmill_store::{Page, QuarantineFilter, StoreHandle};
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::gate::Result;
use crate::gate::describe::{Endpoint, NDJSON, Replies, Reply};

/// How many rows are read at a time.
const PAGE_ROWS: u32 = 1_000;

/// A stream of lines, each a document of this type.
#[derive(Debug)]
pub(crate) struct Lines<T> {
    body: Body,
    line: PhantomData<T>,
}

/// A line of an export of quarantined items.
#[derive(Debug)]
pub(crate) struct Exported;

impl PartialSchema for Exported {
    fn schema() -> RefOr<Schema> {
        ExportedItemDocument::<'static>::schema()
    }
}

impl ToSchema for Exported {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ExportedItemDocument")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        ExportedItemDocument::<'static>::schemas(schemas);
    }
}

/// A line of an export of the audit.
#[derive(Debug)]
pub(super) struct AuditLine;

impl PartialSchema for AuditLine {
    fn schema() -> RefOr<Schema> {
        free("an entry in the order in which its fields are hashed, as `gristmill audit export` prints it")
    }
}

impl ToSchema for AuditLine {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("AuditLine")
    }
}

impl Lines<AuditLine> {
    /// The entries of a chain behind a number, in their order.
    pub(super) fn of_audit(store: StoreHandle, tenant: String, behind: u64) -> Self {
        let pages = stream::try_unfold(Some(behind), move |behind| {
            let (store, tenant) = (store.clone(), tenant.clone());
            async move {
                let Some(behind) = behind else { return Ok::<_, std::io::Error>(None) };
                let entries = store.audit_behind(&tenant, behind, PAGE_ROWS).await.map_err(std::io::Error::other)?;
                let last = entries.last().filter(|_| entries.len() == PAGE_ROWS as usize);
                let next = last.map(|last| last.entry.seq);
                Ok(Some((text(entries.iter())?, next)))
            }
        });
        Self { body: Body::from_stream(pages), line: PhantomData }
    }
}

impl Lines<Exported> {
    /// The quarantined items that match a filter.
    pub(crate) fn of_quarantine(store: StoreHandle, filter: QuarantineFilter) -> Self {
        let first = Some(Page { after: None, limit: PAGE_ROWS });
        let pages = stream::try_unfold(first, move |page| {
            let (store, filter) = (store.clone(), filter.clone());
            async move {
                let Some(page) = page else { return Ok::<_, std::io::Error>(None) };
                let items = store.quarantine(&filter, &page).await.map_err(std::io::Error::other)?;
                let last = items.last().filter(|_| items.len() == PAGE_ROWS as usize);
                let next = last.map(|item| Page { after: Some(item.id.to_string()), ..page });
                Ok(Some((text(items.iter().map(ExportedItemDocument::from))?, next)))
            }
        });
        Self { body: Body::from_stream(pages), line: PhantomData }
    }
}

fn text(lines: impl Iterator<Item = impl Serialize>) -> std::io::Result<Bytes> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
    }
    Ok(Bytes::from(text))
}

impl<T> IntoResponse for Lines<T> {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl<T: ToSchema> Replies for Result<Lines<T>> {
    fn describe(endpoint: &mut Endpoint) {
        let schema = endpoint.schema::<T>();
        endpoint.replies.push(Reply { status: 200, media: NDJSON, schema });
    }
}
