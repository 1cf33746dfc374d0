//! People through HTTP: the first owner, logging in and out, invitations, tokens, roles, tenants.

use gristmill_core::access::Role;
use gristmill_dashboard::api::routes;
use gristmill_dashboard::gate::Access;
use gristmill_service::accounts::{MAIL_TENANT, NewMember, Secret};
use gristmill_service::{Actor, Order};
use gristmill_store::{JobFilter, Page};
use serde_json::{Value, json};

use crate::env::{Heard, TestEnv, with_accounts};

pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) fn order() -> Order {
    Order::new("main", Actor::Operator("test".to_owned()))
}

/// A user with a role, and the installation where they are an owner.
pub(crate) async fn user(env: &TestEnv, name: &str, role: Role) -> String {
    let email = format!("{name}@example.com").parse().expect("an address");
    let member = NewMember { email, name: name.to_owned(), role: Some(role) };
    let password = Secret::new(PASSWORD);
    let added = env.accounts.add_user(&order(), &member, Some(&password), role == Role::Owner).await;
    added.expect("added").id.to_string()
}

pub(crate) async fn ask(env: &TestEnv, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Heard {
    let json = [("content-type", "application/json")];
    let headers: Vec<(&str, &str)> = json.into_iter().chain(headers.iter().copied()).collect();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    env.send(method, path, &headers, body.as_bytes()).await
}

/// The cookie that an answer sets, as a browser sends it back.
fn cookie(answer: &Heard) -> String {
    let set = answer.header("set-cookie").unwrap_or_else(|| panic!("a cookie: {answer:?}"));
    set.split(';').next().expect("a pair").to_owned()
}

pub(crate) async fn log_in(env: &TestEnv, name: &str) -> String {
    let body = json!({ "email": format!("{name}@example.com"), "password": PASSWORD });
    let answer = ask(env, "POST", "/api/v1/session", &[], &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    cookie(&answer)
}

/// A request of a browser that has logged in.
pub(crate) async fn as_person(env: &TestEnv, cookie: &str, method: &str, path: &str, body: &Value) -> Heard {
    ask(env, method, path, &[("cookie", cookie), ("sec-fetch-site", "same-origin")], body).await
}

pub(crate) async fn as_program(env: &TestEnv, token: &str, method: &str, path: &str, body: &Value) -> Heard {
    ask(env, method, path, &[("authorization", &format!("Bearer {token}"))], body).await
}

/// The secret of the newest link that was mailed.
pub(crate) async fn mailed(env: &TestEnv) -> String {
    let filter = JobFilter { tenant: MAIL_TENANT.to_owned(), ..JobFilter::default() };
    let id = env.store.jobs(&filter, &Page::default()).await.expect("listed").first().expect("a mail").id;
    let job = env.store.job(MAIL_TENANT, id).await.expect("asked").expect("there");
    let url = job.payload["data"]["url"].as_str().expect("a link").to_owned();
    url.rsplit('#').next().expect("a secret").to_owned()
}

#[tokio::test]
async fn the_first_owner_is_made_and_logs_in_and_out() {
    let env = with_accounts().await;
    assert_eq!(env.get("/api/v1/me").await.status, 401);
    let link = env.accounts.first_owner_link(&order()).await.expect("made");
    let shown = ask(&env, "POST", "/api/v1/links/show", &[], &json!({ "link": link.expose() })).await;
    assert_eq!(shown.data()["purpose"], "first_owner");
    let body = json!({ "link": link.expose(), "email": "ada@example.com", "name": "Ada", "password": PASSWORD });
    let weak = json!({ "link": link.expose(), "email": "x", "name": "Ada", "password": "short" });
    assert_eq!(ask(&env, "POST", "/api/v1/links/first-owner", &[], &weak).await.faults(), ["/email"]);
    assert_eq!(ask(&env, "POST", "/api/v1/links/first-owner", &[], &body).await.status, 200);
    assert_eq!(ask(&env, "POST", "/api/v1/links/first-owner", &[], &body).await.status, 404);
    let wrong = json!({ "email": "ada@example.com", "password": "another password" });
    let nobody = json!({ "email": "eve@example.com", "password": "another password" });
    let said = [
        ask(&env, "POST", "/api/v1/session", &[], &wrong).await,
        ask(&env, "POST", "/api/v1/session", &[], &nobody).await,
    ];
    assert_eq!(said[0].status, 401);
    assert_eq!(said[0].body["error"], said[1].body["error"], "whether there is an account does not show");
    let cookie = log_in(&env, "ada").await;
    let me = as_person(&env, &cookie, "GET", "/api/v1/me", &Value::Null).await;
    assert_eq!((&me.data()["role"], &me.data()["installation"]), (&json!("owner"), &json!(true)));
    assert_ne!(log_in(&env, "ada").await, cookie, "each login has a secret of its own");
    let out = as_person(&env, &cookie, "DELETE", "/api/v1/session", &Value::Null).await;
    assert_eq!(out.data()["affected"], 1);
    assert!(out.head.contains("Max-Age=0"), "{}", out.head);
    assert_eq!(as_person(&env, &cookie, "GET", "/api/v1/me", &Value::Null).await.status, 401, "at once");
}

#[tokio::test]
async fn a_cookie_is_for_our_own_pages_and_is_read_by_no_script() {
    let env = with_accounts().await;
    user(&env, "ada", Role::Owner).await;
    let body = json!({ "email": "ada@example.com", "password": PASSWORD });
    let answer = ask(&env, "POST", "/api/v1/session", &[("cookie", "gristmill=gms_planted")], &body).await;
    assert_eq!(answer.status, 403, "a cookie without a browser's mark");
    let planted = [("cookie", "gristmill=gms_planted"), ("sec-fetch-site", "same-origin")];
    let answer = ask(&env, "POST", "/api/v1/session", &planted, &body).await;
    let set = answer.header("set-cookie").expect("a cookie");
    assert!(set.contains("; HttpOnly; SameSite=Strict; ") && !set.contains("planted"), "{set}");
    assert!(!answer.text.contains("gms_"), "the secret is in the cookie alone");
    let cookie = cookie(&answer);
    for (mark, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200)] {
        let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", mark)];
        let answer = ask(&env, "DELETE", "/api/v1/sessions", &headers, &Value::Null).await;
        assert_eq!(answer.status, status, "{mark}");
    }
    let elsewhere = [("sec-fetch-site", "cross-site")];
    assert_eq!(
        ask(&env, "POST", "/api/v1/session", &elsewhere, &body).await.status,
        403,
        "nobody is logged in by another site"
    );
}

#[tokio::test]
async fn a_colleague_is_invited_accepts_and_is_refused_what_is_not_theirs() {
    let env = with_accounts().await;
    user(&env, "ada", Role::Owner).await;
    let ada = log_in(&env, "ada").await;
    let bob = json!({ "email": "Bob@example.com", "role": "viewer" });
    let invited = as_person(&env, &ada, "POST", "/api/v1/invitations", &bob).await;
    assert_eq!((invited.status, &invited.data()["email"]), (201, &json!("bob@example.com")));
    let link = mailed(&env).await;
    let incomplete = json!({ "link": link, "name": "Bob" });
    assert_eq!(ask(&env, "POST", "/api/v1/links/accept", &[], &incomplete).await.faults(), ["/password"]);
    let accept = json!({ "link": link, "name": "Bob", "password": PASSWORD });
    assert_eq!(ask(&env, "POST", "/api/v1/links/accept", &[], &accept).await.status, 200);
    assert_eq!(ask(&env, "POST", "/api/v1/links/accept", &[], &accept).await.status, 404, "once");
    let cookie = log_in(&env, "bob").await;
    for (method, path, body, status) in [
        ("GET", "/api/v1/jobs", Value::Null, 200),
        ("GET", "/api/v1/users", Value::Null, 403),
        ("GET", "/api/v1/tenants", Value::Null, 403),
        ("POST", "/api/v1/invitations", json!({ "email": "eve@example.com", "role": "viewer" }), 403),
        ("POST", "/api/v1/jobs", json!({ "kind": "note" }), 403),
    ] {
        assert_eq!(as_person(&env, &cookie, method, path, &body).await.status, status, "{method} {path}");
    }
    let members = as_person(&env, &ada, "GET", "/api/v1/users", &Value::Null).await;
    let bobs = members.data()[1]["user"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/users/{bobs}");
    let raised = as_person(&env, &ada, "PATCH", &path, &json!({ "role": "operator" })).await;
    assert_eq!((raised.status, &raised.data()["affected"]), (200, &json!(1)));
    let job = json!({ "kind": "note" });
    assert_eq!(
        as_person(&env, &cookie, "POST", "/api/v1/jobs", &job).await.status,
        201,
        "the new role is there at once"
    );
    assert_eq!(as_person(&env, &ada, "DELETE", &path, &Value::Null).await.status, 200);
    assert_eq!(as_person(&env, &cookie, "GET", "/api/v1/jobs", &Value::Null).await.status, 403, "a member no more");
    let me = as_person(&env, &ada, "GET", "/api/v1/me", &Value::Null).await;
    let own = format!("/api/v1/users/{}", me.data()["user"].as_str().expect("an id"));
    let last = as_person(&env, &ada, "PATCH", &own, &json!({ "role": "viewer" })).await;
    assert_eq!((last.status, last.code()), (409, "conflict"), "the last owner stays");
}

#[tokio::test]
async fn a_token_may_do_what_it_is_for_until_it_is_revoked() {
    let env = with_accounts().await;
    user(&env, "ada", Role::Owner).await;
    let ada = log_in(&env, "ada").await;
    let body = json!({ "name": "ci", "scopes": ["jobs:read"], "lifetime": "30d" });
    let created = as_person(&env, &ada, "POST", "/api/v1/tokens", &body).await;
    assert_eq!(created.status, 201, "{created:?}");
    let secret = created.data()["secret"].as_str().expect("a secret").to_owned();
    for (method, path, body, status) in [
        ("GET", "/api/v1/jobs", Value::Null, 200),
        ("POST", "/api/v1/jobs", json!({ "kind": "note" }), 403),
        ("GET", "/api/v1/users", Value::Null, 403),
        ("GET", "/api/v1/tenants", Value::Null, 403),
        ("POST", "/api/v1/tokens", json!({ "name": "more" }), 403),
        ("GET", "/api/v1/sessions", Value::Null, 403),
    ] {
        assert_eq!(as_program(&env, &secret, method, path, &body).await.status, status, "{method} {path}");
    }
    let scopes = json!({ "name": "ci", "scopes": ["jobs:everything"] });
    assert_eq!(as_person(&env, &ada, "POST", "/api/v1/tokens", &scopes).await.faults(), ["/scopes/0"]);
    let again = [("cookie", ada.as_str()), ("sec-fetch-site", "same-origin"), ("idempotency-key", "k1")];
    let other = json!({ "name": "other" });
    let keyed = [
        ask(&env, "POST", "/api/v1/tokens", &again, &other).await,
        ask(&env, "POST", "/api/v1/tokens", &again, &other).await,
    ];
    assert_ne!(keyed[0].data()["secret"], keyed[1].data()["secret"], "no answer with a secret is kept");
    for answer in &keyed {
        let path = format!("/api/v1/tokens/{}", answer.data()["token"]["id"].as_str().expect("an id"));
        assert_eq!(as_person(&env, &ada, "DELETE", &path, &Value::Null).await.status, 200);
    }
    let listed = as_person(&env, &ada, "GET", "/api/v1/tokens", &Value::Null).await;
    assert!(!listed.text.contains(&secret) && listed.data()[0]["last_used_at"].is_string(), "{listed:?}");
    let asked = [("authorization", &*format!("Bearer {secret}")), ("gristmill-tenant", "north")];
    assert_eq!(env.send("GET", "/api/v1/jobs", &asked, b"").await.status, 403, "another tenant");
    let path = format!("/api/v1/tokens/{}", created.data()["token"]["id"].as_str().expect("an id"));
    assert_eq!(as_person(&env, &ada, "DELETE", &path, &Value::Null).await.status, 200);
    assert_eq!(as_program(&env, &secret, "GET", "/api/v1/jobs", &Value::Null).await.status, 401, "at once");
    for forged in ["gm_", "gm_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(as_program(&env, forged, "GET", "/api/v1/jobs", &Value::Null).await.status, 401, "{forged}");
    }
}

#[tokio::test]
async fn a_password_is_forgotten_and_chosen_anew_and_tries_have_an_end() {
    let env = with_accounts().await;
    user(&env, "ada", Role::Owner).await;
    let cookie = log_in(&env, "ada").await;
    for name in ["nobody", "ada"] {
        let body = json!({ "email": format!("{name}@example.com") });
        let answer = ask(&env, "POST", "/api/v1/links/ask", &[], &body).await;
        assert_eq!((answer.status, &answer.data()["affected"]), (200, &json!(0)), "{name}");
    }
    let link = mailed(&env).await;
    let wrong = json!({ "email": "ada@example.com", "password": "another password" });
    let mut waits = 0;
    for _ in 0..11 {
        let answer = ask(&env, "POST", "/api/v1/session", &[], &wrong).await;
        waits += u32::from(answer.status == 429 && answer.header("retry-after").is_some());
    }
    assert_eq!(waits, 1);
    let reset = json!({ "link": link, "password": PASSWORD });
    assert_eq!(ask(&env, "POST", "/api/v1/links/reset", &[], &reset).await.status, 200);
    assert_eq!(as_person(&env, &cookie, "GET", "/api/v1/me", &Value::Null).await.status, 401, "all sessions end");
    let cookie = log_in(&env, "ada").await;
    let other = log_in(&env, "ada").await;
    let change = json!({ "old": "not the password", "password": "quite another one" });
    assert_eq!(as_person(&env, &cookie, "POST", "/api/v1/me/password", &change).await.status, 403);
    let change = json!({ "old": PASSWORD, "password": "quite another one" });
    assert_eq!(as_person(&env, &cookie, "POST", "/api/v1/me/password", &change).await.status, 200);
    assert_eq!(
        as_person(&env, &cookie, "GET", "/api/v1/me", &Value::Null).await.status,
        200,
        "the one that asks stays"
    );
    assert_eq!(as_person(&env, &other, "GET", "/api/v1/me", &Value::Null).await.status, 401);
}

#[tokio::test]
async fn tenants_are_for_owners_of_the_installation() {
    let env = with_accounts().await;
    user(&env, "ada", Role::Owner).await;
    user(&env, "bob", Role::Admin).await;
    let (ada, bob) = (log_in(&env, "ada").await, log_in(&env, "bob").await);
    let north = json!({ "name": "north" });
    assert_eq!(as_person(&env, &bob, "POST", "/api/v1/tenants", &north).await.status, 403);
    let made = as_person(&env, &ada, "POST", "/api/v1/tenants", &north).await;
    assert_eq!((made.status, &made.data()["members"]), (201, &json!(1)));
    let in_north = [("cookie", ada.as_str()), ("sec-fetch-site", "same-origin"), ("gristmill-tenant", "north")];
    assert_eq!(ask(&env, "GET", "/api/v1/me", &in_north, &Value::Null).await.data()["tenant"], "north");
    let path = "/api/v1/tenants/north/suspend?reason=unpaid";
    assert_eq!(as_person(&env, &ada, "POST", path, &Value::Null).await.data()["reason"], "unpaid");
    assert_eq!(ask(&env, "GET", "/api/v1/me", &in_north, &Value::Null).await.status, 403, "suspended");
    let own = as_person(&env, &ada, "POST", "/api/v1/tenants/main/suspend", &Value::Null).await;
    assert_eq!((own.status, own.code()), (409, "conflict"), "whoever shuts this door could not open it again");
    let elsewhere = [("cookie", bob.as_str()), ("gristmill-tenant", "north")];
    assert_eq!(ask(&env, "GET", "/api/v1/me", &elsewhere, &Value::Null).await.status, 403, "no member there");
}

/// Every endpoint with every role: the one who may not do it is refused before anything else.
#[tokio::test]
async fn every_endpoint_asks_for_its_permission_of_every_role() {
    let env = with_accounts().await;
    let mut cookies = Vec::new();
    for role in Role::ALL {
        user(&env, role.as_str(), role).await;
        cookies.push((role, log_in(&env, role.as_str()).await));
    }
    for endpoint in routes().endpoints() {
        let path = endpoint.path.replace(['{', '}'], "");
        if endpoint.access != Access::Open {
            assert_eq!(ask(&env, endpoint.method, &path, &[], &Value::Null).await.status, 401, "{path}");
        }
        let (permission, everywhere) = match endpoint.access {
            Access::Permitted(permission) => (permission, false),
            Access::Installation(permission) => (permission, true),
            Access::Open | Access::Recognized => continue,
        };
        for (role, cookie) in &cookies {
            let allowed = role.allows(permission) && (!everywhere || *role == Role::Owner);
            if !allowed {
                let answer = as_person(&env, cookie, endpoint.method, &path, &Value::Null).await;
                assert_eq!((answer.status, answer.code()), (403, "forbidden"), "{role} {} {path}", endpoint.method);
            }
        }
    }
}
