//! The delivery records of emails, and the list of addresses to which nothing is sent.

use std::time::Duration;

use gristmill_core::id::JobId;
use gristmill_core::job::ClaimedJob;
use gristmill_core::letter::{RecipientRole, RecipientState, SuppressionReason, TRANSACTIONAL, UnknownPolicy};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{
    EmailFilter, EmailKey, EmailRecord, EmailReport, EmailSaid, EmailState, NewEmail, NewRecipient, Page,
    RecipientMove, ReportSuppression, Reported, Suppression,
};

use crate::{TENANT, claim_one, complete, enter};

conformance! {
    a_message_is_made_once_and_never_changes,
    a_recipient_moves_by_itself_and_only_as_it_may,
    nothing_moves_when_the_job_belongs_to_another_attempt,
    what_may_have_been_sent_is_unknown_to_the_next_attempt,
    a_message_that_cannot_be_made_drops_its_recipients_until_it_can,
    a_redrive_tries_those_again_that_failed,
    a_bounced_address_gets_no_more_messages,
    a_stronger_reason_is_not_replaced_by_a_weaker_one,
    the_list_is_read_in_pages_and_forgets_what_is_over,
    recipients_of_a_job_that_ended_without_a_word_are_accounted_for,
    messages_are_listed_newest_first,
    what_is_reported_later_moves_a_recipient_once_and_lists_its_address,
    a_report_of_what_is_not_there_changes_nothing,
    a_message_is_shown_with_its_first_recipient,
}

const HASH: [u8; 32] = [1; 32];

pub(crate) fn new_email(job: JobId, addresses: &[&str]) -> NewEmail {
    let recipient = |(number, address): (u8, &&str)| NewRecipient {
        role: if number == 1 { RecipientRole::To } else { RecipientRole::Bcc },
        address: (*address).to_owned(),
        address_hash: [number; 32],
    };
    NewEmail {
        job,
        batch: None,
        stream: TRANSACTIONAL.to_owned(),
        message_id: "<1@gristmill>".to_owned(),
        sender: "mill@example.com".to_owned(),
        subject: "Hello \u{0}".to_owned(),
        template: Some("hello".to_owned()),
        content: Ok(b"Subject: Hello\r\n\r\nHello.\r\n".to_vec()),
        recipients: (1..).zip(addresses).map(recipient).collect(),
    }
}

/// A job under way, and the key of its message.
async fn claimed(store: &TestStore) -> (ClaimedJob, EmailKey) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(store).await;
    let claimed = claim_one(store, worker).await;
    let key = EmailKey { tenant: TENANT.to_owned(), key: claimed.fence.job.to_string() };
    (claimed, key)
}

/// The job goes to another attempt.
async fn again(store: &TestStore, claimed: &ClaimedJob) -> ClaimedJob {
    store.retire_worker(claimed.fence.worker).await.expect("retired");
    let worker = enter(store).await;
    claim_one(store, worker).await
}

async fn begin(store: &TestStore, (job, key): (&ClaimedJob, &EmailKey), policy: UnknownPolicy) -> EmailRecord {
    let new = new_email(job.fence.job, &["ada@example.org", "bob@example.org"]);
    store.email_begin(key, &job.fence, Some(&new), policy).await.expect("begun").expect("its own")
}

async fn go(store: &TestStore, (job, key): (&ClaimedJob, &EmailKey), moves: &[(u32, RecipientState)]) -> Vec<u32> {
    let moves: Vec<RecipientMove> = moves.iter().map(|(place, to)| RecipientMove::to(*place, *to)).collect();
    store.email_move(key, &job.fence, &moves, None).await.expect("asked").expect("its own")
}

fn states(record: &EmailRecord) -> Vec<RecipientState> {
    record.recipients.iter().map(|one| one.state).collect()
}

async fn now(store: &TestStore, key: &EmailKey) -> EmailRecord {
    store.email(key).await.expect("asked").expect("a record")
}

