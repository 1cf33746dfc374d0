//! Mailings: messages of a chunk's items, counted as their recipients move.

use std::time::Duration;

use gristmill_core::chunk::{ChunkResult, SetAside};
use gristmill_core::id::BatchId;
use gristmill_core::job::{ClaimedJob, JobState, NewJob};
use gristmill_core::letter::{RecipientRole, RecipientState, SuppressionReason, UnknownPolicy};
use gristmill_core::mailing::{Funnel, MailSpec, message_id};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{
    Completion, EmailFilter, EmailKey, EmailReport, EmailState, NewEmail, NewMessage, NewMessages, NewRecipient, Page,
    RecipientMove, Reported, StatsBy, StatsFilter, StoreError, Suppression,
};
use serde_json::json;

use super::callbacks::new_email;
use crate::{TENANT, assert_reconciled, batch, claim, complete, enter, filter, job, state};

conformance! {
    the_messages_of_a_chunk_come_with_its_completion_and_only_once,
    a_message_of_another_batch_is_refused_with_its_chunk,
    to_those_on_the_list_nothing_is_enqueued,
    the_funnel_moves_with_the_recipients,
    a_message_that_cannot_be_made_is_counted_as_dropped,
    a_mailing_over_its_budget_for_bounces_pauses_until_it_is_resumed,
    what_is_unknown_goes_out_once_more_when_an_operator_says_so,
    a_cancelled_mailing_accounts_for_every_recipient,
    recipients_are_counted_by_template_stream_domain_and_age,
    the_newest_mailings_are_shown_first,
}

/// A message of an item, made from a template.
fn message(batch: BatchId, item: u64, template: &str) -> NewMessage {
    let id = message_id(batch, item);
    NewMessage {
        item,
        job: NewJob { batch: Some(batch), queue: "mail".to_owned(), ..NewJob::new(id, "email", json!({ "to": "x" })) },
        message_id: format!("<{id}@gristmill>"),
        template: Some(template.to_owned()),
        variant: template.to_owned(),
        recipient: NewRecipient {
            role: RecipientRole::To,
            address: format!("p{item}@Host{}.example", item % 2),
            address_hash: [u8::try_from(item).expect("a small one"); 32],
        },
    }
}

fn messages(batch: BatchId, items: std::ops::Range<u64>) -> NewMessages {
    let template = |item: u64| if item.is_multiple_of(2) { "even" } else { "odd" };
    NewMessages {
        batch,
        stream: "news".to_owned(),
        messages: items.map(|item| message(batch, item, template(item))).collect(),
    }
}

/// A chunk of a mailing that is done: all of its items have become messages.
fn mailed(chunk: &ClaimedJob, new: NewMessages) -> Completion {
    Completion { messages: Some(new.clone()), ..testing::chunk_done(chunk, new.messages.len() as u64) }
}

/// A sealed batch whose chunks, of four items each, have become messages; and its aggregate, under way.
async fn sent_off(store: &TestStore, chunks: i64) -> (BatchId, ClaimedJob) {
    let batch = testing::sealed(store, chunks, 4).await;
    let worker = enter(store).await;
    let kinds = vec!["chunk".to_owned()];
    let chunks_only = gristmill_store::Claim { kinds, ..testing::claim_as(worker, 100) };
    for chunk in store.claim_next(&chunks_only).await.expect("claimed") {
        let first = u64::try_from(chunk.seq.expect("a chunk")).expect("counted from 0") * 4;
        complete(store, &[mailed(&chunk, messages(batch, first..first + 4))]).await;
    }
    let kinds = vec!["aggregate".to_owned()];
    let only = gristmill_store::Claim { kinds, ..testing::claim_as(worker, 1) };
    let aggregate = store.claim_next(&only).await.expect("claimed").remove(0);
    (batch, aggregate)
}

async fn funnel(store: &TestStore, batch: BatchId) -> Funnel {
    let mut all = Funnel::default();
    for one in store.mailing(TENANT, batch).await.expect("asked") {
        all.merge(&one.funnel);
    }
    all
}

async fn emails(store: &TestStore, limit: u32) -> Vec<ClaimedJob> {
    let worker = enter(store).await;
    let kinds = vec!["email".to_owned()];
    let only = gristmill_store::Claim { kinds, ..testing::claim_as(worker, limit) };
    store.claim_next(&only).await.expect("claimed")
}

fn key(job: &ClaimedJob) -> EmailKey {
    EmailKey { tenant: TENANT.to_owned(), key: job.fence.job.to_string() }
}

