//! Events: publish, list, show; schemas of their types.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use gristmill_core::access::Permission;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_core::event::wire::{self, BATCH_MEDIA_TYPE, MEDIA_TYPE};
use gristmill_core::event::{EVENTS_MAX, EventDraft, EventFaults, TypePattern};
use gristmill_core::schema::free;
use gristmill_service::documents::{
    EventDocument, EventSchemaDocument, EventTraceDocument, PublishedDocument, ReportDocument,
};
use gristmill_service::events::walk;
use gristmill_store::EventFilter;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::gate::body::{check_media, value};
use crate::gate::describe::{Argument, BodyShape, Endpoint, JSON};
use crate::gate::{
    Allowed, Answer, Api, ApiError, Caller, Change, Fault, Fields, JsonBody, Moment, Object, Outcome, Parameters,
    Params, Path, Query, Result, Routes, limits, perm,
};

/// The longest body with events: a batch of them.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many events of a chain are shown.
const CHAIN_MAX: u32 = 100;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/events", "Events in their order, or the newest first", list)
        .post("/api/v1/events", "Publish an event, or a batch of them: CloudEvents 1.0", publish)
        .get("/api/v1/events/{event}", "An event, what became of it, and the chain that it belongs to", show)
        .get("/api/v1/event-schemas", "The schemas of types of events", schemas)
        .post("/api/v1/event-schemas", "Add a version of the schema of a type", add_schema)
}

/// Which events.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// Patterns of types.
    pub(crate) types: Vec<TypePattern>,
    /// The rest.
    pub(crate) filter: EventFilter,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        let texts: Vec<String> = query.many("type", "Of these types: patterns such as `order.paid`, `batch.*` or `**`");
        let mut types = Vec::new();
        for text in texts {
            match text.parse() {
                Ok(pattern) => types.push(pattern),
                Err(error) => query.fault("type", format!("{error}")),
            }
        }
        let limit = query.one::<u32>("limit", "How many, 1 to 1000; 50 unless said");
        if limit.is_some_and(|limit| !(1..=1_000).contains(&limit)) {
            query.fault("limit", "must be 1 to 1000");
        }
        let newest_first = query.flag("newest_first", "The newest first, instead of in their order");
        let cursor = query.one("after", "Begin after this position: `nextCursor` of the page before");
        let moment = |moment: Option<Moment>| moment.map(|moment| moment.0);
        let filter = EventFilter {
            after: cursor.filter(|_| !newest_first),
            before: cursor.filter(|_| newest_first),
            since: moment(query.one("since", "Accepted since then")),
            until: moment(query.one("until", "Accepted before then")),
            stream: query.one("stream", "In this stream"),
            correlation: query.one("correlation", "Of the chain that began with this event"),
            newest_first,
            limit: limit.unwrap_or(50),
            ..EventFilter::default()
        };
        Self { types, filter }
    }
}

async fn list(caller: Allowed<perm::EventsRead>, Params(wanted): Params<Wanted>) -> Outcome<Vec<EventDocument>> {
    let filter = EventFilter { tenant: caller.tenant().to_owned(), ..wanted.filter };
    let page = walk::list(&**caller.store(), &filter, &wanted.types).await?;
    let contents = caller.may(Permission::ContentsRead);
    let shown = page.events.iter().map(|event| EventDocument::new(event, contents)).collect();
    Ok(Answer::page(shown, page.next.map(|position| position.to_string())))
}

/// Which of several events with the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OfSource(Option<String>);

impl Parameters for OfSource {
    fn read(query: &mut Query) -> Self {
        Self(query.one("source", "Its source, where several have used the id"))
    }
}

async fn show(
    caller: Allowed<perm::EventsRead>,
    Path(id): Path<String>,
    Params(OfSource(source)): Params<OfSource>,
) -> Outcome<EventTraceDocument> {
    let event = caller.service().event(caller.tenant(), &id, source.as_deref()).await?;
    let contents = caller.may(Permission::ContentsRead);
    let filter = EventFilter {
        tenant: caller.tenant().to_owned(),
        correlation: Some(event.correlation.clone()),
        limit: CHAIN_MAX,
        ..EventFilter::default()
    };
    let chain = caller.store().list_events(&filter).await?;
    let deliveries = match event.position {
        Some(position) => caller.store().event_deliveries(caller.tenant(), position).await?,
        None => Vec::new(),
    };
    Ok(Answer::new(EventTraceDocument {
        event: EventDocument::new(&event, contents),
        deliveries,
        chain: chain.iter().map(|event| EventDocument::new(event, contents)).collect(),
    }))
}

/// Events as they came: in the structured form, as a batch, or in the binary form, where the attributes are headers.
#[derive(Debug)]
struct Drafts(Vec<EventDraft>);

impl FromRequest<Api> for Drafts {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self> {
        let headers = request.headers().clone();
        let bytes = limits::whole(request.into_body(), BODY_BYTES_MAX, api.stall()).await?;
        if headers.contains_key("ce-type") || headers.contains_key("ce-specversion") {
            return Ok(Self(vec![binary(&headers, &bytes)?]));
        }
        let media = check_media(&headers, &[MEDIA_TYPE, BATCH_MEDIA_TYPE, JSON])?;
        let body = value(&bytes)?;
        let events = match body {
            Value::Array(events) if media != MEDIA_TYPE => events,
            other if media == BATCH_MEDIA_TYPE => {
                let kind = gristmill_core::json::kind_of(&other);
                return Err(ApiError::fault("", format!("is {kind}; a batch of events is an array")));
            }
            one => vec![one],
        };
        drafts(events).map(Self)
    }
}

