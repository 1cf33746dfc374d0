//! Emails: list, show, the message itself, resend; and the list of addresses to which nothing is sent.

use std::fmt;
use std::str::FromStr;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use gristmill_core::access::Permission;
use gristmill_core::duration::Span;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::letter::{SuppressionReason, stream_fault};
use gristmill_core::schema::text;
use gristmill_mail::compose::{address_hash, canonical};
use gristmill_service::documents::{
    EmailDocument, EnqueuedOneDocument, MailingDocument, ReportDocument, WouldResendDocument, without_contents,
};
use gristmill_store::{
    EmailFilter, EmailKey, EmailStat, EmailState, EmailView, SUPPRESSIONS_MAX, StatsBy, StatsFilter, Suppression,
    SuppressionView,
};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::batches::find;
use super::rehearsable::Rehearsable;
use crate::gate::describe::{Endpoint, Replies, Reply};
use crate::gate::{
    Allowed, Answer, ApiError, Caller, Change, Creation, ErrorCode, Fields, JsonBody, Made, Object, Outcome, Paging,
    Parameters, Params, Path, Query, Result, Routes, Time, perm,
};

/// What goes over the wire.
const MESSAGE: &str = "message/rfc822";

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/emails", "Emails, newest first", list)
        .get("/api/v1/emails/{email}", "An email with its recipients and what was said at each attempt", show)
        .get("/api/v1/emails/{email}/raw", "The message as it goes over the wire", raw)
        .post("/api/v1/emails/{email}/resend", "Send an email once more, as a message of its own", resend)
        .get("/api/v1/email-stats", "How many recipients are in which state, all together or by name", stats)
        .get("/api/v1/batches/{batch}/mailing", "How many recipients of a batch's messages are in which state", mailing)
        .post(
            "/api/v1/batches/{batch}/mailing/resend",
            "Try the messages of a batch again that were put off, or of which it is unknown whether they were taken",
            resend_mailing,
        )
        .get("/api/v1/suppressions", "The addresses to which nothing is sent, by their hashes", suppressions)
        .post("/api/v1/suppressions", "Put addresses on the list of those to which nothing is sent", suppress)
        .delete("/api/v1/suppressions/{address}", "Take an address, by its hash, off the list", unsuppress)
}

/// The SHA-256 of an address in its canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressHash(pub(crate) [u8; 32]);

impl FromStr for AddressHash {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let bytes: Option<[u8; 32]> = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| "it is no hash: 64 hexadecimal digits, the SHA-256 of an address".to_owned())
    }
}

impl fmt::Display for AddressHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl PartialSchema for AddressHash {
    fn schema() -> RefOr<Schema> {
        text("the SHA-256 of an address in its canonical form, as 64 hexadecimal digits", &"ab".repeat(32))
    }
}

impl ToSchema for AddressHash {}

/// Whose messages or entries are wanted.
struct OfAddress(Option<[u8; 32]>);

impl Parameters for OfAddress {
    fn read(query: &mut Query) -> Self {
        let address: Option<String> = query.one("address", "Only of this address; takes `contents:read`");
        let hash: Option<AddressHash> =
            query.one("address_sha256", "Only of this address, by its hash; takes `contents:read`");
        Self(hash.map(|hash| hash.0).or_else(|| address.as_deref().map(address_hash)))
    }
}

/// The address that is asked for. Who may not see addresses cannot find out by questions whether one is there.
pub(crate) fn asked_of(caller: &Caller, address: Option<[u8; 32]>) -> Result<Option<[u8; 32]>> {
    if address.is_some() && !caller.may(Permission::ContentsRead) {
        let message = "the caller may not ask for an address: `contents:read` is needed";
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    }
    Ok(address)
}

/// Which emails are wanted.
struct Wanted {
    state: Option<EmailState>,
    batch: Option<BatchId>,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            state: query.one("state", "Only those that are so far"),
            batch: query.one("batch", "Only those of this batch; not beside an address"),
        }
    }
}

/// Which recipients are counted.
struct Counted(StatsFilter);

impl Parameters for Counted {
    fn read(query: &mut Query) -> Self {
        let since: Option<Time> = query.one("since", "Only of messages of the last time, such as `24h`");
        let limit = query.one("limit", "How many names at most, those with the most recipients first: 1 to 1000");
        Self(StatsFilter {
            tenant: String::new(),
            by: query
                .one("by", "By what: `all`, `template`, `stream` or `domain`; `all` unless said")
                .unwrap_or_default(),
            batch: query.one("batch", "Only of messages of this batch"),
            template: query.one("template", "Only of messages made from this template"),
            stream: query.one("stream", "Only of messages of this stream"),
            domain: query.one("domain", "Only those with an address in this domain"),
            since: since.map(|since| since.0),
            limit: limit.unwrap_or(NAMES_DEFAULT),
        })
    }
}