/// Begins the message, and takes its recipient so far.
async fn go(store: &TestStore, job: &ClaimedJob, states: &[RecipientState], policy: UnknownPolicy) {
    // The message of an even item.
    let (stream, template) = ("news".to_owned(), Some("even".to_owned()));
    let new = NewEmail { stream, template, ..new_email(job.fence.job, &["somebody@else.example"]) };
    store.email_begin(&key(job), &job.fence, Some(&new), policy).await.expect("begun").expect("its own");
    for to in states {
        let moved = store.email_move(&key(job), &job.fence, &[RecipientMove::to(0, *to)], None).await;
        assert_eq!(moved.expect("asked"), Some(vec![0]), "{to}");
    }
}

async fn the_messages_of_a_chunk_come_with_its_completion_and_only_once(store: TestStore) {
    let batch = testing::sealed(&store, 2, 4).await;
    let worker = enter(&store).await;
    let chunks = claim(&store, worker, 2).await;
    let aside = SetAside {
        position: 3,
        line: None,
        stage: "mail".to_owned(),
        reason: "no address".to_owned(),
        item: json!({}),
    };
    let result = ChunkResult { ok: 3, quarantined: 1, set_aside: vec![aside], ..ChunkResult::default() };
    let done = Completion { messages: Some(messages(batch, 0..3)), chunk: Some(result), ..testing::done(&chunks[0]) };
    assert_eq!(funnel(&store, batch).await, Funnel::default());
    let report = complete(&store, std::slice::from_ref(&done)).await;
    assert_eq!(report.dispatched.dispatches.iter().map(|one| one.jobs.len()).sum::<usize>(), 3, "they are published");
    let queued = Funnel { made: 3, queued: 3, ..Funnel::default() };
    assert_eq!(funnel(&store, batch).await, queued);
    // The same completion again, as after an answer that was lost; and a worker that has lost the chunk meanwhile.
    assert_eq!(store.complete(&[done]).await.expect("answered").settled, 0);
    store.retire_worker(worker).await.expect("retired");
    let late = mailed(&chunks[1], messages(batch, 4..8));
    assert_eq!(store.complete(&[late]).await.expect("answered").fenced.len(), 1);
    assert_eq!(funnel(&store, batch).await, queued, "no message came of either");
    let heir = enter(&store).await;
    let kinds = vec!["chunk".to_owned()];
    let again =
        store.claim_next(&gristmill_store::Claim { kinds, ..testing::claim_as(heir, 1) }).await.expect("claimed");
    // Messages that another generation has made already are left alone.
    complete(&store, &[mailed(&again[0], messages(batch, 2..6))]).await;
    assert_eq!(funnel(&store, batch).await, Funnel { made: 6, queued: 6, ..Funnel::default() });
    let view = store.email_view(&EmailKey { tenant: TENANT.to_owned(), key: message_id(batch, 5).to_string() }).await;
    let view = view.expect("asked").expect("there before its first attempt");
    assert_eq!((view.state, view.template.as_deref(), view.subject), (EmailState::Pending, Some("odd"), None));
    assert_eq!((view.batch, view.stream.as_str(), view.recipient_count), (Some(batch), "news", 1));
    let of_batch = EmailFilter { tenant: TENANT.to_owned(), batch: Some(batch), ..EmailFilter::default() };
    assert_eq!(store.emails(&of_batch, &Page { after: None, limit: 10 }).await.expect("listed").len(), 6);
    let of_other = EmailFilter { batch: Some(BatchId(uuid::Uuid::nil())), ..of_batch };
    assert_eq!(store.emails(&of_other, &Page { after: None, limit: 10 }).await.expect("listed"), []);
    assert_reconciled(&store).await;
}

async fn a_message_of_another_batch_is_refused_with_its_chunk(store: TestStore) {
    let (batch, other) = (testing::sealed(&store, 1, 4).await, testing::sealed(&store, 1, 4).await);
    let worker = enter(&store).await;
    let chunk = claim(&store, worker, 1).await.remove(0);
    let strange = NewMessages { messages: messages(other, 0..4).messages, ..messages(batch, 0..0) };
    let refused = store.complete(&[mailed(&chunk, strange)]).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    assert_eq!(state(&store, chunk.fence.job).await, JobState::Running);
    assert_eq!(funnel(&store, batch).await, Funnel::default());
    complete(&store, &[mailed(&chunk, messages(batch, 0..4))]).await;
    assert_eq!(funnel(&store, batch).await.made, 4);
}

