//! The real binary and the stored messages that no worker can act upon.

use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use crate::place::Place;

/// Puts two messages where a worker would have put them.
fn with_poison() -> Place {
    let place = Place::with_batch();
    place.expect(0, &["db", "migrate"]);
    let path = std::fs::read_dir(place.path()).expect("a folder").flatten().map(|entry| entry.path());
    let database = path.into_iter().find(|path| path.extension().is_some_and(|name| name == "db"));
    let url = format!("sqlite://{}", database.expect("a database").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&url).await.expect("connected");
        for (hash, bytes) in [("a", &b"hello"[..]), ("b", b"\x1b[2J\xff")] {
            let statement = "
                INSERT INTO poison (queue, sha256, size, bytes, headers, reason, source, seen, first_at, last_at)
                VALUES ('mail', ?1, ?2, ?3, '{\"headers\":{\"from\":\"billing\"}}', 'it is no message', 'worker', 3, 1, 2)";
            let size = i64::try_from(bytes.len()).expect("a few");
            sqlx::query(statement).bind(hash.repeat(64)).bind(size).bind(bytes).execute(&mut connection).await.expect("put");
        }
        connection.close().await.expect("closed");
    });
    place
}

#[test]
fn poison_is_listed_shown_as_text_or_hex_and_forgotten() {
    let place = with_poison();
    let list = place.json(0, &["poison", "list", "--json"]);
    assert_eq!(list[0]["id"], 2);
    assert_eq!((&list[1]["seen"], &list[1]["queue"]), (&json!(3), &json!("mail")));
    let text = place.json(0, &["poison", "show", "1", "--json"]);
    assert_eq!((&text["encoding"], &text["body"]), (&json!("text"), &json!("hello")));
    assert_eq!(text["headers"]["headers"]["from"], "billing");
    let hex = place.json(0, &["poison", "show", "2", "--json"]);
    assert_eq!((&hex["encoding"], &hex["body"]), (&json!("hex"), &json!("1b5b324aff")));
    assert_eq!(place.json(0, &["poison", "show", "1", "--hex", "--json"])["body"], "68656c6c6f");
    assert!(!place.expect(0, &["poison", "show", "2"]).contains('\u{1b}'), "a terminal gets no orders");

    let would = place.json(0, &["poison", "drop", "--all", "--dry-run", "--json"]);
    assert_eq!((&would["affected"], &would["dry_run"]), (&json!(2), &json!(true)));
    assert_eq!(place.json(0, &["poison", "drop", "1", "--json"])["affected"], 1);
    assert_eq!(place.json(3, &["poison", "drop", "1", "--json"])["error"]["code"], "not_found");
    assert_eq!(place.json(3, &["poison", "show", "1", "--json"])["error"]["code"], "not_found");
    assert_eq!(place.json(0, &["poison", "drop", "--all", "--json"])["affected"], 1);
    assert_eq!(place.json(0, &["poison", "list", "--json"]), json!([]));
    place.expect(2, &["poison", "drop"]);
}
