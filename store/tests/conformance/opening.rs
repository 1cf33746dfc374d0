//! Opening, migrating, and the right to work.

use gristmill_store::testing::{self, TestStore};
use gristmill_store::{OpenOptions, StoreError, connect, open};

use crate::{LONG, TENANT};

conformance! {
    the_clock_of_the_store_goes_forward,
    a_store_describes_itself_without_a_password,
    a_worker_may_begin_and_begin_again;
    databases only, "the model has no schema":
    a_migrated_store_says_which_migrations_it_has,
    migrating_again_changes_nothing,
    migrating_at_once_in_two_processes_does_no_harm,
    a_store_without_migrations_is_told_to_migrate,
    a_store_that_is_newer_is_refused,
}

async fn a_migrated_store_says_which_migrations_it_has(store: TestStore) {
    let status = store.migrations().await.expect("read");
    assert!(status.known >= 1 && status.applied == status.known);
    assert!(status.migrations.iter().all(|migration| migration.applied_at.is_some()));
    assert_eq!(status.migrations[0].name, "jobs and batches");
}

async fn migrating_again_changes_nothing(store: TestStore) {
    let before = store.migrations().await.expect("read");
    assert_eq!(store.migrate().await.expect("nothing to do"), before);
}

/// Every table, each before those that it looks at.
const TABLES: [&str; 64] = [
    "event",
    "event_delivery",
    "event_head",
    "event_replay",
    "event_schema",
    "event_subscription",
    "access_identity",
    "access_answer",
    "access_recovery",
    "access_factor",
    "access_spent",
    "access_key",
    "access_link",
    "access_try",
    "access_session",
    "access_token",
    "access_membership",
    "access_tenant",
    "access_user",
    "request",
    "audit_entry",
    "audit_head",
    "audit_signed_head",
    "poison",
    "discarded",
    "job_limit",
    "queue_spec",
    "managed",
    "limit_bucket",
    "queue_turn",
    "idempotency",
    "pruned",
    "leader",
    "email_attempt",
    "email_content",
    "email_recipient",
    "email",
    "mailing_count",
    "mailing",
    "suppression",
    "mail_relay",
    "mail_domain",
    "mail_wait",
    "worker",
    "schedule_tick",
    "schedule_backfill",
    "schedule",
    "queue",
    "queue_count",
    "flow",
    "history",
    "operation_job",
    "operation_item",
    "operation_batch",
    "operation",
    "outbox",
    "quarantine",
    "result",
    "attempt_log",
    "error_acknowledged",
    "attempt",
    "job",
    "batch",
    "_gristmill_migrations",
];

/// The same place without a schema: dropped again behind the store's back.
async fn emptied(store: &TestStore) {
    // Policies look at other tables.
    let cascade = if store.embedded() { "" } else { " CASCADE" };
    for table in TABLES {
        store.tamper(&format!("DROP TABLE {table}{cascade}")).await;
    }
    if !store.embedded() {
        store.tamper("DROP TABLE confined_role").await;
        store.tamper("DROP FUNCTION confine_tenants()").await;
    }
}

async fn migrating_at_once_in_two_processes_does_no_harm(store: TestStore) {
    emptied(&store).await;
    let other = connect(store.url(), OpenOptions::default()).await.expect("opens");
    let (one, two) = tokio::join!(store.migrate(), other.migrate());
    assert_eq!(one.expect("migrated"), two.expect("migrated"));
    store.enqueue(&[testing::job()]).await.expect("it works");
}

async fn a_store_without_migrations_is_told_to_migrate(store: TestStore) {
    emptied(&store).await;
    let status = store.migrations().await.expect("read");
    assert!(status.applied == 0 && status.migrations.iter().all(|migration| migration.applied_at.is_none()));
    let error = store.enqueue(&[testing::job()]).await.expect_err("there is nothing to write to");
    assert!(matches!(error, StoreError::NeedsMigration { .. }), "{error}");
    let error = store.batches(&Default::default(), &Default::default()).await.expect_err("nor to read from");
    assert!(error.to_string().contains("gristmill db migrate"), "{error}");
    if !store.embedded() {
        let error = open(store.url(), OpenOptions::default()).await.expect_err("it is not for this program to decide");
        assert!(
            matches!(error, StoreError::NeedsMigration { missing } if missing == status.migrations.len()),
            "{error}"
        );
    }
}