async fn a_message_is_made_once_and_never_changes(store: TestStore) {
    let (job, key) = claimed(&store).await;
    assert_eq!(store.email(&key).await.expect("asked"), None);
    assert_eq!(store.email_begin(&key, &job.fence, None, UnknownPolicy::Hold).await.expect("asked"), None);
    let first = begin(&store, (&job, &key), UnknownPolicy::Hold).await;
    assert_eq!((first.state, first.frozen, first.message_id.as_str()), (EmailState::Pending, true, "<1@gristmill>"));
    assert_eq!(states(&first), [RecipientState::Sending; 2]);
    assert_eq!(first.recipients[1].role, RecipientRole::Bcc);
    let other = NewEmail {
        message_id: "<2@gristmill>".to_owned(),
        content: Ok(b"other".to_vec()),
        ..new_email(job.fence.job, &["eve@example.org"])
    };
    let second = store.email_begin(&key, &job.fence, Some(&other), UnknownPolicy::Hold).await.expect("begun");
    let second = second.expect("its own");
    assert_eq!((&second.message_id, second.recipients.len()), (&first.message_id, 2));
    assert_eq!(second.recipients[0].attempts, 2);
    let content = store.email_content(&key).await.expect("read").expect("kept");
    assert_eq!(content, new_email(job.fence.job, &[]).content.expect("bytes"));
}

async fn a_recipient_moves_by_itself_and_only_as_it_may(store: TestStore) {
    let (job, key) = claimed(&store).await;
    begin(&store, (&job, &key), UnknownPolicy::Hold).await;
    assert_eq!(go(&store, (&job, &key), &[(0, RecipientState::Sent)]).await, [] as [u32; 0], "not without the data");
    assert_eq!(go(&store, (&job, &key), &[(0, RecipientState::Transmitted), (7, RecipientState::Sent)]).await, [0]);
    assert_eq!(now(&store, &key).await.state, EmailState::Sending);
    let said = EmailSaid { server: "mx.example:25".to_owned(), transcript: "S: 250 ok\u{0}".to_owned() };
    let sent = RecipientMove { note: Some("250 ok".to_owned()), ..RecipientMove::to(0, RecipientState::Sent) };
    let refused = RecipientMove {
        code: Some(550),
        status: Some("5.1.1".to_owned()),
        rule: Some("no-such-mailbox".to_owned()),
        ..RecipientMove::to(1, RecipientState::Bounced)
    };
    let moved = store.email_move(&key, &job.fence, &[sent, refused], Some(&said)).await.expect("asked");
    assert_eq!(moved, Some(vec![0, 1]));
    let record = now(&store, &key).await;
    assert_eq!(
        (record.state, states(&record)),
        (EmailState::Failed, vec![RecipientState::Sent, RecipientState::Bounced])
    );
    let bob = &record.recipients[1];
    assert_eq!(
        (bob.code, bob.status.as_deref(), bob.rule.as_deref()),
        (Some(550), Some("5.1.1"), Some("no-such-mailbox"))
    );
    let attempts = store.email_attempts(&key).await.expect("read");
    assert_eq!((attempts.len(), attempts[0].attempt, attempts[0].server.as_str()), (1, 1, "mx.example:25"));
    assert_eq!(attempts[0].transcript, "S: 250 ok\u{FFFD}");
}

async fn nothing_moves_when_the_job_belongs_to_another_attempt(store: TestStore) {
    let (first, key) = claimed(&store).await;
    begin(&store, (&first, &key), UnknownPolicy::Hold).await;
    let second = again(&store, &first).await;
    let step = [RecipientMove::to(0, RecipientState::Transmitted)];
    assert_eq!(store.email_move(&key, &first.fence, &step, None).await.expect("asked"), None);
    let new = new_email(first.fence.job, &["ada@example.org"]);
    assert_eq!(store.email_begin(&key, &first.fence, Some(&new), UnknownPolicy::Hold).await.expect("asked"), None);
    assert_eq!(begin(&store, (&second, &key), UnknownPolicy::Hold).await.recipients[0].attempts, 2);
    let (other, _) = claimed(&store).await;
    assert_eq!(store.email_begin(&key, &other.fence, None, UnknownPolicy::Hold).await.expect("asked"), None);
    assert_eq!(store.email_move(&key, &other.fence, &step, None).await.expect("asked"), None, "another job's message");
}

async fn what_may_have_been_sent_is_unknown_to_the_next_attempt(store: TestStore) {
    for (policy, after, twice) in [
        (UnknownPolicy::Hold, RecipientState::Unknown, false),
        (UnknownPolicy::Resend, RecipientState::Sending, true),
        (UnknownPolicy::Accept, RecipientState::Sent, false),
    ] {
        let (first, key) = claimed(&store).await;
        begin(&store, (&first, &key), policy).await;
        go(&store, (&first, &key), &[(0, RecipientState::Transmitted)]).await;
        let second = again(&store, &first).await;
        let record = begin(&store, (&second, &key), policy).await;
        assert_eq!(states(&record), [after, RecipientState::Sending], "{policy}");
        assert_eq!(record.recipients[0].may_be_twice, twice, "{policy}");
        assert!(!record.recipients[1].may_be_twice, "{policy}: the server had not been given the message for it");
        complete(&store, &[testing::done(&second)]).await;
    }
}