async fn to_those_on_the_list_nothing_is_enqueued(store: TestStore) {
    let entry = |number: u8, stream: &str, reason| Suppression {
        tenant: TENANT.to_owned(),
        address_hash: [number; 32],
        stream: stream.to_owned(),
        reason,
        note: None,
        keep: None,
    };
    let entries = [
        entry(0, "", SuppressionReason::Bounce),
        entry(1, "news", SuppressionReason::Unsubscribe),
        entry(2, "other", SuppressionReason::Unsubscribe),
    ];
    store.suppress(&entries).await.expect("listed");
    let (batch, _) = sent_off(&store, 1).await;
    assert_eq!(funnel(&store, batch).await, Funnel { made: 4, suppressed: 2, queued: 2, ..Funnel::default() });
    let waiting = store.jobs(&filter(JobState::Queued), &Page { after: None, limit: 10 }).await.expect("listed");
    assert_eq!(waiting.iter().filter(|job| job.kind == "email").count(), 2);
    let one = EmailKey { tenant: TENANT.to_owned(), key: message_id(batch, 1).to_string() };
    let one = store.email(&one).await.expect("asked").expect("it is accounted for");
    assert_eq!((one.state, one.recipients[0].state), (EmailState::Failed, RecipientState::Suppressed));
    let note = "the address is on the list of those to which nothing is sent: unsubscribe";
    assert_eq!(one.recipients[0].note.as_deref(), Some(note));
}

async fn the_funnel_moves_with_the_recipients(store: TestStore) {
    use RecipientState::*;
    let (batch, _) = sent_off(&store, 2).await;
    let jobs = emails(&store, 10).await;
    assert_eq!(jobs.len(), 8);
    let ways: [&[RecipientState]; 5] =
        [&[Transmitted, Sent], &[Transmitted, Unknown], &[Deferred], &[Bounced], &[Transmitted]];
    for (job, way) in jobs.iter().zip(ways) {
        go(&store, job, way, UnknownPolicy::Hold).await;
    }
    let expected =
        Funnel { made: 8, sent: 1, unknown: 1, deferred: 1, bounced: 1, sending: 1, queued: 3, ..Funnel::default() };
    assert_eq!(funnel(&store, batch).await, expected);
    let variants = store.mailing(TENANT, batch).await.expect("asked");
    let made: Vec<(&str, u64)> = variants.iter().map(|one| (one.variant.as_str(), one.funnel.made)).collect();
    assert_eq!(made, [("even", 4), ("odd", 4)]);
    let report = EmailReport {
        key: key(&jobs[0]),
        address_hash: None,
        to: Delivered,
        code: None,
        status: None,
        rule: "report.delivered".to_owned(),
        note: None,
        suppress: None,
    };
    assert_eq!(store.email_report(&report).await.expect("taken in"), Reported::Moved);
    assert_eq!(store.email_report(&report).await.expect("taken in"), Reported::Known, "once");
    let after = funnel(&store, batch).await;
    assert_eq!((after.delivered, after.sent, after.made), (1, 0, 8));
    assert_eq!(store.mailing("other", batch).await.expect("asked"), [], "another tenant sees nothing of it");
}

async fn a_message_that_cannot_be_made_is_counted_as_dropped(store: TestStore) {
    let (batch, _) = sent_off(&store, 1).await;
    let job = emails(&store, 1).await.remove(0);
    let broken = NewEmail { content: Err("no template".to_owned()), ..new_email(job.fence.job, &["a@b.example"]) };
    let begun = store.email_begin(&key(&job), &job.fence, Some(&broken), UnknownPolicy::Hold).await;
    let begun = begun.expect("begun").expect("its own");
    assert_eq!((begun.frozen, begun.recipients[0].state), (false, RecipientState::Dropped));
    assert_eq!(begun.recipients[0].note.as_deref(), Some("no template"));
    assert!(begun.recipients[0].address.ends_with(".example") && begun.recipients.len() == 1, "who gets it stays");
    assert_eq!(funnel(&store, batch).await, Funnel { made: 4, dropped: 1, queued: 3, ..Funnel::default() });
    complete(&store, &[testing::dead(&job)]).await;
    store.redrive_dead(TENANT, &[job.fence.job], false).await.expect("redriven");
    let job = emails(&store, 10).await.into_iter().find(|one| one.fence.job == job.fence.job).expect("again");
    go(&store, &job, &[RecipientState::Transmitted, RecipientState::Sent], UnknownPolicy::Hold).await;
    let after = funnel(&store, batch).await;
    assert_eq!((after.dropped, after.sent), (0, 1), "mended, it is made");
}

