//! The second factor through HTTP: enrolled, asked for, attacked, reset.

use gristmill_core::access::Role;
use gristmill_core::id::UserId;
use gristmill_service::accounts::totp::{STEP_SECONDS, code};
use serde_json::{Value, json};

use crate::env::{Heard, TestEnv, with_accounts};
use crate::people::{PASSWORD, as_person, as_program, ask, log_in, user};

/// The code that a user's telephone shows, so many steps from now.
pub(crate) async fn shown(env: &TestEnv, user: &str, steps: i64) -> String {
    let user: UserId = user.parse().expect("an id");
    let secret = env.accounts.factor_secret(user).await.expect("asked").expect("offered");
    let now = env.store.now().await.expect("a clock").timestamp().cast_unsigned() / STEP_SECONDS;
    code(&secret, now.checked_add_signed(steps).expect("a step"))
}

/// A login with what is shown besides the password.
async fn with(env: &TestEnv, name: &str, code: &Value) -> Heard {
    let body = json!({ "email": format!("{name}@example.com"), "password": PASSWORD, "code": code });
    ask(env, "POST", "/api/v1/session", &[], &body).await
}

/// Gives a user a factor, and returns its recovery codes.
pub(crate) async fn enrol(env: &TestEnv, cookie: &str, user: &str) -> Vec<Value> {
    let password = json!({ "password": PASSWORD });
    let offered = as_person(env, cookie, "POST", "/api/v1/me/factor", &password).await;
    assert!(offered.data()["uri"].as_str().is_some_and(|uri| uri.starts_with("otpauth://totp/")), "{offered:?}");
    let code = json!({ "code": shown(env, user, 0).await });
    let confirmed = as_person(env, cookie, "POST", "/api/v1/me/factor/confirm", &code).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    confirmed.data()["codes"].as_array().expect("codes").clone()
}

#[tokio::test]
async fn a_login_asks_for_the_second_factor_and_takes_each_code_once() {
    let env = with_accounts().await;
    let id = user(&env, "ada", Role::Owner).await;
    let (ada, other) = (log_in(&env, "ada").await, log_in(&env, "ada").await);
    let codes = enrol(&env, &ada, &id).await;
    assert_eq!(codes.len(), 10);
    let me = async |cookie: &str| as_person(&env, cookie, "GET", "/api/v1/me/factor", &Value::Null).await;
    assert_eq!(me(&ada).await.data(), &json!({ "enrolled": true, "recovery_left": 10 }));
    assert_eq!(me(&other).await.status, 401, "a session that was opened without it");
    let asked = with(&env, "ada", &Value::Null).await;
    assert_eq!((asked.status, asked.faults()), (401, vec!["/code"]), "{asked:?}");
    assert_eq!(asked.header("set-cookie"), None);
    let used = shown(&env, &id, 0).await;
    assert_eq!(with(&env, "ada", &json!(used)).await.status, 401, "the code that has confirmed it");
    let next = shown(&env, &id, 1).await;
    assert_eq!(with(&env, "ada", &json!(next)).await.status, 200);
    assert_eq!(with(&env, "ada", &json!(next)).await.status, 401, "once");
    let recovery = codes[0].as_str().expect("a code").to_uppercase();
    assert_eq!(with(&env, "ada", &json!(recovery)).await.status, 200);
    assert_eq!(with(&env, "ada", &codes[0]).await.status, 401, "once");
    assert_eq!(me(&ada).await.data()["recovery_left"], 9);
    let wrong = json!({ "email": "ada@example.com", "password": "another password", "code": codes[1] });
    let wrong = ask(&env, "POST", "/api/v1/session", &[], &wrong).await;
    assert_eq!((wrong.status, wrong.faults().len()), (401, 0), "whether there is a factor shows to the password alone");
    assert_eq!(with(&env, "ada", &codes[1]).await.status, 200, "and no code was spent");
    let seen = as_person(&env, &ada, "GET", "/api/v1/audit", &Value::Null).await;
    assert!(!seen.text.contains(codes[0].as_str().expect("a code")) && seen.text.contains("factor.enrol"));
}

