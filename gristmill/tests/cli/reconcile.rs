//! `doctor --reconcile`: reconciling on demand.

use sqlx::{Connection, SqliteConnection};

use crate::place::Place;

fn tamper(place: &Place, statement: &'static str) {
    let files = std::fs::read_dir(place.path()).expect("a folder").flatten().map(|entry| entry.path());
    let database = files.into_iter().find(|path| path.extension().is_some_and(|name| name == "db"));
    let url = format!("sqlite://{}", database.expect("a database").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&url).await.expect("connected");
        sqlx::query(statement).execute(&mut connection).await.expect("changed");
        connection.close().await.expect("closed");
    });
}

#[test]
fn what_the_reconciler_finds_is_told_mended_and_then_gone() {
    let place = Place::with_batch();
    place.expect(0, &["batch", "run", "sales", "--wait", "--json"]);
    assert_eq!(place.json(0, &["doctor", "--reconcile", "--json"])["ok"], true);
    tamper(&place, "UPDATE queue_count SET jobs = jobs + 7 WHERE state = 'done'");
    for _ in 0..2 {
        let would = place.json(9, &["doctor", "--reconcile", "--dry-run", "--json"]);
        assert_eq!((&would["ok"], &would["dry_run"]), (&false.into(), &true.into()), "{would}");
    }
    let found = place.json(9, &["doctor", "--reconcile", "--json"]);
    let text = found["findings"][0].as_str().expect("a finding");
    assert!(text.contains("the counter of done jobs") && text.contains("too high by 7"), "{found}");
    let again = place.json(0, &["doctor", "--reconcile", "--json"]);
    assert_eq!(again["findings"], serde_json::json!([]));
    place.expect(2, &["doctor", "--dry-run"]);
}
