//! Workers, the audit, people, one's own account, tenants, the system.

use std::time::Duration;

use gristmill_core::access::Role;
use gristmill_service::accounts::{NewMember, Secret};
use gristmill_service::{Actor, Order};
use gristmill_store::testing;
use serde_json::{Value, json};

use crate::env::{self, Heard, TestEnv, with_accounts};
use crate::pages::browser::{check, encoded, look, send, values};
use crate::pages::stock::{SCRIPT, ask, stock};

const PASSWORD: &str = "correct horse battery";

fn led(answer: &Heard) -> &str {
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.header("location").expect("a way")
}

/// A user with a role, logged in: the cookie of the session.
async fn person(env: &TestEnv, name: &str, role: Role) -> String {
    let order = Order::new("main", Actor::Operator("test".to_owned()));
    let email = format!("{name}@example.com").parse().expect("an address");
    let member = NewMember { email, name: name.to_owned(), role: Some(role) };
    let added = env.accounts.add_user(&order, &member, Some(&Secret::new(PASSWORD)), role == Role::Owner).await;
    added.expect("added");
    log_in(env, name).await
}

async fn log_in(env: &TestEnv, name: &str) -> String {
    let email = format!("{name}@example.com");
    let answer = send(env, None, "/login", &[("email", &email), ("password", PASSWORD), ("next", "/")]).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned()
}

async fn see(env: &TestEnv, cookie: &str, path: &str) -> Heard {
    env.send("GET", path, &[("accept", "text/html"), ("cookie", cookie), ("sec-fetch-site", "same-origin")], b"").await
}

async fn fill(env: &TestEnv, cookie: &str, path: &str, pairs: &[(&str, &str)]) -> Heard {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let headers = [form, ("accept", "text/html"), ("cookie", cookie), ("sec-fetch-site", "same-origin")];
    env.send("POST", path, &headers, encoded(pairs).as_bytes()).await
}

#[tokio::test]
async fn workers_are_shown_with_what_they_run_and_retired() {
    let env = env::open().await;
    stock(&env).await;
    let other = gristmill_store::NewWorker { version: "9.9.9".to_owned(), ..testing::worker(Duration::from_secs(600)) };
    env.store.register_worker(&other).await.expect("registered");
    let page = look(&env, None, "/workers").await;
    assert!(page.text.contains("Different versions work at once: 0, 9.9.9"), "{}", page.text);
    assert!(page.text.contains("No scheduler is alive") && page.text.contains("chunk"), "{}", page.text);
    let retire = format!("/workers/{}/retire", other.id);
    assert!(page.text.contains(&retire));
    assert_eq!(led(&send(&env, None, &retire, &[("reason", "it hangs")]).await), "/workers");
    let workers = ask(&env, "GET", "/api/v1/workers", &Value::Null).await;
    let state = workers.as_array().expect("a list").iter().find(|one| one["version"] == "9.9.9").expect("there");
    assert_eq!(state["state"], "stopped");
    assert_eq!(send(&env, None, &retire, &[]).await.status, 409);
}

#[tokio::test]
async fn the_audit_is_filtered_and_an_entry_shows_what_was_before_and_after() {
    let env = env::open().await;
    stock(&env).await;
    let list = look(&env, None, "/audit?action=queue.pause&actor=&target=&since=&until=").await;
    assert_eq!(list.text.matches("id=\"entries-").count(), 1, "{}", list.text);
    assert!(!list.text.contains("<script>alert"));
    let entry =
        values(&list.text, "href").into_iter().find(|link| link.starts_with("/audit/")).expect("an entry").to_owned();
    let shown = look(&env, None, &entry).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    let table = shown.text.split("id=\"change\"").nth(1).expect("a table");
    assert!(table.contains("<strong>paused</strong>") && table.contains("changed"), "{table}");
    assert!(table.contains("&lt;script&gt;"), "the reason is in it, as text");
    assert_eq!(look(&env, None, "/audit?action=queue.burn").await.status, 422);
    assert_eq!(look(&env, None, "/audit/99999").await.status, 404);
    assert!(look(&env, None, "/audit?actor=eve").await.text.contains("No entry is like that"));
    assert_eq!(send(&env, None, "/audit", &[("reason", "x")]).await.status, 405, "nothing is changed here");
}

