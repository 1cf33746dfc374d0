//! What is sent when a batch has ended: one job for each recipient.

use gristmill_core::batch::BatchState;
use gristmill_core::callback::{self, Event, Teller};
use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::JobId;
use gristmill_core::job::{NewJob, PAYLOAD_BYTES_MAX};
use gristmill_store::{BatchView, CallbackDocument, News};
use serde_json::{Value, json};
use uuid::Uuid;

/// The most bytes of a result that travel inside a payload: half of a payload's limit, so that there is room for the
/// rest.
const RESULT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX / 2;

/// A batch as it ends.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    /// The batch with its final state, reason and time.
    pub(super) view: BatchView,
    /// The merged result.
    pub(super) result: Value,
}

/// Returns the jobs for everything that is sent now, in the order of the definition.
pub(super) fn effects(definition: &BatchDefinition, settled: &Settled, trace: Option<&String>) -> Vec<NewJob> {
    let view = &settled.view;
    let own = if view.state == BatchState::Halted { Event::Halted } else { Event::Success };
    let teller = Teller {
        batch: view.id,
        tenant: &view.tenant,
        generation: view.generation,
        state: view.state,
        definition,
        trace: trace.map(String::as_str),
    };
    let data = settled.data();
    let follow_ups = |event| callback::jobs(&teller, event, &data, || JobId(Uuid::now_v7()));
    [own, Event::Settled].into_iter().flat_map(follow_ups).collect()
}

impl Settled {
    /// The data for templates and receivers: `{"batch": {…}, "result": {…}}`. A result over 512 KiB is left out and
    /// `result_bytes` gives its size; it can be queried by the batch's id.
    fn data(&self) -> Value {
        let bytes = self.result.to_string().len();
        let (result, result_bytes) = match bytes > RESULT_BYTES_MAX {
            true => (Value::Null, Some(bytes)),
            false => (self.result.clone(), None),
        };
        json!(CallbackDocument { batch: (&self.view).into(), news: News::Ended { result, result_bytes } })
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::batch::Counts;
    use gristmill_core::id::BatchId;

    use super::*;
    use crate::kind::payload::{EmailPayload, NotifyPayload, WebhookPayload};
    use crate::notify::{Notice, Severity};

    fn settled(state: BatchState, result: Value) -> Settled {
        let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).expect("an instant");
        let view = BatchView {
            id: BatchId(Uuid::from_u128(7)),
            tenant: "main".to_owned(),
            name: "retail".to_owned(),
            state,
            paused: false,
            pause: None,
            generation: 2,
            counts: Counts { input: 10, ok: 8, quarantined: 1, ..Counts::default() },
            chunks: 1,
            remaining: 0,
            chunks_dead: 0,
            retries: 0,
            failure_budget: "10%".to_owned(),
            result: None,
            reason: None,
            created_at: at,
            finished_at: Some(at),
        };
        Settled { view, result }
    }

    fn definition() -> BatchDefinition {
        serde_json::from_value(json!({
            "source": { "csv": "a.csv" },
            "queue": "night",
            "on": {
                "success": [{ "webhook": "https://example.com/good" }],
                "halted": [{ "webhook": { "url": "https://example.com/bad", "secret_env": "BAD" } }],
                "settled": [{ "email": { "to": ["a@example.com", "b@example.com"] } }, { "notify": "ops" }],
            },
        }))
        .expect("a definition")
    }

    #[test]
    fn each_recipient_has_a_job_with_a_key_of_its_own() {
        let jobs = effects(&definition(), &settled(BatchState::Complete, json!({ "rows": 8 })), None);
        let keys: Vec<_> = jobs.iter().filter_map(|job| job.idempotency_key.clone()).collect();
        let batch = BatchId(Uuid::from_u128(7));
        assert_eq!(
            keys,
            [
                format!("effect:{batch}:2:success:0:https://example.com/good"),
                format!("effect:{batch}:2:settled:0:a@example.com"),
                format!("effect:{batch}:2:settled:0:b@example.com"),
                format!("effect:{batch}:2:settled:1:notify/ops"),
            ]
        );
        assert!(jobs.iter().all(|job| job.queue == "night" && job.batch == Some(batch)));
        assert_eq!(jobs[0].payload["type"], "batch.complete");
        assert_eq!(jobs[1].payload["template"], "batch-report");
        assert_eq!(jobs[1].payload["data"]["batch"]["counts"]["pending"], 1);
        assert_eq!(jobs[1].payload["data"]["result"]["rows"], 8);
    }

    #[test]
    fn every_message_is_one_that_its_kind_can_read() {
        let jobs = effects(&definition(), &settled(BatchState::Halted, json!({ "rows": 8 })), None);
        for job in jobs {
            match job.kind.as_str() {
                "email" => drop(serde_json::from_value::<EmailPayload>(job.payload).expect("an email")),
                "webhook" => drop(serde_json::from_value::<WebhookPayload>(job.payload).expect("a webhook")),
                "notify" => {
                    let payload = serde_json::from_value::<NotifyPayload>(job.payload).expect("a notification");
                    let notice = Notice::of(&payload, gristmill_core::Instant::UNIX_EPOCH, "").expect("a notice");
                    assert_eq!((notice.severity, notice.title.as_str()), (Severity::Critical, "retail has halted"));
                }
                other => panic!("a kind of its own: {other}"),
            }
        }
    }

    #[test]
    fn a_halted_batch_tells_others() {
        let jobs = effects(&definition(), &settled(BatchState::Halted, json!({})), None);
        assert_eq!(jobs.len(), 4);
        assert_eq!(jobs[0].payload["type"], "batch.halted");
        assert_eq!(jobs[0].payload["secret_env"], "BAD");
    }

    #[test]
    fn a_result_too_large_to_travel_is_left_out_and_said_so() {
        let large = settled(BatchState::Complete, json!({ "x": "y".repeat(RESULT_BYTES_MAX) }));
        let jobs = effects(&definition(), &large, None);
        assert!(jobs[0].payload.to_string().len() < PAYLOAD_BYTES_MAX);
        assert_eq!(jobs[0].payload["data"]["result"], Value::Null);
        assert!(jobs[0].payload["data"]["result_bytes"].as_u64() > Some(RESULT_BYTES_MAX as u64));
    }
}