async fn a_message_that_cannot_be_made_drops_its_recipients_until_it_can(store: TestStore) {
    let (first, key) = claimed(&store).await;
    let broken =
        NewEmail { content: Err("no template".to_owned()), ..new_email(first.fence.job, &["ada@example.org"]) };
    let record = store.email_begin(&key, &first.fence, Some(&broken), UnknownPolicy::Hold).await.expect("begun");
    let record = record.expect("its own");
    assert_eq!(
        (record.frozen, record.state, states(&record)),
        (false, EmailState::Failed, vec![RecipientState::Dropped])
    );
    assert_eq!(record.recipients[0].note.as_deref(), Some("no template"));
    assert_eq!(store.email_content(&key).await.expect("read"), None);
    let second = again(&store, &first).await;
    let still = store.email_begin(&key, &second.fence, Some(&broken), UnknownPolicy::Hold).await.expect("begun");
    assert_eq!(states(&still.expect("its own")), [RecipientState::Dropped]);
    let mended = new_email(first.fence.job, &["ada@example.org"]);
    let record = store.email_begin(&key, &second.fence, Some(&mended), UnknownPolicy::Hold).await.expect("begun");
    let record = record.expect("its own");
    assert_eq!((record.frozen, states(&record)), (true, vec![RecipientState::Sending]));
}

async fn a_redrive_tries_those_again_that_failed(store: TestStore) {
    let (first, key) = claimed(&store).await;
    begin(&store, (&first, &key), UnknownPolicy::Hold).await;
    go(&store, (&first, &key), &[(0, RecipientState::Transmitted), (1, RecipientState::Bounced)]).await;
    go(&store, (&first, &key), &[(0, RecipientState::Deferred)]).await;
    let second = again(&store, &first).await;
    let record = begin(&store, (&second, &key), UnknownPolicy::Hold).await;
    assert_eq!(states(&record), [RecipientState::Sending, RecipientState::Bounced], "one of them is owed it still");
    go(&store, (&second, &key), &[(0, RecipientState::Transmitted)]).await;
    go(&store, (&second, &key), &[(0, RecipientState::Sent)]).await;
    let third = again(&store, &second).await;
    let record = begin(&store, (&third, &key), UnknownPolicy::Hold).await;
    assert_eq!(states(&record), [RecipientState::Sent, RecipientState::Sending]);
}

fn entry(stream: &str, reason: SuppressionReason, keep: Option<u64>) -> Suppression {
    Suppression {
        tenant: TENANT.to_owned(),
        address_hash: HASH,
        stream: stream.to_owned(),
        reason,
        note: None,
        keep: keep.map(Duration::from_secs),
    }
}

async fn a_bounced_address_gets_no_more_messages(store: TestStore) {
    let (first, key) = claimed(&store).await;
    begin(&store, (&first, &key), UnknownPolicy::Hold).await;
    let gone = RecipientMove { suppress: Some(LONG), ..RecipientMove::to(0, RecipientState::Bounced) };
    store.email_move(&key, &first.fence, &[gone], None).await.expect("asked").expect("its own");
    complete(&store, &[testing::done(&first)]).await;
    let (next, key) = claimed(&store).await;
    let record = begin(&store, (&next, &key), UnknownPolicy::Hold).await;
    assert_eq!(states(&record), [RecipientState::Suppressed, RecipientState::Sending]);
    assert!(store.unsuppress(TENANT, &HASH, "").await.expect("asked"));
    assert!(!store.unsuppress(TENANT, &HASH, "").await.expect("asked"));
    // One stream is not another, and one tenant is not another.
    for (tenant, stream) in [(TENANT, "news"), ("other", "")] {
        let other = Suppression { tenant: tenant.to_owned(), ..entry(stream, SuppressionReason::Unsubscribe, None) };
        assert_eq!(store.suppress(&[other]).await.expect("asked"), 1);
    }
    complete(&store, &[testing::done(&next)]).await;
    let (last, key) = claimed(&store).await;
    assert_eq!(states(&begin(&store, (&last, &key), UnknownPolicy::Hold).await), [RecipientState::Sending; 2]);
}

const LONG: Duration = Duration::from_secs(86_400);