/// How many names the answer has unless it is said.
const NAMES_DEFAULT: u32 = 100;

async fn stats(caller: Allowed<perm::EmailsRead>, Params(Counted(filter)): Params<Counted>) -> Outcome<Vec<EmailStat>> {
    // Who may not see addresses learns no part of them either.
    if (filter.domain.is_some() || filter.by == StatsBy::Domain) && !caller.may(Permission::ContentsRead) {
        let message = "the caller may not ask for domains of addresses: `contents:read` is needed";
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    }
    let filter = StatsFilter { tenant: caller.tenant().to_owned(), ..filter };
    Ok(Answer::new(caller.store().email_stats(&filter).await?))
}

async fn mailing(caller: Allowed<perm::EmailsRead>, Path(batch): Path<BatchId>) -> Outcome<MailingDocument> {
    find(&caller, batch).await?;
    Ok(Answer::new(caller.service().mailing(caller.tenant(), batch).await?))
}

async fn resend_mailing(
    caller: Allowed<perm::EmailsControl>,
    Path(batch): Path<BatchId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().resend_mailing(&caller.order(&change), batch).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

async fn list(
    caller: Allowed<perm::EmailsRead>,
    Params(((Wanted { state, batch }, OfAddress(address)), paging)): Params<((Wanted, OfAddress), Paging)>,
) -> Outcome<Vec<EmailView>> {
    let address_hash = asked_of(&caller, address)?;
    let filter = EmailFilter { tenant: caller.tenant().to_owned(), state, address_hash, batch };
    let found = caller.store().emails(&filter, &paging.0).await?;
    let next = paging.next(&found, |email| email.key.clone());
    let shown = found.into_iter().map(|email| shown(&caller, email)).collect();
    Ok(Answer::page(shown, next))
}

/// A row of the list as its caller may see it.
pub(crate) fn shown(caller: &Caller, email: EmailView) -> EmailView {
    if caller.may(Permission::ContentsRead) { email } else { without_contents(email) }
}

fn key(caller: &Caller, email: &str) -> EmailKey {
    EmailKey { tenant: caller.tenant().to_owned(), key: email.to_owned() }
}

fn missing(email: &str) -> ApiError {
    ApiError::not_found(format!("there is no email {email}: it is named by the id of its job"))
}

async fn show(caller: Allowed<perm::EmailsRead>, Path(email): Path<String>) -> Outcome<EmailDocument> {
    let found = caller.service().email(&key(&caller, &email)).await?.ok_or_else(|| missing(&email))?;
    Ok(Answer::new(found.shown_to(&caller.principal)))
}

/// A message.
#[derive(Debug)]
struct Message(Vec<u8>);

impl IntoResponse for Message {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.0));
        // It is saved, never shown: its HTML is not ours.
        let headers: [(HeaderName, &'static str); 2] =
            [(header::CONTENT_TYPE, MESSAGE), (header::CONTENT_DISPOSITION, "attachment; filename=\"message.eml\"")];
        for (name, value) in headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl Replies for Result<Message> {
    fn describe(endpoint: &mut Endpoint) {
        let schema = text("the message with its headers", "Subject: Hello");
        endpoint.replies.push(Reply { status: 200, media: MESSAGE, schema });
    }
}

async fn raw(caller: Allowed<perm::ContentsRead>, Path(email): Path<String>) -> Result<Message> {
    let content = caller.store().email_content(&key(&caller, &email)).await?;
    let missing = || ApiError::not_found(format!("there is no email {email}, or its message is not kept any more"));
    content.map(Message).ok_or_else(missing)
}

async fn resend(
    caller: Allowed<perm::EmailsControl>,
    Path(job): Path<JobId>,
    Params(change): Params<Change>,
) -> Creation<Rehearsable<EnqueuedOneDocument, WouldResendDocument>> {
    let email = job.to_string();
    if caller.store().email_view(&key(&caller, &email)).await?.is_none() {
        return Err(missing(&email));
    }
    let enqueued = caller.service().resend_email(&caller.order(&change), job).await?;
    Ok(match enqueued {
        None => Made::not_made(Rehearsable::Would(WouldResendDocument { dry_run: true, email })),
        Some(job) => Made::at(Rehearsable::Done(EnqueuedOneDocument { job }), format!("/api/v1/jobs/{}", job.id)),
    })
}

async fn suppressions(
    caller: Allowed<perm::EmailsRead>,
    Params((OfAddress(address), paging)): Params<(OfAddress, Paging)>,
) -> Outcome<Vec<SuppressionView>> {
    if let Some(hash) = asked_of(&caller, address)? {
        return Ok(Answer::new(caller.store().suppressions_of(caller.tenant(), &hash).await?));
    }
    let found = caller.store().suppressions(caller.tenant(), &paging.0).await?;
    let next = paging.next(&found, |entry| format!("{}/{}", entry.address_sha256, entry.stream));
    Ok(Answer::page(found, next))
}

/// Addresses for the list.
#[derive(Debug, Clone, PartialEq)]
struct SuppressBody {
    hashes: Vec<[u8; 32]>,
    stream: String,
    reason: SuppressionReason,
    note: Option<String>,
    keep: Option<Span>,
}

impl Fields for SuppressBody {
    const NAME: &'static str = "SuppressRequest";
    const EXAMPLE: &'static str =
        r#"{"addresses": ["ada@example.org"], "stream": "news", "reason": "manual", "note": "asked by phone"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let addresses: Vec<String> = object.optional("addresses", "The addresses").unwrap_or_default();
        let hashed: Vec<String> = object
            .optional("address_sha256s", "Or addresses by their hashes, as another list gives them")
            .unwrap_or_default();
        let mut hashes = Vec::new();
        for (place, address) in (1..).zip(&addresses) {
            match canonical(address) {
                Some(_) => hashes.push(address_hash(address)),
                None => object.fault("addresses", format!("number {place} is no address")),
            }
        }
        for (place, hash) in (1..).zip(&hashed) {
            match hash.parse() {
                Ok(AddressHash(hash)) => hashes.push(hash),
                Err(wrong) => object.fault("address_sha256s", format!("number {place}: {wrong}")),
            }
        }
        if addresses.is_empty() && hashed.is_empty() {
            object.fault("addresses", format!("is empty: give 1 to {SUPPRESSIONS_MAX} addresses"));
        }
        if hashes.len() > SUPPRESSIONS_MAX {
            object.fault(
                "addresses",
                format!("has more than {SUPPRESSIONS_MAX} addresses; send them in several requests"),
            );
        }
        let stream: String =
            object.optional("stream", "The stream that they are off; all unless said").unwrap_or_default();
        if let Some(wrong) = Some(stream.as_str()).filter(|stream| !stream.is_empty()).and_then(stream_fault) {
            object.fault("stream", wrong);
        }
        let reason =
            object.optional("reason", "Why: `bounce`, `complaint`, `manual` or `unsubscribe`; `manual` unless said");
        let note = object.optional("note", "What is said about it");
        let keep = object.optional("for", "For how long, such as `90d`; for ever unless said");
        Some(Self { hashes, stream, reason: reason.unwrap_or(SuppressionReason::Manual), note, keep })
    }
}

async fn suppress(
    caller: Allowed<perm::EmailsControl>,
    Params(change): Params<Change>,
    JsonBody(body): JsonBody<SuppressBody>,
) -> Outcome<ReportDocument> {
    let entry = |address_hash: &[u8; 32]| Suppression {
        tenant: caller.tenant().to_owned(),
        address_hash: *address_hash,
        stream: body.stream.clone(),
        reason: body.reason,
        note: body.note.clone(),
        keep: body.keep.map(|keep| keep.0),
    };
    let entries: Vec<Suppression> = body.hashes.iter().map(entry).collect();
    let report = caller.service().suppress(&caller.order(&change), &entries).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

/// Which of an address's entries.
struct Stream(String);

impl Parameters for Stream {
    fn read(query: &mut Query) -> Self {
        Self(query.one("stream", "The entry for this stream; the one for all streams unless said").unwrap_or_default())
    }
}

async fn unsuppress(
    caller: Allowed<perm::EmailsControl>,
    Path(address): Path<String>,
    Params((change, stream)): Params<(Change, Stream)>,
) -> Outcome<ReportDocument> {
    let AddressHash(hash) = address.parse().map_err(ApiError::not_found)?;
    let report = caller.service().unsuppress(&caller.order(&change), &hash, &stream.0).await?;
    if report.affected == 0 {
        return Err(ApiError::not_found("the address is not on the list for that stream"));
    }
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}