impl Argument for Drafts {
    fn describe(endpoint: &mut Endpoint) {
        for media in [JSON, MEDIA_TYPE, BATCH_MEDIA_TYPE] {
            let schema = free(
                "an event in the form of CloudEvents 1.0, `type` at least, or an array of them; or its data alone, with \
                 its attributes in headers `ce-id`, `ce-source`, `ce-type` and so on",
            );
            endpoint.bodies.push(BodyShape { media, schema, optional: false });
        }
    }
}

/// What is left out comes from the server.
fn defaults() -> EventDraft {
    EventDraft::new(Uuid::now_v7().to_string(), "api", "")
}

fn drafts(events: Vec<Value>) -> Result<Vec<EventDraft>> {
    if events.is_empty() || events.len() > EVENTS_MAX {
        let found = events.len();
        return Err(ApiError::fault("", format!("has {found} events; 1 to {EVENTS_MAX} are published together")));
    }
    let (mut read, mut faults) = (Vec::new(), Vec::new());
    for (index, event) in events.into_iter().enumerate() {
        match wire::read(event, &defaults()) {
            Ok(draft) => read.push(draft),
            Err(EventFaults(found)) => {
                faults.extend(found.into_iter().map(|fault| Fault::new(format!("/{index}"), fault)));
            }
        }
    }
    if faults.is_empty() { Ok(read) } else { Err(ApiError::invalid(faults)) }
}

/// The binary form: the body is the data, and its type that of the data.
fn binary(headers: &HeaderMap, bytes: &[u8]) -> Result<EventDraft> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or(JSON);
    let mut fields = Map::new();
    for (name, text) in headers {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let text = text.to_str().map_err(|_| ApiError::fault(name.as_str(), "is no text"))?;
        fields.insert(attribute.to_owned(), json!(decoded(text)));
    }
    fields.insert("datacontenttype".to_owned(), json!(said));
    if !bytes.is_empty() && wire::is_json(said) {
        fields.insert("data".to_owned(), value(bytes)?);
    }
    drafts(vec![Value::Object(fields)]).map(|mut drafts| drafts.remove(0))
}

/// A value of a header, in which what is no printable ASCII is percent-encoded.
fn decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn publish(
    caller: Allowed<perm::EventsPublish>,
    Params(change): Params<Change>,
    Drafts(drafts): Drafts,
) -> Outcome<Vec<PublishedDocument>> {
    Ok(Answer::new(caller.service().publish_events(&caller.order(&change), drafts).await?))
}

/// Of which type.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OfType(Option<String>);

impl Parameters for OfType {
    fn read(query: &mut Query) -> Self {
        Self(query.one("type", "Of this type"))
    }
}

async fn schemas(
    caller: Allowed<perm::EventsRead>,
    Params(OfType(kind)): Params<OfType>,
) -> Outcome<Vec<EventSchemaDocument>> {
    Ok(Answer::new(caller.store().event_schemas(caller.tenant(), kind.as_deref()).await?))
}

/// A version of the schema of a type.
#[derive(Debug, Clone, PartialEq)]
struct SchemaBody {
    kind: String,
    version: Option<u32>,
    schema: Value,
    compatible: bool,
}

impl Fields for SchemaBody {
    const NAME: &'static str = "EventSchemaRequest";
    const EXAMPLE: &'static str = r#"{"type": "order.paid", "schema": {"type": "object", "required": ["total"]}}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let kind = object.required("type", "Of this type");
        let version = object.optional("version", "Its version; the next one unless said");
        let schema = object.any("schema", "A JSON Schema");
        let incompatible: Option<bool> =
            object.optional("incompatible", "Add it although it does not take all that the version before takes");
        Some(Self { kind: kind?, version, schema, compatible: !incompatible.unwrap_or(false) })
    }
}

async fn add_schema(
    caller: Allowed<perm::EventsChange>,
    Params(change): Params<Change>,
    JsonBody(body): JsonBody<SchemaBody>,
) -> Outcome<ReportDocument> {
    let SchemaBody { kind, version, schema, compatible } = body;
    let order = caller.order(&change);
    let report = caller.service().add_event_schema(&order, &kind, version, schema, compatible).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

/// A subscription that is created starts jobs or batches: its author must be allowed to.
pub(crate) fn may_start(caller: &Caller, spec: &SubscriptionSpec) -> Result<()> {
    let needed = if spec.batch.is_some() { Permission::BatchesStart } else { Permission::JobsEnqueue };
    if caller.may(needed) {
        return Ok(());
    }
    let message = format!("the caller may not start what the subscription starts: `{needed}` is needed as well");
    Err(ApiError::new(crate::gate::ErrorCode::Forbidden, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_header_is_decoded_where_it_is_encoded() {
        assert_eq!(decoded("Euro%20%E2%82%AC%20%F0%9F%98%80"), "Euro \u{20ac} \u{1f600}");
        assert_eq!(decoded("100% %zz %4"), "100% %zz %4");
    }

    #[test]
    fn the_binary_form_has_its_attributes_in_headers() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pair = |(name, text): &(&'static str, &'static str)| {
                (name.parse().expect("a name"), text.parse().expect("a value"))
            };
            HeaderMap::from_iter(pairs.iter().map(pair))
        };
        let said = headers(&[
            ("ce-id", "1"),
            ("ce-source", "shop"),
            ("ce-type", "order.paid"),
            ("ce-specversion", "1.0"),
            ("ce-region", "eu"),
            ("content-type", "application/json"),
        ]);
        let draft = binary(&said, b"{\"total\": 3}").expect("an event");
        assert_eq!(
            (draft.id.as_str(), &draft.data, &draft.extensions["region"]),
            ("1", &json!({ "total": 3 }), &json!("eu"))
        );
        let xml = headers(&[("ce-type", "a"), ("content-type", "text/xml")]);
        assert!(binary(&xml, b"<a/>").is_err());
    }
}
