//! Registration through HTTP: off unless said, the same answer for all, limited by network.

use serde_json::{Value, json};

use crate::env::{with_accounts, with_registration};
use crate::people::{PASSWORD, as_person, ask, log_in, mailed};

#[tokio::test]
async fn a_stranger_registers_only_where_that_is_open() {
    let env = with_accounts().await;
    let bob = json!({ "email": "bob@example.com" });
    let refused = ask(&env, "POST", "/api/v1/links/register", &[], &bob).await;
    assert_eq!((refused.status, refused.code()), (403, "forbidden"), "{refused:?}");
    let env = with_registration().await;
    let other = json!({ "email": "eve@evil.test" });
    assert_eq!(ask(&env, "POST", "/api/v1/links/register", &[], &other).await.status, 403, "another domain");
    let asked = ask(&env, "POST", "/api/v1/links/register", &[], &bob).await;
    assert_eq!((asked.status, &asked.data()["affected"]), (200, &json!(0)));
    let link = mailed(&env).await;
    assert!(!asked.text.contains(&link));
    let shown = ask(&env, "POST", "/api/v1/links/show", &[], &json!({ "link": link })).await;
    assert_eq!((&shown.data()["purpose"], &shown.data()["has_account"]), (&json!("verify"), &json!(false)));
    let body = json!({ "link": link, "name": "Bob", "password": PASSWORD });
    for wrong in [json!({ "link": link, "name": "Bob" }), json!({ "link": link, "password": PASSWORD })] {
        assert_eq!(ask(&env, "POST", "/api/v1/links/verify", &[], &wrong).await.status, 422);
    }
    assert_eq!(ask(&env, "POST", "/api/v1/links/accept", &[], &body).await.status, 404, "it is no invitation");
    assert_eq!(ask(&env, "POST", "/api/v1/links/verify", &[], &body).await.status, 200);
    assert_eq!(ask(&env, "POST", "/api/v1/links/verify", &[], &body).await.status, 404, "once");
    let cookie = log_in(&env, "bob").await;
    let me = as_person(&env, &cookie, "GET", "/api/v1/me", &Value::Null).await;
    assert_eq!((&me.data()["role"], &me.data()["installation"]), (&json!("viewer"), &json!(false)));
    let again = ask(&env, "POST", "/api/v1/links/register", &[], &bob).await;
    assert_eq!(again.body["data"], asked.body["data"], "whether there is an account does not show");
    let mut waits = 0;
    for number in 0..6 {
        let body = json!({ "email": format!("n{number}@example.com") });
        let answer = ask(&env, "POST", "/api/v1/links/register", &[], &body).await;
        waits += u32::from(answer.status == 429 && answer.header("retry-after").is_some());
    }
    assert_eq!(waits, 3, "five an hour from a network");
}
