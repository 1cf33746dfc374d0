//! The tenant in which a person works, and the time zone that they are shown: two cookies, chosen by forms.

use gristmill_core::access::Role;
use gristmill_core::audit::Action;
use gristmill_service::accounts::{NewMember, Secret};
use gristmill_service::{Actor, Order};
use gristmill_store::AuditFilter;
use gristmill_store::accounts::Quotas;

use crate::env::{Heard, TestEnv, open, with_accounts};
use crate::pages::browser::{encoded, look, send, values};

const PASSWORD: &str = "correct horse battery";

/// The cookie that an answer sets, as a browser sends it back.
fn cookie(answer: &Heard) -> String {
    let set = answer.header("set-cookie").unwrap_or_else(|| panic!("a cookie: {answer:?}"));
    set.split(';').next().expect("a pair").to_owned()
}

async fn with(env: &TestEnv, cookies: &str, method: &str, path: &str, pairs: &[(&str, &str)]) -> Heard {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let headers = [form, ("cookie", cookies), ("sec-fetch-site", "same-origin"), ("accept", "text/html")];
    env.send(method, path, &headers, encoded(pairs).as_bytes()).await
}

/// A person who owns the installation and two tenants, and has logged in.
async fn owner_of_two(env: &TestEnv) -> String {
    let order = Order::new("main", Actor::Operator("test".to_owned()));
    let email = "ada@example.com".parse().expect("an address");
    let member = NewMember { email, name: "ada".to_owned(), role: Some(Role::Owner) };
    let user = env.accounts.add_user(&order, &member, Some(&Secret::new(PASSWORD)), true).await.expect("added");
    env.accounts.create_tenant(&order, "acme", Quotas::default(), Some(user.id)).await.expect("made");
    let login = send(env, None, "/login", &[("email", "ada@example.com"), ("password", PASSWORD)]).await;
    cookie(&login)
}

#[tokio::test]
async fn a_person_switches_between_their_tenants_and_a_page_of_the_other_one_changes_nothing() {
    let env = with_accounts().await;
    let session = owner_of_two(&env).await;
    let page = with(&env, &session, "GET", "/choice?next=/queues", &[]).await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.text.contains("acme as owner") && page.text.contains("main as owner"), "{}", page.text);
    let refused = with(&env, &session, "POST", "/choice/tenant", &[("tenant", "other")]).await;
    assert_eq!(refused.status, 422);
    let switched = with(&env, &session, "POST", "/choice/tenant", &[("tenant", "acme")]).await;
    assert_eq!((switched.status, switched.header("location")), (303, Some("/")), "{switched:?}");
    assert!(switched.header("set-cookie").expect("a cookie").contains("HttpOnly; SameSite=Strict"));
    let both = format!("{session}; {}", cookie(&switched));
    let there = with(&env, &both, "GET", "/jobs/new", &[]).await.text;
    assert!(there.contains(">acme</a>"), "{there}");
    assert_eq!(values(&there, "name").iter().filter(|name| **name == "of-tenant").count(), 1);
    // The page of the tenant before it is still open in another tab.
    let old = [("of-tenant", "main"), ("kind", "note")];
    let late = with(&env, &both, "POST", "/jobs/new", &old).await;
    assert_eq!(late.status, 409, "{late:?}");
    let own = with(&env, &both, "POST", "/jobs/new", &[("of-tenant", "acme"), ("kind", "note")]).await;
    assert_eq!(own.status, 303, "{own:?}");
    let made = own.header("location").expect("a way").trim_start_matches("/jobs/").parse().expect("an id");
    assert!(env.store.job("acme", made).await.expect("asked").is_some());
    let stranger = format!("{session}; gristmill-tenant=nowhere");
    let back = with(&env, &stranger, "GET", "/queues", &[]).await;
    assert!(back.status == 200 && back.text.contains(">main</a>"), "who is no member there is in their own: {back:?}");
    let entries = env
        .store
        .audit(&AuditFilter { tenant: "acme".to_owned(), limit: 10, ..AuditFilter::default() })
        .await
        .expect("listed");
    assert!(entries.iter().any(|found| found.entry.action == Action::JobEnqueue.as_str()), "{entries:?}");
}

#[tokio::test]
async fn an_open_page_does_not_become_that_of_another_tenant() {
    let env = with_accounts().await;
    let session = owner_of_two(&env).await;
    let page = with(&env, &session, "GET", "/queues", &[]).await;
    assert_eq!(values(&page.text, "data-tenant"), ["main"], "the page knows whose it is: {page:?}");
    let switched = with(&env, &session, "POST", "/choice/tenant", &[("tenant", "acme")]).await;
    let both = format!("{session}; {}", cookie(&switched));
    let again = async |cookies: &str, tenant: &str, path: &str| {
        let headers = [("cookie", cookies), ("x-fragment", "1"), ("x-of-tenant", tenant), ("accept", "text/html")];
        env.send("GET", path, &headers, b"").await
    };
    assert_eq!(again(&session, "main", "/queues").await.status, 200);
    assert_eq!(again(&both, "acme", "/queues").await.status, 200);
    let moved = again(&both, "main", "/queues").await;
    assert_eq!(moved.status, 409, "{moved:?}");
    assert!(moved.text.contains("you work in acme by now"), "{}", moved.text);
    let hidden = again(&both, "main", "/tenants").await;
    assert_eq!(hidden.status, 409, "that it is another tenant is said before what is refused there: {hidden:?}");
}

#[tokio::test]
async fn instants_are_shown_in_the_zone_that_was_chosen() {
    let env = open().await;
    let job = env.enqueue(&serde_json::json!({ "kind": "note", "at": "2040-07-01T10:00:00Z" })).await;
    let path = format!("/jobs/{job}");
    assert!(look(&env, None, &path).await.text.contains("2040-07-01 10:00:00 UTC"));
    let wrong = send(&env, None, "/choice/zone", &[("zone", "Europe/Nowhere")]).await;
    assert_eq!(wrong.status, 422);
    let chosen = send(&env, None, "/choice/zone", &[("zone", "Europe/Berlin"), ("next", &path)]).await;
    assert_eq!((chosen.status, chosen.header("location")), (303, Some(path.as_str())));
    let page = with(&env, &cookie(&chosen), "GET", &path, &[]).await.text;
    assert!(page.contains("2040-07-01 12:00:00 CEST") && page.contains(">Europe/Berlin</a>"), "{page}");
    assert!(page.contains("datetime=\"2040-07-01T10:00:00.000Z\""), "programs read UTC");
}