#[tokio::test]
async fn members_are_given_roles_and_removed_and_nobody_raises_anybody_above_themselves() {
    let env = with_accounts().await;
    let (owner, admin) = (person(&env, "ada", Role::Owner).await, person(&env, "ben", Role::Admin).await);
    person(&env, "eve", Role::Viewer).await;
    let page = see(&env, &owner, "/people").await;
    assert_eq!(page.status, 200, "{page:?}");
    check("/people", &page);
    let members = ask_as(&env, &owner, "/api/v1/users").await;
    let id = |name: &str| {
        let all = members.as_array().expect("a list");
        let found = all.iter().find(|one| one["name"] == name).expect("a member");
        found["user"].as_str().expect("an id").to_owned()
    };
    let role = |name: &str| format!("/people/{}/role", id(name));
    assert_eq!(led(&fill(&env, &admin, &role("eve"), &[("role", "operator"), ("reason", "x")]).await), "/people");
    assert_eq!(fill(&env, &admin, &role("eve"), &[("role", "owner")]).await.status, 403, "an admin appoints no owner");
    assert_eq!(fill(&env, &admin, &role("ada"), &[("role", "viewer")]).await.status, 403);
    assert_eq!(fill(&env, &owner, &role("ada"), &[("role", "viewer")]).await.status, 409, "the last owner stays");
    assert_eq!(fill(&env, &admin, &role("eve"), &[("role", "king")]).await.status, 422);
    let seen = see(&env, &admin, "/people").await;
    assert!(!seen.text.contains(&role("ada")), "an admin has no button for an owner: {}", seen.text);
    let remove = format!("/people/{}/remove", id("eve"));
    assert_eq!(fill(&env, &owner, &remove, &[("confirm", "eve")]).await.status, 422);
    assert_eq!(led(&fill(&env, &owner, &remove, &[("confirm", "eve@example.com")]).await), "/people");
    assert_eq!(ask_as(&env, &owner, "/api/v1/users").await.as_array().map(Vec::len), Some(2));
}

async fn ask_as(env: &TestEnv, cookie: &str, path: &str) -> Value {
    env.send("GET", path, &[("cookie", cookie), ("sec-fetch-site", "same-origin")], b"").await.data().clone()
}

#[tokio::test]
async fn people_are_invited_and_invitations_withdrawn() {
    let env = with_accounts().await;
    let (owner, admin) = (person(&env, "ada", Role::Owner).await, person(&env, "ben", Role::Admin).await);
    let wrong = fill(&env, &owner, "/people/invite", &[("email", "no address"), ("role", "viewer")]).await;
    assert_eq!(wrong.status, 422);
    assert!(
        wrong.text.contains("class=\"fault\"") && values(&wrong.text, "value").contains(&"no address"),
        "{}",
        wrong.text
    );
    let above = fill(&env, &admin, "/people/invite", &[("email", "x@example.com"), ("role", "owner")]).await;
    assert_eq!((above.status, above.text.contains("Role is refused")), (422, true), "{above:?}");
    let member = fill(&env, &owner, "/people/invite", &[("email", "ben@example.com"), ("role", "viewer")]).await;
    assert_eq!((member.status, member.text.contains("Address is refused")), (422, true), "{member:?}");
    assert_eq!(
        led(&fill(&env, &owner, "/people/invite", &[("email", "x@example.com"), ("role", "viewer")]).await),
        "/people"
    );
    let page = see(&env, &owner, "/people").await;
    let withdraw =
        page.text.split("/people/invitations/").nth(1).expect("an invitation").split('"').next().expect("a way");
    let withdraw = format!("/people/invitations/{withdraw}");
    assert_eq!(led(&fill(&env, &owner, &withdraw, &[]).await), "/people");
    assert_eq!(fill(&env, &owner, &withdraw, &[]).await.status, 404);
}