async fn a_stronger_reason_is_not_replaced_by_a_weaker_one(store: TestStore) {
    use SuppressionReason::*;
    for (reason, put) in [
        (Unsubscribe, true),
        (Manual, true),
        (Bounce, true),
        (Manual, false),
        (Complaint, true),
        (Bounce, false),
        (Complaint, true),
    ] {
        let entries = [entry("", reason, Some(3_600))];
        assert_eq!(store.suppress(&entries).await.expect("asked"), u64::from(put), "{reason}");
    }
    // One that is over stands in no way.
    let entries = [entry("", Complaint, Some(0)), entry("", Manual, None)];
    assert_eq!(store.suppress(&entries).await.expect("asked"), 2);
    let entries = store.suppressions(TENANT, &Page { after: None, limit: 10 }).await.expect("listed");
    assert_eq!((entries.len(), entries[0].reason, entries[0].until), (1, Manual, None));
}

async fn the_list_is_read_in_pages_and_forgets_what_is_over(store: TestStore) {
    for (number, stream, keep) in [(3, "", None), (1, "news", None), (1, "", None), (2, "", Some(0))] {
        let entry = Suppression { address_hash: [number; 32], ..entry(stream, SuppressionReason::Manual, keep) };
        assert_eq!(store.suppress(&[entry]).await.expect("asked"), 1);
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = store.suppressions(TENANT, &Page { after, limit: 1 }).await.expect("listed");
        let Some(last) = page.last() else { break };
        after = Some(format!("{}/{}", last.address_sha256, last.stream));
        seen.push((last.address_sha256[..2].to_owned(), last.stream.clone()));
    }
    let expected = [("01", ""), ("01", "news"), ("03", "")].map(|(hash, stream)| (hash.to_owned(), stream.to_owned()));
    assert_eq!(seen, expected);
    let of_one = store.suppressions_of(TENANT, &[1; 32]).await.expect("listed");
    assert_eq!(of_one.iter().map(|entry| entry.stream.as_str()).collect::<Vec<_>>(), ["", "news"]);
    assert!(store.suppressions_of(TENANT, &[2; 32]).await.expect("listed").is_empty(), "it is over");
    let wrong = Page { after: Some("nonsense".to_owned()), limit: 1 };
    store.suppressions(TENANT, &wrong).await.expect_err("no key");
    let of_no_stream = entry("A b", SuppressionReason::Manual, None);
    store.suppress(&[of_no_stream]).await.expect_err("no name of a stream");
}

fn report(key: &EmailKey, address_hash: Option<[u8; 32]>, to: RecipientState) -> EmailReport {
    EmailReport {
        key: key.clone(),
        address_hash,
        to,
        code: Some(550),
        status: Some("5.1.1".to_owned()),
        rule: "report.failed".to_owned(),
        note: Some("no such mailbox <ada@example.org>".to_owned()),
        suppress: Some(ReportSuppression { reason: SuppressionReason::Bounce, keep: Some(LONG) }),
    }
}

async fn what_is_reported_later_moves_a_recipient_once_and_lists_its_address(store: TestStore) {
    use RecipientState::*;
    let (first, key) = claimed(&store).await;
    begin(&store, (&first, &key), UnknownPolicy::Hold).await;
    let report_of = async |to| store.email_report(&report(&key, Some(HASH), to)).await.expect("asked");
    assert_eq!(report_of(Bounced).await, Reported::Moved, "while the server is asked");
    store.unsuppress(TENANT, &HASH, "").await.expect("asked");
    assert_eq!(report_of(Bounced).await, Reported::Known, "twice");
    assert_eq!(report_of(Delivered).await, Reported::Known, "after it was sent back");
    assert!(store.suppressions(TENANT, &Page { after: None, limit: 10 }).await.expect("listed").is_empty());
    go(&store, (&first, &key), &[(1, Transmitted), (1, Sent)]).await;
    let report_of = async |to| store.email_report(&report(&key, Some([2; 32]), to)).await.expect("asked");
    assert_eq!(
        [report_of(Delivered).await, report_of(Delivered).await, report_of(Complained).await],
        [Reported::Moved, Reported::Known, Reported::Moved]
    );
    let record = store.email(&key).await.expect("asked").expect("there");
    assert_eq!(states(&record), [Bounced, Complained]);
    let entries = store.suppressions(TENANT, &Page { after: None, limit: 10 }).await.expect("listed");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].note.as_deref(), Some("5.1.1"), "the list names no person");
    let events = crate::events::listed(&store).await;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["mail.bounced", "mail.delivered", "mail.complained"], "each is reported once");
    assert!(!events.iter().any(|event| event.data.to_string().contains('@')), "no event names a person");
}