async fn a_store_that_is_newer_is_refused(store: TestStore) {
    store
        .tamper(
            "INSERT INTO _gristmill_migrations (version, description, installed_on, success, checksum, execution_time)
             SELECT 9999, 'from the future', installed_on, success, checksum, execution_time FROM _gristmill_migrations
             WHERE version = 1",
        )
        .await;
    let opened = open(store.url(), OpenOptions::default()).await;
    for error in [opened.expect_err("refused"), store.migrate().await.expect_err("refused")] {
        assert!(matches!(error, StoreError::TooNew { found: 9999, .. }), "{error}");
    }
    let status = store.migrations().await.expect("to look is allowed");
    assert_eq!(status.migrations.last().map(|migration| migration.name.as_str()), Some("from the future"));
}

async fn the_clock_of_the_store_goes_forward(store: TestStore) {
    let before = store.now().await.expect("a clock");
    let asked = testing::job();
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    let created = store.job(TENANT, asked.id).await.expect("asked").expect("there").created_at;
    assert!(before <= created && created <= store.now().await.expect("a clock"));
}

async fn a_store_describes_itself_without_a_password(store: TestStore) {
    let text = store.describe();
    assert!(["sqlite:", "postgres://", "memory:"].iter().any(|kind| text.starts_with(kind)), "{text}");
    assert!(!text.contains('@'), "{text}");
}

async fn a_worker_may_begin_and_begin_again(store: TestStore) {
    let guard = store.begin_work().await.expect("nobody else works");
    assert_eq!(guard.exclusive(), store.embedded());
    drop(guard);
    let guard = store.begin_work().await.expect("nobody else works any more");
    store.register_worker(&testing::worker(LONG)).await.expect("entered");
    drop(guard);
}

#[tokio::test]
async fn a_second_working_process_on_one_file_is_refused_and_told_why() {
    let store = TestStore::sqlite(true).await;
    let _guard = store.begin_work().await.expect("nobody else works");
    let other = store.second().await;
    let error = other.begin_work().await.expect_err("refused");
    let (pid, text) = (std::process::id().to_string(), error.to_string());
    assert!(matches!(error, StoreError::Locked(_)) && text.contains(&pid) && text.contains("PostgreSQL"), "{text}");
    other.enqueue(&[testing::job()]).await.expect("whoever only enqueues needs no lock");
}

#[tokio::test]
async fn whoever_begins_to_work_on_a_file_rescues_what_a_dead_process_ran() {
    let store = TestStore::sqlite(true).await;
    store.enqueue(&testing::jobs(3)).await.expect("enqueued");
    let dead = testing::worker(LONG);
    store.register_worker(&dead).await.expect("entered");
    assert_eq!(store.claim_next(&testing::claim_as(dead.id, 2)).await.expect("claimed").len(), 2);
    // Its lease is long, but a process that had the lock and lost it cannot be alive.
    let guard = store.second().await.begin_work().await.expect("nobody else works");
    assert_eq!(guard.rescued.moved, 2);
    assert_eq!(guard.rescued.dispatches.len(), 1);
    assert!(!store.beat(dead.id, LONG, 2).await.expect("a beat"));
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_what_would_be_right() {
    let open =
        |url: &'static str| async move { open(url, OpenOptions::default()).await.expect_err("refused").to_string() };
    assert!(open("mysql://localhost/x").await.contains("sqlite://PATH"));
    assert!(open("sqlite:///no/such/folder/store.db").await.contains("/no/such/folder"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    std::fs::write(&path, "this is no database, it is a letter to somebody about something else entirely")
        .expect("written");
    let url = format!("sqlite://{}", path.display());
    let error = gristmill_store::open(&url, OpenOptions::default()).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Invalid(text) if text.contains("not an SQLite database")), "{error}");
}
