//! What is sent when a batch has ended: one job for each recipient.

use gristmill_core::batch::BatchState;
use gristmill_core::definition::{BatchDefinition, Effect, WebhookEffect};
use gristmill_core::id::JobId;
use gristmill_core::job::{NewJob, PAYLOAD_BYTES_MAX};
use gristmill_store::BatchView;
use serde_json::{Value, json};
use uuid::Uuid;

use super::payload::{EMAIL, EmailPayload, WEBHOOK, WebhookPayload};

/// The most bytes of a result that travels inside a payload: half of what a payload may have, so
/// that there is room for the rest.
const RESULT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX / 2;

/// A batch as it ends.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    /// With its final state, reason and time.
    pub(super) view: BatchView,
    /// The merged result.
    pub(super) result: Value,
}

/// The jobs for everything that is sent now, in the order of the definition.
pub(super) fn effects(definition: &BatchDefinition, settled: &Settled, trace: Option<&String>) -> Vec<NewJob> {
    let on = &definition.on;
    let own = match settled.view.state {
        BatchState::Halted => ("halted", &on.halted),
        _ => ("success", &on.success),
    };
    let data = settled.data();
    let mut jobs = Vec::new();
    for (callback, list) in [own, ("settled", &on.settled)] {
        for (number, effect) in list.iter().enumerate() {
            for (kind, recipient, payload) in messages(effect, settled, &data) {
                let view = &settled.view;
                let key = format!("effect:{}:{}:{callback}:{number}:{recipient}", view.id, view.generation);
                let id = JobId(Uuid::now_v7());
                jobs.push(NewJob {
                    tenant: view.tenant.clone(),
                    // Whoever serves the batch's queue is there; whoever else is, we do not know.
                    queue: definition.queue.clone(),
                    idempotency_key: Some(key),
                    trace: trace.cloned(),
                    batch: Some(view.id),
                    ..NewJob::new(id, kind, payload)
                });
            }
        }
    }
    jobs
}

/// Kind, recipient and payload of each message of an effect.
fn messages(effect: &Effect, settled: &Settled, data: &Value) -> Vec<(&'static str, String, Value)> {
    let mut messages = Vec::new();
    for to in effect.email.iter().flat_map(|email| email.to.as_slice().iter().map(move |to| (email, to))) {
        let (email, to) = to;
        let payload = EmailPayload {
            to: to.clone(),
            template: Some(email.template.clone()),
            data: data.clone(),
            ..EmailPayload::default()
        };
        messages.push((EMAIL, to.clone(), json!(payload)));
    }
    if let Some(webhook) = &effect.webhook {
        let secret_env = match webhook {
            WebhookEffect::Url(_) => None,
            WebhookEffect::Full { secret_env, .. } => secret_env.clone(),
        };
        let payload = WebhookPayload {
            url: webhook.url().to_owned(),
            event: format!("batch.{}", settled.view.state),
            data: data.clone(),
            secret_env,
        };
        messages.push((WEBHOOK, webhook.url().to_owned(), json!(payload)));
    }
    messages
}

impl Settled {
    /// What templates and receivers are given: `{"batch": {…}, "result": {…}}`. A result over 512 KiB
    /// is left out and `result_bytes` says how large it is; it can be asked for by the batch's id.
    fn data(&self) -> Value {
        let view = &self.view;
        let mut counts = json!(view.counts);
        counts["pending"] = json!(view.counts.pending());
        let batch = json!({
            "id": view.id,
            "name": view.name,
            "state": view.state,
            "generation": view.generation,
            "counts": counts,
            "chunks": view.chunks,
            "chunks_dead": view.chunks_dead,
            "retries": view.retries,
            "tolerate": view.tolerate,
            "reason": view.reason,
            "created_at": view.created_at,
            "finished_at": view.finished_at,
        });
        let bytes = self.result.to_string().len();
        if bytes > RESULT_BYTES_MAX {
            return json!({ "batch": batch, "result": null, "result_bytes": bytes });
        }
        json!({ "batch": batch, "result": self.result })
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::batch::Counts;
    use gristmill_core::id::BatchId;

    use super::*;

    fn settled(state: BatchState, result: Value) -> Settled {
        let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).expect("an instant");
        let view = BatchView {
            id: BatchId(Uuid::from_u128(7)),
            tenant: "main".to_owned(),
            name: "retail".to_owned(),
            state,
            paused: false,
            generation: 2,
            counts: Counts { input: 10, ok: 8, quarantined: 1, ..Counts::default() },
            chunks: 1,
            remaining: 0,
            chunks_dead: 0,
            retries: 0,
            tolerate: "10%".to_owned(),
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
                "settled": [{ "email": { "to": ["a@example.com", "b@example.com"] } }],
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
            ]
        );
        assert!(jobs.iter().all(|job| job.queue == "night" && job.batch == Some(batch)));
        assert_eq!(jobs[0].payload["type"], "batch.complete");
        assert_eq!(jobs[1].payload["template"], "batch-report");
        assert_eq!(jobs[1].payload["data"]["batch"]["counts"]["pending"], 1);
        assert_eq!(jobs[1].payload["data"]["result"]["rows"], 8);
    }

    #[test]
    fn a_halted_batch_tells_others() {
        let jobs = effects(&definition(), &settled(BatchState::Halted, json!({})), None);
        assert_eq!(jobs.len(), 3);
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
