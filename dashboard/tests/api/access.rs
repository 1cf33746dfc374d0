//! Access tokens through HTTP: asked for, carried, renewed, stolen, revoked.

use gristmill_core::access::Role;
use serde_json::{Value, json};

use crate::env::{Heard, TestEnv, with_accounts};
use crate::factors::{enrol, shown};
use crate::people::{PASSWORD, as_person, as_program, ask, log_in, user};

async fn token(env: &TestEnv, name: &str, further: &Value) -> Heard {
    let mut body = json!({ "email": format!("{name}@example.com"), "password": PASSWORD });
    for (key, value) in further.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    ask(env, "POST", "/api/v1/auth/token", &[], &body).await
}

async fn with_refresh(env: &TestEnv, verb: &str, token: &str) -> Heard {
    ask(env, "POST", &format!("/api/v1/auth/{verb}"), &[], &json!({ "refresh_token": token })).await
}

/// The access token and the refresh token of an answer.
fn pair(answer: &Heard) -> (String, String) {
    let text = |name: &str| answer.data()[name].as_str().expect("a token").to_owned();
    (text("access_token"), text("refresh_token"))
}

async fn me(env: &TestEnv, access: &str) -> Heard {
    as_program(env, access, "GET", "/api/v1/me", &Value::Null).await
}