#[tokio::test]
async fn a_person_has_tokens_and_sessions_and_changes_the_password() {
    let env = with_accounts().await;
    let ada = person(&env, "ada", Role::Operator).await;
    let other = log_in(&env, "ada").await;
    let page = see(&env, &ada, "/account").await;
    assert_eq!(page.status, 200, "{page:?}");
    check("/account", &page);
    assert_eq!(page.text.matches("<span class=\"badge\">this one</span>").count(), 1, "{}", page.text);
    let wrong =
        fill(&env, &ada, "/account/tokens", &[("name", ""), ("scopes", "jobs:read fly"), ("lifetime", "soon")]).await;
    assert_eq!(wrong.status, 422);
    for said in ["Name is missing", "which is no permission", "Lasts"] {
        assert!(wrong.text.contains(said), "{said}: {}", wrong.text);
    }
    let above = fill(&env, &ada, "/account/tokens", &[("name", "x"), ("scopes", "users:change")]).await;
    assert_eq!(above.status, 422, "no token may do more than its owner: {above:?}");
    let made =
        fill(&env, &ada, "/account/tokens", &[("name", SCRIPT), ("scopes", "jobs:read"), ("lifetime", "90d")]).await;
    assert_eq!((made.status, made.header("cache-control")), (200, Some("no-store")), "{made:?}");
    assert!(!made.text.contains("<script>alert"));
    let secret =
        made.text.split("id=\"secret-text\">").nth(1).expect("a secret").split('<').next().expect("its end").to_owned();
    let bearer = format!("Bearer {secret}");
    let as_program = async |path: &str| env.send("GET", path, &[("authorization", &bearer)], b"").await.status;
    assert_eq!((as_program("/api/v1/jobs").await, as_program("/api/v1/batches").await), (200, 403));
    let listed = see(&env, &ada, "/account").await;
    assert!(!listed.text.contains(&secret), "it is shown once");
    let revoke = listed.text.split("/account/tokens/").nth(1).expect("a token").split('"').next().expect("a way");
    assert_eq!(led(&fill(&env, &ada, &format!("/account/tokens/{revoke}"), &[]).await), "/account");
    assert_eq!(as_program("/api/v1/jobs").await, 401);
    let wrong = fill(&env, &ada, "/account/password", &[("old", "not mine at all"), ("password", "short")]).await;
    assert_eq!((wrong.status, wrong.text.contains("not mine at all")), (422, false), "{wrong:?}");
    let fields = [("old", PASSWORD), ("password", "another horse battery")];
    assert_eq!(led(&fill(&env, &ada, "/account/password", &fields).await), "/account");
    assert_eq!((see(&env, &ada, "/account").await.status, see(&env, &other, "/account").await.status), (200, 303));
    assert_eq!(led(&fill(&env, &ada, "/account/sessions/end", &[]).await), "/account");
}

#[tokio::test]
async fn tenants_are_created_suspended_and_resumed_by_owners_of_the_installation() {
    let env = with_accounts().await;
    let (owner, admin) = (person(&env, "ada", Role::Owner).await, person(&env, "ben", Role::Admin).await);
    assert_eq!(see(&env, &admin, "/tenants").await.status, 403);
    assert!(!see(&env, &admin, "/people").await.text.contains("href=\"/tenants\""), "nor is it in the navigation");
    assert!(see(&env, &owner, "/people").await.text.contains("href=\"/tenants\""));
    assert_eq!(led(&fill(&env, &owner, "/tenants", &[("name", "acme & sons")]).await), "/tenants");
    assert_eq!(fill(&env, &owner, "/tenants", &[("name", "acme & sons")]).await.status, 422);
    let page = see(&env, &owner, "/tenants").await;
    check("/tenants", &page);
    let suspend = "/tenants/acme%20%26%20sons/suspend";
    assert!(page.text.contains(suspend), "{}", page.text);
    assert_eq!(fill(&env, &owner, suspend, &[("confirm", "acme")]).await.status, 422);
    assert_eq!(
        led(&fill(&env, &owner, suspend, &[("confirm", "acme & sons"), ("reason", "unpaid")]).await),
        "/tenants"
    );
    assert!(see(&env, &owner, "/tenants").await.text.contains("unpaid"));
    assert_eq!(led(&fill(&env, &owner, "/tenants/acme%20%26%20sons/resume", &[]).await), "/tenants");
}

#[tokio::test]
async fn the_system_shows_what_is_wrong_and_its_settings_without_secrets() {
    let env = env::open().await;
    env.enqueue(&json!({ "kind": "work", "queue": "mail", "in": "1h" })).await;
    let page = look(&env, None, "/system").await;
    assert!(
        page.text.contains("1\u{a0}thing is wrong") && page.text.contains("none is alive: 1 job waits"),
        "{}",
        page.text
    );
    assert!(page.text.contains("store.url") && page.text.contains("***"), "{}", page.text);
    assert!(page.text.contains("sqlite") && page.text.contains("Migrations"), "{}", page.text);
    let filtered = look(&env, None, "/system?setting=none.such").await;
    assert!(!filtered.text.contains("store.url"));
    for verb in ["look", "repair"] {
        let answer = send(&env, None, "/system/reconcile", &[("verb", verb), ("reason", "x")]).await;
        assert_eq!(led(&answer), "/system");
        assert!(answer.header("set-cookie").expect("said").contains("done.All%20counters"), "{answer:?}");
    }
}