async fn a_mailing_over_its_budget_for_bounces_pauses_until_it_is_resumed(store: TestStore) {
    use RecipientState::{Bounced, Sent, Transmitted};
    let spec = MailSpec {
        bounce_budget: Some("25%".parse().expect("a share")),
        bounce_minimum: Some(3),
        ..MailSpec::default()
    };
    let (id, aggregate) = sent_off(&store, 3).await;
    let jobs = emails(&store, 8).await;
    go(&store, &jobs[0], &[Bounced], UnknownPolicy::Hold).await;
    go(&store, &jobs[1], &[Transmitted, Sent], UnknownPolicy::Hold).await;
    assert_eq!(store.hold_mailing(TENANT, id, &spec).await.expect("judged"), None, "two are too few to judge");
    go(&store, &jobs[2], &[Bounced], UnknownPolicy::Hold).await;
    assert_eq!(store.hold_mailing("other", id, &spec).await.expect("judged"), None, "of another tenant");
    let why = store.hold_mailing(TENANT, id, &spec).await.expect("judged").expect("two of three");
    let held = batch(&store, id).await;
    let pause = held.pause.expect("paused");
    assert_eq!((pause.by.as_deref(), pause.reason.as_deref()), (Some("gristmill"), Some(why.as_str())));
    assert_eq!(store.hold_mailing(TENANT, id, &spec).await.expect("judged"), None, "it is paused already");
    assert_eq!(emails(&store, 10).await, [], "what is not yet sent is held");
    store.pause_batch(TENANT, id, None, false).await.expect("resumed");
    assert_eq!(store.hold_mailing(TENANT, id, &spec).await.expect("judged"), None, "what was judged is forgiven");
    assert_eq!(emails(&store, 10).await.len(), 4);
    for job in &jobs[3..6] {
        go(&store, job, &[Bounced], UnknownPolicy::Hold).await;
    }
    assert!(store.hold_mailing(TENANT, id, &spec).await.expect("judged").is_some(), "three of the three since");
    let end = gristmill_store::BatchEnd {
        batch: id,
        generation: 0,
        state: gristmill_core::batch::BatchState::Complete,
        result: json!({}),
        reason: None,
    };
    complete(&store, &[Completion { batch_end: Some(end), ..testing::done(&aggregate) }]).await;
    store.pause_batch(TENANT, id, None, false).await.expect("resumed");
    for job in &jobs[6..8] {
        go(&store, job, &[Bounced], UnknownPolicy::Hold).await;
    }
    assert_eq!(store.hold_mailing(TENANT, id, &spec).await.expect("judged"), None, "it has ended");
}

async fn what_is_unknown_goes_out_once_more_when_an_operator_says_so(store: TestStore) {
    use RecipientState::{Deferred, Sent, Transmitted, Unknown};
    let (batch, _) = sent_off(&store, 1).await;
    let jobs = emails(&store, 10).await;
    go(&store, &jobs[0], &[Transmitted, Unknown], UnknownPolicy::Hold).await;
    go(&store, &jobs[1], &[Deferred], UnknownPolicy::Hold).await;
    go(&store, &jobs[2], &[Transmitted, Sent], UnknownPolicy::Hold).await;
    let again =
        async |after, limit, dry_run| store.email_again(TENANT, batch, after, limit, dry_run).await.expect("asked");
    let (first, second) = (jobs[0].fence.job, jobs[1].fence.job);
    assert_eq!(again(None, 10, true).await, [first, second]);
    complete(&store, &[testing::dead(&jobs[0])]).await;
    let redriven = async || {
        store.redrive_dead(TENANT, &[first], false).await.expect("redriven");
        emails(&store, 10).await.into_iter().find(|one| one.fence.job == first).expect("again")
    };
    let held = redriven().await;
    go(&store, &held, &[], UnknownPolicy::Hold).await;
    let record = store.email(&key(&held)).await.expect("asked").expect("kept");
    assert_eq!(record.recipients[0].state, Unknown, "a rehearsal allows nothing");
    complete(&store, &[testing::dead(&held)]).await;
    assert_eq!(again(None, 1, false).await, [first]);
    assert_eq!(again(Some(first), 10, false).await, [second]);
    let held = redriven().await;
    go(&store, &held, &[], UnknownPolicy::Hold).await;
    let record = store.email(&key(&held)).await.expect("asked").expect("kept");
    let one = &record.recipients[0];
    assert_eq!((one.state, one.may_be_twice), (RecipientState::Sending, true));
    go(&store, &held, &[Transmitted], UnknownPolicy::Hold).await;
    // It was for one attempt: the next one asks the policy again.
    store.retire_worker(held.fence.worker).await.expect("retired");
    let held = emails(&store, 10).await.into_iter().find(|one| one.fence.job == first).expect("again");
    go(&store, &held, &[], UnknownPolicy::Hold).await;
    assert_eq!(store.email(&key(&held)).await.expect("asked").expect("kept").recipients[0].state, Unknown);
}