#[tokio::test]
async fn a_program_logs_in_goes_on_and_is_refused_when_its_account_is_disabled() {
    let env = with_accounts().await;
    let ada = user(&env, "ada", Role::Operator).await;
    user(&env, "eve", Role::Owner).await;
    let answer = token(&env, "ada", &Value::Null).await;
    assert_eq!((&answer.data()["token_type"], &answer.data()["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert_eq!(answer.header("set-cookie"), None, "no cookie");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let (access, refresh) = pair(&answer);
    let known = me(&env, &access).await;
    assert_eq!((&known.data()["user"], &known.data()["role"]), (&json!(ada), &json!("operator")));
    let elsewhere = [("authorization", &*format!("Bearer {access}")), ("gristmill-tenant", "north")];
    assert_eq!(ask(&env, "GET", "/api/v1/me", &elsewhere, &Value::Null).await.status, 403, "no member there");
    let sessions = as_program(&env, &access, "GET", "/api/v1/sessions", &Value::Null).await;
    assert_eq!(sessions.data()[0]["kind"], "tokens");
    let (access, second) = pair(&with_refresh(&env, "refresh", &refresh).await);
    assert_eq!(me(&env, &access).await.status, 200);
    env.accounts.switch_user(&crate::people::order(), ada.parse().expect("an id"), false).await.expect("disabled");
    assert_eq!(me(&env, &access).await.status, 401, "at once");
    assert_eq!(with_refresh(&env, "refresh", &second).await.status, 401);
    assert_eq!(token(&env, "ada", &Value::Null).await.status, 401);
}

#[tokio::test]
async fn a_stolen_refresh_token_ends_the_session_for_both() {
    let env = with_accounts().await;
    user(&env, "ada", Role::Owner).await;
    let (_, first) = pair(&token(&env, "ada", &Value::Null).await);
    let (access, second) = pair(&with_refresh(&env, "refresh", &first).await);
    let said = with_refresh(&env, "refresh", &first).await;
    assert_eq!((said.status, said.code()), (401, "unauthenticated"));
    let unknown = with_refresh(&env, "refresh", "gmr_nothing").await;
    assert_eq!(said.body["error"], unknown.body["error"], "which of them it was does not show");
    assert_eq!(me(&env, &access).await.status, 401);
    assert_eq!(with_refresh(&env, "refresh", &second).await.status, 401);
    let (access, refresh) = pair(&token(&env, "ada", &Value::Null).await);
    let (one, other) = tokio::join!(with_refresh(&env, "refresh", &refresh), with_refresh(&env, "refresh", &refresh));
    let mut both = [one.status, other.status];
    both.sort_unstable();
    assert_eq!(both, [200, 401], "at once");
    assert_eq!(me(&env, &access).await.status, 401);
}

#[tokio::test]
async fn whoever_has_a_token_ends_it_and_a_new_password_ends_all() {
    let env = with_accounts().await;
    user(&env, "ada", Role::Owner).await;
    let (access, refresh) = pair(&token(&env, "ada", &Value::Null).await);
    assert_eq!(with_refresh(&env, "revoke", &access).await.data()["affected"], 0, "an access token ends nothing");
    assert_eq!(me(&env, &access).await.status, 200);
    assert_eq!(with_refresh(&env, "revoke", &refresh).await.data()["affected"], 1);
    assert_eq!(with_refresh(&env, "revoke", &refresh).await.data()["affected"], 0);
    assert_eq!(me(&env, &access).await.status, 401, "at once");
    let (access, refresh) = pair(&token(&env, "ada", &Value::Null).await);
    let cookie = log_in(&env, "ada").await;
    let body = json!({ "old": PASSWORD, "password": "another long password" });
    assert_eq!(as_person(&env, &cookie, "POST", "/api/v1/me/password", &body).await.status, 200);
    assert_eq!(me(&env, &access).await.status, 401);
    assert_eq!(with_refresh(&env, "refresh", &refresh).await.status, 401);
}

#[tokio::test]
async fn a_second_factor_is_asked_for_as_at_a_login() {
    let env = with_accounts().await;
    let id = user(&env, "ada", Role::Owner).await;
    let cookie = log_in(&env, "ada").await;
    enrol(&env, &cookie, &id).await;
    let without = token(&env, "ada", &Value::Null).await;
    assert_eq!((without.status, without.faults()), (401, vec!["/code"]));
    assert_eq!(token(&env, "ada", &json!({ "code": "000000" })).await.faults(), ["/code"]);
    let code = shown(&env, &id, 1).await;
    assert_eq!(token(&env, "ada", &json!({ "code": code })).await.status, 200);
    assert_eq!(token(&env, "ada", &json!({ "code": code })).await.status, 401, "once");
}

#[tokio::test]
async fn the_keys_are_there_for_others_and_nothing_forged_is_taken() {
    let env = with_accounts().await;
    user(&env, "ada", Role::Owner).await;
    assert_eq!(env.get("/.well-known/jwks.json").await.body, json!({ "keys": [] }), "before there is any");
    let (access, _) = pair(&token(&env, "ada", &Value::Null).await);
    let keys = env.get("/.well-known/jwks.json").await;
    assert_eq!(keys.header("content-type"), Some("application/json"));
    let key = &keys.body["keys"][0];
    let said = ["kty", "crv", "alg", "use"].map(|name| key[name].as_str().unwrap_or_default());
    assert_eq!(said, ["OKP", "Ed25519", "EdDSA", "sig"]);
    assert!(key["d"].is_null() && !keys.text.contains("secret"), "{}", keys.text);
    assert_eq!(key["x"].as_str().map(str::len), Some(43));
    let parts: Vec<&str> = access.split('.').collect();
    // {"alg":"none","typ":"at+jwt"} and {"alg":"EdDSA","typ":"at+jwt","kid":"../../etc/passwd"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    let path = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIsImtpZCI6Ii4uLy4uL2V0Yy9wYXNzd2QifQ";
    for forged in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{path}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}A.{}", parts[0], parts[1], parts[2]),
        format!("{access}.{}", parts[2]),
        "a.b.c".to_owned(),
        "..".to_owned(),
    ] {
        assert_eq!(me(&env, &forged).await.status, 401, "{forged}");
    }
    assert_eq!(me(&env, &access).await.status, 200);
    let cookie = format!("gristmill={access}");
    assert_eq!(as_person(&env, &cookie, "GET", "/api/v1/me", &Value::Null).await.status, 401, "it is no cookie");
}
