//! The audit through HTTP: what is ordered there is in it, those who may look at it do, and no others.

use gristmill_core::access::Role;
use gristmill_core::audit::{Chain, ChainEnd, SealedEntry};
use gristmill_core::id::INSTALLATION_TENANT;
use serde_json::{Value, json};

use crate::env::{Heard, TestEnv, with_accounts};
use crate::people::{as_person, as_program, ask, log_in, order, user};

/// No entry.
const NONE: [u64; 0] = [];

async fn get(env: &TestEnv, cookie: &str, path: &str) -> Heard {
    as_person(env, cookie, "GET", path, &Value::Null).await
}

fn numbers(answer: &Heard) -> Vec<u64> {
    let entries = answer.data().as_array().expect("a list").iter();
    entries.map(|entry| entry["seq"].as_u64().expect("a number")).collect()
}

/// The lines of an export, each of which fits behind the one before it.
fn followed(lines: &str) -> Vec<SealedEntry> {
    // A stream comes in pieces, with their lengths between them.
    let lines = lines.lines().filter(|line| line.starts_with('{'));
    let entries: Vec<SealedEntry> = lines.map(|line| serde_json::from_str(line).expect("an entry")).collect();
    let mut chain = Chain::behind("main", ChainEnd::default());
    entries.iter().for_each(|entry| chain.follow(entry).expect("it fits"));
    entries
}

#[tokio::test]
async fn what_is_ordered_by_http_is_listed_with_who_in_which_role_from_where_and_by_which_request() {
    let env = with_accounts().await;
    let id = user(&env, "ada", Role::Owner).await;
    let ada = log_in(&env, "ada").await;
    let headers = [("cookie", ada.as_str()), ("sec-fetch-site", "same-origin"), ("x-request-id", "r-17")];
    let paused = ask(&env, "POST", "/api/v1/queues/default/pause?reason=hot", &headers, &Value::Null).await;
    assert_eq!(paused.status, 200, "{paused:?}");
    let found = get(&env, &ada, "/api/v1/audit?action=queue.pause").await;
    let entry = &found.data()[0];
    assert_eq!((&entry["actor"], &entry["actor_kind"]), (&json!("ada@example.com"), &json!("user")));
    assert_eq!((&entry["subject"], &entry["role"]), (&json!(id), &json!("owner")));
    assert_eq!((&entry["address"], &entry["request"]), (&json!("127.0.0.1"), &json!("r-17")));
    assert_eq!((&entry["target"], &entry["reason"]), (&json!("default"), &json!("hot")));
    let made = as_person(&env, &ada, "POST", "/api/v1/tokens", &json!({ "name": "ci" })).await;
    let token = made.data()["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(as_program(&env, &token, "POST", "/api/v1/queues/default/resume", &Value::Null).await.status, 200);
    let newest = get(&env, &ada, "/api/v1/audit?limit=1").await;
    let entry = &newest.data()[0];
    assert_eq!((&entry["actor_kind"], &entry["actor"]), (&json!("token"), &json!("ci of ada@example.com")));
    let all = get(&env, &ada, "/api/v1/audit").await;
    let actions: Vec<&Value> = all.data().as_array().expect("a list").iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["queue.resume", "token.create", "queue.pause", "session.open", "user.create"]);
    assert!(!all.text.contains(&token) && !all.text.contains("$argon2"), "no secret is in the audit");
}

