//! An email with two recipients, for the tests of its pages and endpoints.

use std::time::Duration;

use gristmill_core::id::{BatchId, DEFAULT_TENANT};
use gristmill_core::job::{ClaimedJob, NewJob};
use gristmill_core::letter::{RecipientRole, RecipientState, TRANSACTIONAL, UnknownPolicy};
use gristmill_core::mailing::message_id;
use gristmill_mail::compose::address_hash;
use gristmill_store::{
    Claim, Completion, EmailKey, EmailSaid, NewEmail, NewMessage, NewMessages, NewRecipient, NewWorker, RecipientMove,
    testing,
};
use serde_json::json;

use super::stock::SCRIPT;
use crate::env::TestEnv;

/// A mailing of two messages: one is taken, of the other it is unknown.
pub(crate) async fn mailing(env: &TestEnv) -> BatchId {
    let batch = testing::sealed(&env.store, 1, 2).await;
    let kinds = ["chunk", "email"].map(str::to_owned).to_vec();
    let new = NewWorker { kinds: kinds.clone(), ..testing::worker(Duration::from_secs(600)) };
    env.store.register_worker(&new).await.expect("registered");
    let claim = |limit| Claim { worker: new.id, queues: Vec::new(), kinds: kinds.clone(), limit };
    let chunk = env.store.claim_next(&claim(10)).await.expect("claimed");
    let chunk = chunk.into_iter().find(|job| job.batch == Some(batch)).expect("its chunk");
    let message = |(item, address): (u64, &str)| {
        let id = message_id(batch, item);
        NewMessage {
            item,
            job: NewJob { batch: Some(batch), ..NewJob::new(id, "email", json!({ "to": address })) },
            message_id: format!("<{id}@example.com>"),
            template: Some("news".to_owned()),
            variant: "news".to_owned(),
            recipient: recipient(RecipientRole::To, address),
        }
    };
    let messages = (0..).zip(["ada@example.org", "eve@example.org"]).map(message).collect();
    let messages = Some(NewMessages { batch, stream: "news".to_owned(), messages });
    let done = Completion { messages, ..testing::chunk_done(&chunk, 2) };
    env.store.complete(&[done]).await.expect("completed");
    for (job, end) in env
        .store
        .claim_next(&claim(2))
        .await
        .expect("claimed")
        .iter()
        .zip([RecipientState::Sent, RecipientState::Unknown])
    {
        let key = EmailKey { tenant: DEFAULT_TENANT.to_owned(), key: job.fence.job.to_string() };
        let new = NewEmail {
            job: job.fence.job,
            batch: None,
            stream: "news".to_owned(),
            message_id: String::new(),
            sender: "mill@example.com".to_owned(),
            subject: "News".to_owned(),
            template: Some("news".to_owned()),
            content: Ok(RAW.to_vec()),
            recipients: Vec::new(),
        };
        env.store
            .email_begin(&key, &job.fence, Some(&new), UnknownPolicy::Hold)
            .await
            .expect("begun")
            .expect("its own");
        for to in [RecipientState::Transmitted, end] {
            env.store.email_move(&key, &job.fence, &[RecipientMove::to(0, to)], None).await.expect("moved");
        }
        let end = if end == RecipientState::Sent { testing::done(job) } else { testing::dead(job) };
        env.store.complete(&[end]).await.expect("completed");
    }
    batch
}

/// What goes over the wire.
pub(crate) const RAW: &[u8] = b"Subject: Hello\r\n\r\nHello, Ada.\r\n";

fn recipient(role: RecipientRole, address: &str) -> NewRecipient {
    NewRecipient { role, address: address.to_owned(), address_hash: address_hash(address) }
}

/// The job of an email, under way.
async fn claimed(env: &TestEnv) -> ClaimedJob {
    let payload = json!({ "to": "ada@example.org", "subject": "Hello", "text": "Hello, Ada." });
    env.store.enqueue(&[NewJob::new(testing::job_id(), "email", payload)]).await.expect("enqueued");
    let kinds = vec!["email".to_owned()];
    let new = NewWorker { kinds: kinds.clone(), ..testing::worker(Duration::from_secs(600)) };
    env.store.register_worker(&new).await.expect("registered");
    let claim = Claim { worker: new.id, queues: Vec::new(), kinds, limit: 1 };
    env.store.claim_next(&claim).await.expect("claimed").remove(0)
}

/// An email that one recipient has got and the other has refused.
pub(crate) async fn email(env: &TestEnv) -> String {
    let job = claimed(env).await;
    let key = EmailKey { tenant: DEFAULT_TENANT.to_owned(), key: job.fence.job.to_string() };
    let new = NewEmail {
        job: job.fence.job,
        batch: None,
        stream: TRANSACTIONAL.to_owned(),
        message_id: "<e1@example.com>".to_owned(),
        sender: "mill@example.com".to_owned(),
        subject: format!("Hello {SCRIPT}"),
        template: None,
        content: Ok(RAW.to_vec()),
        recipients: vec![
            recipient(RecipientRole::To, "ada@example.org"),
            recipient(RecipientRole::Bcc, "bob@example.org"),
        ],
    };
    env.store.email_begin(&key, &job.fence, Some(&new), UnknownPolicy::Hold).await.expect("begun").expect("its own");
    let refused = RecipientMove {
        code: Some(550),
        status: Some("5.1.1".to_owned()),
        note: Some(format!("550 5.1.1 no such user {SCRIPT}")),
        rule: Some("no-such-mailbox".to_owned()),
        suppress: Some(Duration::from_secs(600)),
        ..RecipientMove::to(1, RecipientState::Bounced)
    };
    let transmitted = [RecipientMove::to(0, RecipientState::Transmitted)];
    env.store.email_move(&key, &job.fence, &transmitted, None).await.expect("moved").expect("its own");
    let said = EmailSaid { server: "mx.example:25".to_owned(), transcript: "C: MAIL FROM:<>\nS: 250 ok".to_owned() };
    let sent = [RecipientMove::to(0, RecipientState::Sent), refused];
    env.store.email_move(&key, &job.fence, &sent, Some(&said)).await.expect("moved").expect("its own");
    key.key
}
