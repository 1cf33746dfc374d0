//! Batches whose items become messages.

use gristmill_core::batch::BatchState;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::mailing::message_id;
use gristmill_core::settle::Ending;
use gristmill_jobs::JobContext;
use gristmill_jobs::process::Processors;
use serde_json::json;

use crate::batch_env::BatchEnv;

const PEOPLE: &str = "email,name\nada@example.org,Ada\nnobody,Nobody\nbob@example.org,Bob\n";

#[tokio::test]
async fn each_good_row_becomes_a_message_and_the_batch_waits_for_them() {
    let env = BatchEnv::new(Processors::default()).await;
    let source = env.file("people.csv", PEOPLE);
    let definition = json!({
        "source": { "csv": source },
        "tolerate": "50%",
        "mail": { "to": "email", "subject": "Hello {{ name }}", "text": "It works.", "settle_within": "1h" },
        "aggregate": { "people": "count" },
    });
    let run = env.start(definition, 10).await;
    let context = env.next(&run).await;
    let (job, finish) = (context.job.clone(), env.attempt(context).await);
    let new = finish.messages.clone().expect("messages");
    let made: Vec<(u64, &str)> = new.messages.iter().map(|one| (one.item, one.recipient.address.as_str())).collect();
    assert_eq!(made, [(0, "ada@example.org"), (2, "bob@example.org")]);
    assert_eq!(new.messages[1].job.id, message_id(run.batch, 2));
    env.complete(&job, finish).await;
    let aside = env.quarantine(&run).await;
    assert_eq!((aside.len(), aside[0].stage.as_str(), aside[0].position), (1, "mail", 1));
    assert!(!aside[0].reason.contains("nobody"), "a reason names the field, and no address: {}", aside[0].reason);
    // Its messages have no handler here: only the aggregate is claimed.
    let aggregate = env.claim(10).await.into_iter().find(|job| job.kind == "aggregate").expect("it has fired");
    let waits = env.attempt(JobContext::new(aggregate.clone(), env.store().clone())).await;
    assert!(matches!(waits.ending, Ending::Snoozed { .. }), "{waits:?}");
    assert_eq!(
        waits.error.as_deref(),
        Some("waits for its messages: 2 queued, 0 being sent, 0 put off (those for 1h at most)")
    );
    for job in env.effects(&run).await {
        env.store().cancel_job(DEFAULT_TENANT, job.id, "not today", false).await.expect("cancelled");
    }
    env.store().email_account(None, 10).await.expect("accounted");
    let ends = env.attempt(JobContext::new(aggregate.clone(), env.store().clone())).await;
    env.complete(&aggregate, ends).await;
    let batch = env.batch(&run).await;
    assert_eq!(batch.state, BatchState::Complete);
    let result = batch.result.expect("a result");
    assert_eq!(
        (&result["people"], &result["mail"]["made"], &result["mail"]["cancelled"]),
        (&json!(2), &json!(2), &json!(2))
    );
}