async fn a_cancelled_mailing_accounts_for_every_recipient(store: TestStore) {
    let (id, _) = sent_off(&store, 3).await;
    let jobs = emails(&store, 2).await;
    go(&store, &jobs[0], &[RecipientState::Transmitted, RecipientState::Sent], UnknownPolicy::Hold).await;
    go(&store, &jobs[1], &[RecipientState::Transmitted], UnknownPolicy::Hold).await;
    complete(&store, &[testing::done(&jobs[0])]).await;
    let report = store.cancel_batch(TENANT, id, "wrong list", false).await.expect("cancelled");
    assert_eq!(report.affected, 12, "ten that waited, one that ran, and the aggregate");
    let (mut moved, mut after) = (0, None);
    loop {
        let step = store.email_account(after.as_ref(), 4).await.expect("accounted");
        moved += step.moved;
        after = step.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(moved, 11);
    let expected = Funnel { made: 12, sent: 1, unknown: 1, cancelled: 10, ..Funnel::default() };
    assert_eq!(funnel(&store, id).await, expected);
    assert_eq!(job(&store, message_id(id, 11)).await.state, JobState::Cancelled);
    assert_reconciled(&store).await;
}

async fn recipients_are_counted_by_template_stream_domain_and_age(store: TestStore) {
    let (batch, _) = sent_off(&store, 2).await;
    let job = emails(&store, 1).await.remove(0);
    go(&store, &job, &[RecipientState::Bounced], UnknownPolicy::Hold).await;
    let all = StatsFilter { tenant: TENANT.to_owned(), limit: 10, ..StatsFilter::default() };
    let stats = async |filter: StatsFilter| {
        let found = store.email_stats(&filter).await.expect("counted");
        found.into_iter().map(|one| (one.name, one.funnel.made, one.funnel.bounced)).collect::<Vec<_>>()
    };
    let named = |name: &str, made, bounced| (name.to_owned(), made, bounced);
    assert_eq!(stats(all.clone()).await, [named("", 8, 1)]);
    let by = |by| StatsFilter { by, ..all.clone() };
    assert_eq!(stats(by(StatsBy::Template)).await, [named("even", 4, 1), named("odd", 4, 0)]);
    assert_eq!(stats(by(StatsBy::Stream)).await, [named("news", 8, 1)]);
    let domains = [named("host0.example", 4, 1), named("host1.example", 4, 0)];
    assert_eq!(stats(by(StatsBy::Domain)).await, domains);
    assert_eq!(stats(StatsFilter { limit: 1, ..by(StatsBy::Domain) }).await, domains[..1]);
    let narrow = StatsFilter { domain: Some("Host1.example".to_owned()), ..all.clone() };
    assert_eq!(stats(narrow).await, [named("", 4, 0)]);
    let narrow = StatsFilter { batch: Some(batch), template: Some("odd".to_owned()), ..all.clone() };
    assert_eq!(stats(narrow).await, [named("", 4, 0)]);
    let none = [
        StatsFilter { stream: Some("other".to_owned()), ..all.clone() },
        StatsFilter { since: Some(Duration::ZERO), ..all.clone() },
        StatsFilter { tenant: "other".to_owned(), ..all.clone() },
    ];
    for filter in none {
        assert_eq!(stats(filter).await, []);
    }
    assert_eq!(stats(StatsFilter { since: Some(Duration::from_secs(3_600)), ..all }).await, [named("", 8, 1)]);
}

async fn the_newest_mailings_are_shown_first(store: TestStore) {
    testing::sealed(&store, 1, 1).await;
    let worker = enter(&store).await;
    let chunk = claim(&store, worker, 1).await.remove(0);
    complete(&store, &[testing::chunk_done(&chunk, 1)]).await;
    let (first, _) = sent_off(&store, 1).await;
    let (second, _) = sent_off(&store, 2).await;
    let shown = async |limit| {
        let found = store.mailings(TENANT, limit).await.expect("listed");
        found.into_iter().map(|one| (one.batch, one.name, one.funnel.made)).collect::<Vec<_>>()
    };
    let line = |batch, made| (batch, "orders".to_owned(), made);
    assert_eq!(shown(10).await, [line(second, 8), line(first, 4)]);
    assert_eq!(shown(1).await, [line(second, 8)]);
    assert_eq!(store.mailings("other", 10).await.expect("listed"), []);
}
