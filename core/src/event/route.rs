//! What becomes of an event at a subscription: a decision without a clock and without a store.

use sha2::{Digest, Sha256};
use uuid::Builder;

use super::Event;
use super::subscription::Selection;
use crate::id::JobId;

/// What becomes of an event at a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The subscription does not mean it.
    Skip,
    /// It is delivered.
    Deliver,
    /// It is not delivered, and noted with the reason: it would go on for ever, or cannot be judged.
    Refuse(Refusal, String),
}

crate::words! {
    /// Why an event that a subscription means is not delivered.
    pub enum Refusal {
        /// Too many events have caused one another: it looks like a loop.
        Loop = "loop",
        /// The predicate of the subscription fails at it.
        Predicate = "predicate",
        /// What it would start cannot be made of it.
        Target = "target",
    }
}

/// Decides. `predicate` is asked only when the event is meant by its attributes; without one it is `Ok(true)`.
pub fn route(
    selection: &Selection,
    event: &Event,
    depth_max: u32,
    predicate: impl FnOnce(&Event) -> Result<bool, String>,
) -> Route {
    if !selection.matches(event) {
        return Route::Skip;
    }
    match predicate(event) {
        Ok(false) => Route::Skip,
        Ok(true) if event.depth >= depth_max => {
            let why = format!(
                "{} events have caused one another before it, from `{}` on: deliveries end at {depth_max}",
                event.depth, event.correlation
            );
            Route::Refuse(Refusal::Loop, why)
        }
        Ok(true) => Route::Deliver,
        Err(error) => Route::Refuse(Refusal::Predicate, error),
    }
}

/// The id of the job that an event starts at a subscription, by a key that names both: the same however often that is
/// decided, and sorted by the time of the event.
pub fn delivery_id(event: &Event, key: &str) -> JobId {
    let millis = u64::try_from(event.accepted_at.timestamp_millis()).unwrap_or_default();
    let digest = Sha256::digest(format!("{}\0{key}", event.tenant));
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    JobId(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Instant;
    use crate::event::fixture::event;
    use crate::event::subscription::SubscriptionSpec;

    #[test]
    fn a_delivery_has_one_id_and_sorts_by_the_time_of_its_event() {
        let later = Event { accepted_at: Instant::UNIX_EPOCH + chrono::TimeDelta::seconds(1), ..event("a") };
        let id = |event: &Event, key: &str| delivery_id(event, key);
        assert_eq!(id(&event("a"), "event/s/1"), id(&event("a"), "event/s/1"));
        assert_ne!(id(&event("a"), "event/s/1"), id(&event("a"), "event/t/1"));
        let elsewhere = Event { tenant: "other".to_owned(), ..event("a") };
        assert_ne!(id(&event("a"), "event/s/1"), id(&elsewhere, "event/s/1"));
        assert!(id(&event("a"), "event/s/9") < id(&later, "event/s/1"));
        assert_eq!(id(&later, "x").0.get_version_num(), 7);
    }

    #[test]
    fn every_outcome_has_its_reason() {
        let spec: SubscriptionSpec = serde_json::from_value(json!({ "types": "a.*", "batch": "b" })).expect("a spec");
        let selection = spec.selection().expect("a selection");
        let deep = Event { depth: 16, ..event("a.b") };
        let judged = |event: &Event, answer: Result<bool, String>| route(&selection, event, 16, |_| answer);
        assert_eq!(judged(&event("b"), Err("never asked".to_owned())), Route::Skip);
        assert_eq!(judged(&event("a.b"), Ok(false)), Route::Skip);
        assert_eq!(judged(&event("a.b"), Ok(true)), Route::Deliver);
        assert_eq!(judged(&event("a.b"), Err("no".to_owned())), Route::Refuse(Refusal::Predicate, "no".to_owned()));
        assert!(matches!(judged(&deep, Ok(true)), Route::Refuse(Refusal::Loop, why) if why.contains("16")));
        // What is not meant is no loop.
        assert_eq!(judged(&deep, Ok(false)), Route::Skip);
        assert_eq!(judged(&Event { depth: 15, ..deep }, Ok(true)), Route::Deliver);
    }
}