#[tokio::test]
async fn the_audit_is_read_in_pages_by_filters_and_as_a_stream_that_fits() {
    let env = with_accounts().await;
    user(&env, "ada", Role::Owner).await;
    let ada = log_in(&env, "ada").await;
    for number in 0..5 {
        let path = format!("/api/v1/queues/q{number}/pause");
        env.service.pause_queue(&order(), &format!("q{number}")).await.expect("paused");
        assert_eq!(as_person(&env, &ada, "POST", &path, &Value::Null).await.data()["affected"], 0, "it is paused");
    }
    let first = get(&env, &ada, "/api/v1/audit?limit=3&fields=seq,action").await;
    assert_eq!((numbers(&first), &first.body["nextCursor"]), (vec![7, 6, 5], &json!("5")));
    assert_eq!(first.data()[0], json!({ "seq": 7, "action": "queue.pause" }));
    assert_eq!(numbers(&get(&env, &ada, "/api/v1/audit?limit=3&after=5").await), [4, 3, 2]);
    assert_eq!(numbers(&get(&env, &ada, "/api/v1/audit?target=q3").await), [6]);
    assert_eq!(numbers(&get(&env, &ada, "/api/v1/audit?actor=test&action=user.create").await), [1]);
    assert_eq!(numbers(&get(&env, &ada, "/api/v1/audit?until=2000-01-01T00:00:00Z").await), NONE);
    assert_eq!(numbers(&get(&env, &ada, "/api/v1/audit?since=2000-01-01T00:00:00Z").await).len(), 7);
    let wrong = get(&env, &ada, "/api/v1/audit?after=x&since=yesterday&acton=queue.pause").await;
    assert_eq!(wrong.status, 422);
    let wrong = get(&env, &ada, "/api/v1/audit?after=x&since=yesterday").await;
    assert_eq!(wrong.faults(), ["?after", "?since"]);
    let shown = get(&env, &ada, "/api/v1/audit/1").await;
    assert_eq!(shown.data()["target"], "ada@example.com");
    for none in ["0", "8", "18446744073709551615", "x"] {
        assert_eq!(get(&env, &ada, &format!("/api/v1/audit/{none}")).await.status, 404, "{none}");
    }
    let export = get(&env, &ada, "/api/v1/audit/export").await;
    assert_eq!(export.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(followed(&export.text).len(), 7);
    let rest = get(&env, &ada, "/api/v1/audit/export?behind=5").await;
    assert_eq!(rest.text.matches("\"seq\":").count(), 2);
}

#[tokio::test]
async fn a_bent_entry_is_found_through_http() {
    let env = with_accounts().await;
    user(&env, "ada", Role::Owner).await;
    let ada = log_in(&env, "ada").await;
    let verify = async |body: Value| as_person(&env, &ada, "POST", "/api/v1/audit/verify", &body).await;
    let whole = verify(json!({})).await;
    assert_eq!((&whole.data()["ok"], &whole.data()["chains"][0]["last"]), (&json!(true), &json!(2)));
    let head = json!({ "tenant": "main", "seq": 2, "hash": "0".repeat(64), "at": "2030-01-31T00:00:00Z",
                       "key": "1".repeat(64), "signature": "2".repeat(128) });
    let broken = verify(json!({ "heads": [head], "keys": ["1".repeat(64)] })).await;
    assert_eq!(broken.data()["chains"][0]["broken"]["fault"], "signature");
    assert_eq!(verify(json!({ "heads": [{ "tenant": "main" }] })).await.status, 422);
    assert_eq!(verify(json!({ "keys": vec!["1"; 1_001] })).await.faults(), ["/keys"]);
    env.home.tamper("DROP TRIGGER audit_entry_kept; UPDATE audit_entry SET actor = 'eve' WHERE seq = 1").await;
    let broken = verify(json!({})).await;
    let found = &broken.data()["chains"][0]["broken"];
    assert_eq!((&broken.data()["ok"], &found["seq"], &found["fault"]), (&json!(false), &json!(1), &json!("changed")));
}

#[tokio::test]
async fn the_audit_of_a_tenant_is_for_its_own_readers_and_that_of_the_installation_for_its_owners() {
    let env = with_accounts().await;
    for role in [Role::Owner, Role::Admin, Role::Operator, Role::Viewer, Role::Auditor] {
        user(&env, role.as_str(), role).await;
    }
    let owner = log_in(&env, "owner").await;
    for (role, status) in
        [(Role::Owner, 200), (Role::Admin, 200), (Role::Auditor, 200), (Role::Operator, 403), (Role::Viewer, 403)]
    {
        let cookie = log_in(&env, role.as_str()).await;
        for path in ["/api/v1/audit", "/api/v1/audit/1", "/api/v1/audit/export"] {
            assert_eq!(get(&env, &cookie, path).await.status, status, "{role} {path}");
        }
        let verified = as_person(&env, &cookie, "POST", "/api/v1/audit/verify", &json!({})).await;
        assert_eq!(verified.status, status, "{role}");
        // Only the owner of this test owns the installation as well.
        let status = if role == Role::Owner { 200 } else { 403 };
        for path in ["/api/v1/audit", "/api/v1/audit/export"] {
            let path = format!("{path}?installation=true");
            assert_eq!(get(&env, &cookie, &path).await.status, status, "{role} {path}");
        }
    }
    let made = as_person(&env, &owner, "POST", "/api/v1/tenants", &json!({ "name": "north" })).await;
    assert_eq!(made.status, 201);
    let auditor = log_in(&env, "auditor").await;
    let north =
        |cookie: &str| [("cookie".to_owned(), cookie.to_owned()), ("gristmill-tenant".to_owned(), "north".to_owned())];
    for (cookie, status) in [(&owner, 200), (&auditor, 403)] {
        let headers = north(cookie);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = env.send("GET", "/api/v1/audit", &headers, b"").await;
        assert_eq!(answer.status, status);
        if status == 200 {
            assert_eq!((numbers(&answer), &answer.data()[0]["action"]), (vec![1], &json!("tenant.create")));
        }
    }
    let headers = [("cookie", owner.as_str()), ("gristmill-tenant", INSTALLATION_TENANT)];
    assert_eq!(
        env.send("GET", "/api/v1/audit", &headers, b"").await.status,
        400,
        "it is no tenant that can be asked for"
    );
    let seen = get(&env, &auditor, "/api/v1/audit?action=tenant.create").await;
    assert_eq!(numbers(&seen), NONE, "what concerns another tenant is in its chain alone");
}