#[tokio::test]
async fn codes_are_tried_no_more_often_than_passwords() {
    let env = with_accounts().await;
    let id = user(&env, "ada", Role::Owner).await;
    let ada = log_in(&env, "ada").await;
    let codes = enrol(&env, &ada, &id).await;
    for _ in 0..30 {
        assert_eq!(with(&env, "ada", &Value::Null).await.status, 401, "a login that brings no code is no try");
    }
    let mut refused = 0;
    for number in 0..12 {
        let answer = with(&env, "ada", &json!(format!("{number:06}"))).await;
        refused += u32::from(answer.status == 429);
        assert!(answer.status == 401 || answer.status == 429, "{answer:?}");
    }
    assert_eq!(refused, 2);
    assert_eq!(with(&env, "ada", &codes[0]).await.status, 429, "also with a right one");
    let remove = json!({ "password": PASSWORD, "code": codes[0] });
    let removed = as_person(&env, &ada, "POST", "/api/v1/me/factor/remove", &remove).await;
    assert_eq!(removed.status, 429, "nor around it, by a session: {removed:?}");
}

#[tokio::test]
async fn a_factor_is_changed_by_its_user_with_the_password_and_taken_away_by_an_owner_of_the_installation() {
    let env = with_accounts().await;
    user(&env, "owner", Role::Owner).await;
    let id = user(&env, "bob", Role::Admin).await;
    user(&env, "eve", Role::Admin).await;
    let (owner, bob, eve) = (log_in(&env, "owner").await, log_in(&env, "bob").await, log_in(&env, "eve").await);
    let wrong = json!({ "password": "another password" });
    assert_eq!(as_person(&env, &bob, "POST", "/api/v1/me/factor", &wrong).await.status, 403);
    let nothing = json!({ "code": "000000" });
    assert_eq!(as_person(&env, &bob, "POST", "/api/v1/me/factor/confirm", &nothing).await.status, 409);
    let codes = enrol(&env, &bob, &id).await;
    let again = as_person(&env, &bob, "POST", "/api/v1/me/factor", &json!({ "password": PASSWORD })).await;
    assert_eq!(again.status, 409, "a stolen session does not replace it, even with the password");
    let without = json!({ "password": PASSWORD, "code": "abcd" });
    assert_eq!(as_person(&env, &bob, "POST", "/api/v1/me/factor/remove", &without).await.status, 403);
    let path = format!("/api/v1/users/{id}/factor");
    assert_eq!(as_person(&env, &eve, "DELETE", &path, &Value::Null).await.status, 403, "an admin is not enough");
    let token = as_person(&env, &bob, "POST", "/api/v1/tokens", &json!({ "name": "ci" })).await;
    let token = token.data()["secret"].as_str().expect("a secret").to_owned();
    let by_token = as_program(&env, &token, "POST", "/api/v1/me/factor", &json!({ "password": PASSWORD })).await;
    assert_eq!(by_token.status, 403, "a token changes no factor");
    let remove = json!({ "password": PASSWORD, "code": codes[3] });
    assert_eq!(as_person(&env, &bob, "POST", "/api/v1/me/factor/remove", &remove).await.status, 200);
    log_in(&env, "bob").await;
    let bob = log_in(&env, "bob").await;
    enrol(&env, &bob, &id).await;
    assert_eq!(as_person(&env, &owner, "DELETE", &path, &Value::Null).await.data()["affected"], 1);
    assert_eq!(as_person(&env, &owner, "DELETE", &path, &Value::Null).await.status, 404);
    assert_eq!(as_person(&env, &bob, "GET", "/api/v1/me", &Value::Null).await.status, 401, "all sessions end");
    log_in(&env, "bob").await;
}
