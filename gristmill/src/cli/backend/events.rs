//! Events: publish, list, show; schemas; subscriptions and their replays.

use gristmill_client::http::Call;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_core::event::{EVENTS_MAX, EventDraft, TypePattern, shown};
use gristmill_service::Order;
use gristmill_service::control::event::ReplayRequest;
use gristmill_service::documents::{
    DeliveryDocument, EventDocument, EventSchemaDocument, EventTraceDocument, PublishedDocument, ReplayDocument,
    ReportDocument, StartedReplayDocument, SubscriptionDocument,
};
use gristmill_service::events::walk;
use gristmill_store::{ControlReport, EventFilter};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Backend, part};
use crate::exit_code::Result;

/// How many events of a chain are shown.
const CHAIN_MAX: u32 = 100;

/// How many refused events are shown.
const REFUSED_MAX: u32 = 100;

impl Backend<'_> {
    /// Publishes events, in groups.
    pub(crate) async fn publish_events(
        &self,
        order: &Order,
        drafts: Vec<EventDraft>,
    ) -> Result<Vec<PublishedDocument>> {
        let mut published = Vec::with_capacity(drafts.len());
        for group in drafts.chunks(EVENTS_MAX) {
            published.extend(match self {
                Self::Store(local) => local.service.publish_events(order, group.to_vec()).await?,
                Self::Server(server) => {
                    let body: Vec<Value> = group.iter().map(wire).collect();
                    server.change(Call::post(&["events"]).body(&body), order).await?
                }
            });
        }
        Ok(published)
    }

    /// Events that meet a filter.
    pub(crate) async fn events(&self, filter: &EventFilter, types: &[TypePattern]) -> Result<Vec<EventDocument>> {
        let server = match self {
            Self::Store(local) => {
                let filter = EventFilter { tenant: local.tenant().to_owned(), ..filter.clone() };
                let page = walk::list(&**local.store(), &filter, types).await?;
                return Ok(page.events.iter().map(|event| EventDocument::new(event, true)).collect());
            }
            Self::Server(server) => server,
        };
        let mut call = Call::get(&["events"]).param("limit", filter.limit);
        for pattern in types {
            call = call.param("type", pattern);
        }
        let call = call
            .maybe("after", filter.after.or(filter.before))
            .maybe("since", filter.since.map(shown))
            .maybe("until", filter.until.map(shown))
            .maybe("stream", filter.stream.as_ref())
            .maybe("correlation", filter.correlation.as_ref())
            .maybe("newest_first", filter.newest_first.then_some("true"));
        server.look(&call).await
    }

    /// An event, what became of it, and its chain.
    pub(crate) async fn event(&self, id: &str, source: Option<&str>) -> Result<EventTraceDocument> {
        let local = match self {
            Self::Store(local) => local,
            Self::Server(server) => return server.look(&Call::get(&["events", id]).maybe("source", source)).await,
        };
        let event = local.service.event(local.tenant(), id, source).await?;
        let filter = EventFilter {
            tenant: local.tenant().to_owned(),
            correlation: Some(event.correlation.clone()),
            limit: CHAIN_MAX,
            ..EventFilter::default()
        };
        let chain = local.store().list_events(&filter).await?;
        let deliveries = match event.position {
            Some(position) => local.store().event_deliveries(local.tenant(), position).await?,
            None => Vec::new(),
        };
        Ok(EventTraceDocument {
            event: EventDocument::new(&event, true),
            deliveries,
            chain: chain.iter().map(|event| EventDocument::new(event, true)).collect(),
        })
    }

    /// The schemas of types.
    pub(crate) async fn event_schemas(&self, kind: Option<&str>) -> Result<Vec<EventSchemaDocument>> {
        match self {
            Self::Store(local) => Ok(local.store().event_schemas(local.tenant(), kind).await?),
            Self::Server(server) => server.look(&Call::get(&["event-schemas"]).maybe("type", kind)).await,
        }
    }

    /// Adds a version of a schema.
    pub(crate) async fn add_event_schema(
        &self,
        order: &Order,
        kind: &str,
        version: Option<u32>,
        schema: &Value,
        compatible: bool,
    ) -> Result<ControlReport> {
        match self {
            Self::Store(local) => {
                Ok(local.service.add_event_schema(order, kind, version, schema.clone(), compatible).await?)
            }
            Self::Server(server) => {
                let body = json!({ "type": kind, "version": version, "schema": schema, "incompatible": !compatible });
                let call = Call::post(&["event-schemas"]).body(&body);
                Ok(server.change::<ReportDocument>(call, order).await?.into())
            }
        }
    }

    /// Subscriptions with their lag.
    pub(crate) async fn subscriptions(&self) -> Result<Vec<SubscriptionDocument>> {
        match self {
            Self::Store(local) => Ok(local.store().subscriptions(Some(local.tenant())).await?),
            Self::Server(server) => server.look(&Call::get(&["subscriptions"])).await,
        }
    }

    /// A subscription.
    pub(crate) async fn subscription(&self, name: &str) -> Result<SubscriptionDocument> {
        match self {
            Self::Store(local) => Ok(local.service.subscription(local.tenant(), name).await?),
            Self::Server(server) => server.look(&Call::get(&["subscriptions", name])).await,
        }
    }

    /// What was not delivered to a subscription.
    pub(crate) async fn refused_events(&self, name: &str) -> Result<Vec<DeliveryDocument>> {
        match self {
            Self::Store(local) => Ok(local.store().refused_events(local.tenant(), name, REFUSED_MAX).await?),
            Self::Server(server) => server.look(&Call::get(&["subscriptions", name, "refused"])).await,
        }
    }

    /// Creates or changes a subscription.
    pub(crate) async fn save_subscription(
        &self,
        order: &Order,
        name: &str,
        spec: SubscriptionSpec,
    ) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.save_subscription(order, name, spec).await?),
            Self::Server(server) => {
                let call = Call::put(&["subscriptions", name]).body(&json!({ "spec": spec }));
                Ok(server.change::<ReportDocument>(call, order).await?.into())
            }
        }
    }

    /// Removes a subscription.
    pub(crate) async fn remove_subscription(&self, order: &Order, name: &str) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.remove_subscription(order, name).await?),
            Self::Server(server) => {
                Ok(server.change::<ReportDocument>(Call::delete(&["subscriptions", name]), order).await?.into())
            }
        }
    }

    /// Pauses a subscription, or resumes it.
    pub(crate) async fn pause_subscription(&self, order: &Order, name: &str, pause: bool) -> Result<ControlReport> {
        match (self, pause) {
            (Self::Store(local), true) => Ok(local.service.pause_subscription(order, name).await?),
            (Self::Store(local), false) => Ok(local.service.resume_subscription(order, name).await?),
            (Self::Server(server), pause) => {
                let verb = if pause { "pause" } else { "resume" };
                let call = Call::post(&["subscriptions", name, verb]);
                Ok(server.change::<ReportDocument>(call, order).await?.into())
            }
        }
    }

    /// Replays, the newest first.
    pub(crate) async fn replays(&self) -> Result<Vec<ReplayDocument>> {
        match self {
            Self::Store(local) => Ok(local.store().replays(local.tenant()).await?),
            Self::Server(server) => server.look(&Call::get(&["replays"])).await,
        }
    }

    /// Gives events to a subscription once more.
    pub(crate) async fn start_replay(&self, order: &Order, request: &ReplayRequest) -> Result<StartedReplayDocument> {
        let server = match self {
            Self::Store(local) => {
                return Ok(StartedReplayDocument::new(&local.service.start_replay(order, request).await?));
            }
            Self::Server(server) => server,
        };
        let ReplayRequest { subscription, types, after, until, since, rate } = request;
        let types: Vec<String> = types.iter().map(ToString::to_string).collect();
        let body = json!({ "types": types, "after": after, "until": until, "since": since.map(shown), "rate": rate });
        server.change(Call::post(&["subscriptions", subscription, "replay"]).body(&body), order).await
    }

    /// Ends a replay before its time.
    pub(crate) async fn cancel_replay(&self, order: &Order, replay: Uuid) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.cancel_replay(order, replay).await?),
            Self::Server(server) => {
                let call = Call::post(&["replays", &part(replay), "cancel"]);
                Ok(server.change::<ReportDocument>(call, order).await?.into())
            }
        }
    }
}

/// An event as a server reads it.
fn wire(draft: &EventDraft) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": draft.id, "source": draft.source, "type": draft.kind, "subject": draft.subject,
        "stream": draft.stream, "time": draft.time.map(shown), "dataversion": draft.version,
        "traceparent": draft.trace, "data": draft.data,
    });
    if let Some(fields) = event.as_object_mut() {
        fields.extend(draft.extensions.clone());
    }
    event
}