async fn a_report_of_what_is_not_there_changes_nothing(store: TestStore) {
    let (first, key) = claimed(&store).await;
    begin(&store, (&first, &key), UnknownPolicy::Hold).await;
    let stranger = EmailKey { tenant: "other".to_owned(), ..key.clone() };
    for (key, hash) in [(&stranger, Some(HASH)), (&key, Some([9; 32])), (&key, None)] {
        let outcome = store.email_report(&report(key, hash, RecipientState::Bounced)).await.expect("asked");
        assert_eq!(outcome, Reported::Unknown, "{key:?}");
    }
    let wrong = report(&key, Some(HASH), RecipientState::Sent);
    store.email_report(&wrong).await.expect_err("no report says so");
    let wrong = EmailReport { code: Some(7), ..report(&key, Some(HASH), RecipientState::Bounced) };
    store.email_report(&wrong).await.expect_err("no reply code");
}

async fn a_message_is_shown_with_its_first_recipient(store: TestStore) {
    let (first, key) = claimed(&store).await;
    assert_eq!(store.email_view(&key).await.expect("asked"), None);
    let record = begin(&store, (&first, &key), UnknownPolicy::Hold).await;
    let view = store.email_view(&key).await.expect("asked").expect("there");
    let (all, page) =
        (EmailFilter { tenant: TENANT.to_owned(), ..EmailFilter::default() }, Page { after: None, limit: 9 });
    assert_eq!(store.emails(&all, &page).await.expect("listed"), std::slice::from_ref(&view));
    assert_eq!(store.email_of_envelope("1").await.expect("asked"), Some(key));
    assert_eq!(store.email_of_envelope("2").await.expect("asked"), None);
    assert_eq!(
        (view.recipient_count, view.first_recipient.as_deref()),
        (2, Some(record.recipients[0].address.as_str()))
    );
}

async fn recipients_of_a_job_that_ended_without_a_word_are_accounted_for(store: TestStore) {
    let (first, key) = claimed(&store).await;
    begin(&store, (&first, &key), UnknownPolicy::Hold).await;
    go(&store, (&first, &key), &[(0, RecipientState::Transmitted)]).await;
    assert_eq!(store.email_account(None, 10).await.expect("asked").moved, 0, "its job is under way");
    complete(&store, &[testing::dead(&first)]).await;
    let (good, well) = claimed(&store).await;
    begin(&store, (&good, &well), UnknownPolicy::Hold).await;
    go(&store, (&good, &well), &[(0, RecipientState::Transmitted), (1, RecipientState::Transmitted)]).await;
    complete(&store, &[testing::done(&good)]).await;
    let (mut moved, mut after) = (0, None);
    loop {
        let step = store.email_account(after.as_ref(), 1).await.expect("asked");
        moved += step.moved;
        after = step.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(moved, 4);
    assert_eq!(states(&now(&store, &key).await), [RecipientState::Unknown, RecipientState::Expired]);
    assert_eq!(now(&store, &key).await.state, EmailState::Uncertain);
    assert_eq!(states(&now(&store, &well).await), [RecipientState::Sent; 2], "a job that ends well has been taken");
}

async fn messages_are_listed_newest_first(store: TestStore) {
    let mut keys = Vec::new();
    for _ in 0..3 {
        let (job, key) = claimed(&store).await;
        begin(&store, (&job, &key), UnknownPolicy::Hold).await;
        complete(&store, &[testing::done(&job)]).await;
        keys.push(key.key);
    }
    keys.sort();
    keys.reverse();
    let list = async |filter: EmailFilter, after: Option<String>, limit| {
        let page = Page { after, limit };
        store.emails(&EmailFilter { tenant: TENANT.to_owned(), ..filter }, &page).await.expect("listed")
    };
    let all = list(EmailFilter::default(), None, 2).await;
    assert_eq!(all.iter().map(|one| one.key.clone()).collect::<Vec<_>>(), keys[..2]);
    let rest = list(EmailFilter::default(), Some(keys[1].clone()), 2).await;
    assert_eq!(rest.iter().map(|one| one.key.clone()).collect::<Vec<_>>(), keys[2..]);
    let one = &all[0];
    assert_eq!(
        (one.subject.as_deref(), one.size, one.template.as_deref()),
        (Some("Hello \u{FFFD}"), Some(26), Some("hello"))
    );
    assert_eq!(one.sha256.as_ref().map(String::len), Some(64));
    assert_eq!(list(EmailFilter { state: Some(EmailState::Sent), ..EmailFilter::default() }, None, 10).await, []);
    let mine = EmailFilter { address_hash: Some(HASH), ..EmailFilter::default() };
    assert_eq!(list(mine, None, 10).await.len(), 3);
    let other = EmailFilter { address_hash: Some([9; 32]), ..EmailFilter::default() };
    assert_eq!(list(other, None, 10).await, []);
}
