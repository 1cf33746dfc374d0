//! The real binary deletes: batches, dead letters, queues, and what is kept for too long.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

use crate::place::Place;

/// Changes the database behind the program's back.
pub(crate) fn tamper(place: &Place, sql: &str) {
    let path = std::fs::read_dir(place.path()).expect("a folder").flatten().map(|entry| entry.path());
    let database = path.into_iter().find(|path| path.extension().is_some_and(|name| name == "db"));
    let url = format!("sqlite://{}", database.expect("a database").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&url).await.expect("connected");
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.expect("changed");
        connection.close().await.expect("closed");
    });
}

fn enqueued(place: &Place, queue: &str) -> String {
    let made = place.json(0, &["enqueue", "exec", "--payload", r#"{"command":["true"]}"#, "--queue", queue, "--json"]);
    made["job"]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn what_is_kept_for_too_long_is_shown_then_pruned_and_gone_afterwards() {
    let place = Place::with_batch();
    let old = enqueued(&place, "default");
    let young = enqueued(&place, "default");
    place.expect(0, &["job", "cancel", &old, &young]);
    let hex = old.replace('-', "");
    tamper(&place, &format!("UPDATE job SET finished_at = 1 WHERE id = unhex('{hex}')"));

    let would = place.json(0, &["db", "prune", "--dry-run", "--json"]);
    let noun = json!({ "noun": "jobs", "rows": 1, "since": "1970-01-01T00:00:00.000001Z" });
    assert_eq!(would, json!({ "dry_run": true, "rows": 1, "nouns": [noun] }));
    place.expect(0, &["job", "show", &old]);
    let pruned = place.json(0, &["db", "prune", "--json"]);
    assert_eq!((&pruned["rows"], &pruned["dry_run"]), (&json!(1), &json!(false)));
    assert_eq!(place.json(0, &["db", "prune", "--json"])["nouns"], json!([]));

    let gone = place.json(3, &["job", "show", &old, "--json"]);
    assert!(gone["error"]["message"].as_str().is_some_and(|text| text.contains("is gone")), "{gone}");
    place.expect(0, &["job", "show", &young]);
    let size = place.json(0, &["db", "size", "--json"]);
    assert_eq!((&size["pruned"][0]["noun"], &size["pruned"][0]["deleted"]), (&json!("jobs"), &json!(1)));
    let tables = size["tables"].as_array().expect("tables");
    let job = tables.iter().find(|table| table["name"] == "job").expect("the table of jobs");
    assert_eq!(job["rows"], 1);
    assert!(size["bytes"].as_u64() > Some(0) && job["bytes"].as_u64() > Some(0), "{size}");
    assert!(place.expect(0, &["db", "size"]).contains("idempotency"));
    let report = place.doctor(0, &[]);
    let finding = report["findings"].as_array().expect("findings").iter().find(|one| one["what"] == "retention");
    assert!(finding.is_none_or(|one| one["found"].as_str().is_some_and(|found| found.contains("1 jobs"))), "{report}");
}

#[test]
fn a_batch_is_deleted_when_it_has_ended_and_its_output_stays() {
    let place = Place::with_batch();
    let run: Value = place.json(0, &["batch", "run", "sales", "--wait", "--json"]);
    let id = run["id"].as_str().or(run["batch"]["id"].as_str()).expect("an id").to_owned();
    let would = place.json(0, &["batch", "delete", &id, "--dry-run", "--json"]);
    assert_eq!((&would["dry_run"], &would["deleted"]), (&json!(true), &json!({})));
    place.expect(0, &["batch", "show", &id]);
    let deleted = place.json(0, &["batch", "delete", &id, "--json"]);
    assert_eq!((&deleted["deleted"]["batches"], &deleted["chunks"]), (&json!(1), &would["chunks"]));
    let gone = place.json(3, &["batch", "show", &id, "--json"]);
    assert!(gone["error"]["message"].as_str().is_some_and(|text| text.contains("is gone")), "{gone}");
    place.expect(3, &["batch", "watch", &id]);
    place.expect(3, &["batch", "delete", &id]);
    place.expect(2, &["batch", "delete"]);
}

#[test]
fn a_queue_is_deleted_when_nothing_is_left_of_it_and_nothing_names_it() {
    let place = Place::with_batch();
    let id = enqueued(&place, "misspelt");
    let busy = place.json(5, &["queue", "delete", "misspelt", "--json"]);
    assert!(busy["error"]["message"].as_str().is_some_and(|text| text.contains("1 queued")), "{busy}");
    place.expect(0, &["job", "cancel", &id]);
    place.expect(5, &["queue", "delete", "misspelt"]);
    assert_eq!(place.json(0, &["queue", "delete", "misspelt", "--finished", "--dry-run", "--json"])["jobs"], 1);
    let deleted = place.json(0, &["queue", "delete", "misspelt", "--finished", "--json"]);
    assert_eq!((&deleted["queue"], &deleted["jobs"]), (&json!("misspelt"), &json!(1)));
    place.expect(3, &["queue", "show", "misspelt"]);
    place.expect(3, &["queue", "delete", "misspelt"]);
    let named = place.json(5, &["queue", "delete", "default", "--json"]);
    assert!(named["error"]["message"].as_str().is_some_and(|text| text.contains("names queue default")), "{named}");
}

#[test]
fn a_dead_letter_is_discarded_by_id_or_by_what_it_is() {
    let place = Place::with_batch();
    let ids: Vec<String> = (0..3).map(|_| enqueued(&place, "default")).collect();
    tamper(
        &place,
        "UPDATE job SET state = 'dead', finished_at = 5, error = 'no such mailbox';
         UPDATE queue_count SET state = 'dead' WHERE state = 'queued'; DELETE FROM outbox",
    );
    let would = place.json(0, &["dead", "discard", "--all", "--dry-run", "--json"]);
    assert_eq!((&would["affected"], &would["dry_run"]), (&json!(3), &json!(true)));
    assert_eq!(place.json(0, &["dead", "discard", &ids[0], "--json"])["affected"], 1);
    place.expect(3, &["dead", "discard", &ids[0], "--json"]);
    assert_eq!(place.json(0, &["dead", "discard", "--error", "other", "--json"])["affected"], 0);
    assert_eq!(place.json(0, &["dead", "discard", "--error", "mailbox", "--json"])["affected"], 2);
    assert_eq!(place.json(0, &["dead", "list", "--json"]), json!([]));
    place.expect(2, &["dead", "discard"]);
}

#[test]
fn a_time_that_is_too_short_or_no_time_is_refused() {
    let place = Place::new();
    place.write("config.toml", "[retention]\njobs = \"1s\"\n");
    let error = place.json(9, &["check", "--json"]);
    assert!(error.to_string().contains("retention.jobs") && error.to_string().contains("`1m`"), "{error}");
    place.write("config.toml", "[retention.queue]\nmail = \"never\"\n");
    let error = place.json(9, &["check", "--json"]);
    assert!(error.to_string().contains("retention.queue.mail") && error.to_string().contains("forever"), "{error}");
}
