//! Logging in, logging out, and the links that are used once, by forms alone.

use gristmill_core::access::Role;
use gristmill_service::accounts::{NewMember, Secret};
use gristmill_service::{Actor, Order};

use crate::env::{Heard, TestEnv, with_accounts, with_registration};
use crate::factors::{enrol, shown};
use crate::pages::browser::{check, encoded, look, send, values};

const PASSWORD: &str = "correct horse battery";

fn order() -> Order {
    Order::new("main", Actor::Operator("test".to_owned()))
}

/// The cookie that an answer sets, as a browser sends it back.
fn cookie(answer: &Heard) -> String {
    let set = answer.header("set-cookie").unwrap_or_else(|| panic!("a cookie: {answer:?}"));
    set.split(';').next().expect("a pair").to_owned()
}

async fn as_person(env: &TestEnv, cookie: &str, method: &str, path: &str) -> Heard {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let headers = [form, ("cookie", cookie), ("sec-fetch-site", "same-origin"), ("accept", "text/html")];
    env.send(method, path, &headers, b"").await
}

#[tokio::test]
async fn the_first_owner_uses_the_link_logs_in_and_out() {
    let env = with_accounts().await;
    let link = env.accounts.first_owner_link(&order()).await.expect("made");
    let pasted = format!("https://jobs.example.com/link#{}", link.expose());
    let opened = send(&env, None, "/link", &[("link", &pasted)]).await;
    assert_eq!((opened.status, opened.header("cache-control")), (200, Some("no-store")));
    check("/link", &opened);
    assert!(values(&opened.text, "action").contains(&"/link/first-owner"), "{}", opened.text);
    let fields = |password: &'static str| {
        [("link", link.expose()), ("email", "ada@example.com"), ("name", "Ada <b>"), ("password", password)]
    };
    let weak = send(&env, None, "/link/first-owner", &fields("short")).await;
    assert_eq!(weak.status, 422);
    assert!(weak.text.contains("class=\"fault\"") && weak.text.contains("Ada &lt;b&gt;"), "{}", weak.text);
    assert!(!weak.text.contains("short\""), "a password is not shown again");
    let made = send(&env, None, "/link/first-owner", &fields(PASSWORD)).await;
    assert_eq!((made.status, made.header("location")), (303, Some("/login")), "{made:?}");
    assert_eq!(send(&env, None, "/link/first-owner", &fields(PASSWORD)).await.status, 404, "a link is used once");
    let pairs = [("email", "ada@example.com"), ("password", PASSWORD), ("next", "/batches")];
    let login = send(&env, None, "/login", &pairs).await;
    assert_eq!((login.status, login.header("location")), (303, Some("/batches")), "{login:?}");
    assert!(login.header("set-cookie").expect("a cookie").contains("HttpOnly; SameSite=Strict"));
    let session = cookie(&login);
    let page = as_person(&env, &session, "GET", "/batches").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("ada@example.com") && page.text.contains("action=\"/logout\""), "{}", page.text);
    let out = as_person(&env, &session, "POST", "/logout").await;
    assert_eq!((out.status, out.header("location")), (303, Some("/login")));
    assert!(out.head.contains("Max-Age=0"), "{}", out.head);
    assert_eq!(as_person(&env, &session, "GET", "/batches").await.status, 303, "at once");
}

#[tokio::test]
async fn a_new_password_is_chosen_by_a_link_and_nobody_learns_who_has_an_account() {
    let env = with_accounts().await;
    let email = "bob@example.com".parse().expect("an address");
    let member = NewMember { email, name: "Bob".to_owned(), role: Some(Role::Viewer) };
    env.accounts.add_user(&order(), &member, Some(&Secret::new(PASSWORD)), false).await.expect("added");
    let asked = send(&env, None, "/link/ask", &[("email", "bob@example.com")]).await;
    let unknown = send(&env, None, "/link/ask", &[("email", "eve@example.com")]).await;
    assert_eq!((asked.status, asked.header("set-cookie")), (303, unknown.header("set-cookie")));
    assert_eq!(send(&env, None, "/link/ask", &[("email", "no address")]).await.status, 422);
    let link =
        env.accounts.reset_link_for(&order(), &"bob@example.com".parse().expect("an address")).await.expect("made");
    let form = send(&env, None, "/link", &[("link", link.expose())]).await;
    assert!(form.text.contains("bob@example.com") && form.text.contains("action=\"/link/reset\""), "{}", form.text);
    let changed =
        send(&env, None, "/link/reset", &[("link", link.expose()), ("password", "another horse battery")]).await;
    assert_eq!(changed.header("location"), Some("/login"), "{changed:?}");
    let old = [("email", "bob@example.com"), ("password", PASSWORD)];
    assert_eq!(send(&env, None, "/login", &old).await.status, 422);
    let new = [("email", "bob@example.com"), ("password", "another horse battery"), ("next", "//evil.example")];
    let login = send(&env, None, "/login", &new).await;
    assert_eq!((login.status, login.header("location")), (303, Some("/")), "{login:?}");
}

#[tokio::test]
async fn a_link_that_does_nothing_says_so_and_a_login_from_elsewhere_is_refused() {
    let env = with_accounts().await;
    let dead = send(&env, None, "/link", &[("link", "gml_unknown")]).await;
    assert_eq!(dead.status, 422);
    assert!(dead.text.contains("the link does nothing"), "{}", dead.text);
    let body = encoded(&[("email", "ada@example.com"), ("password", PASSWORD)]);
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "cross-site")];
    assert_eq!(env.send("POST", "/login", &headers, body.as_bytes()).await.status, 403);
    assert_eq!(look(&env, None, "/link").await.status, 200);
}

#[tokio::test]
async fn a_stranger_makes_an_account_by_a_mailed_link_where_that_is_open() {
    let closed = with_accounts().await;
    assert!(!look(&closed, None, "/login").await.text.contains("/link/register"));
    assert_eq!(send(&closed, None, "/link/register", &[("email", "bob@example.com")]).await.status, 403);
    let env = with_registration().await;
    assert!(look(&env, None, "/login").await.text.contains("/link/register"));
    check("/link/register", &look(&env, None, "/link/register").await);
    assert_eq!(send(&env, None, "/link/register", &[("email", "no address")]).await.status, 422);
    let asked = send(&env, None, "/link/register", &[("email", "bob@example.com")]).await;
    assert_eq!((asked.status, asked.header("location")), (303, Some("/login")), "{asked:?}");
    let link = crate::people::mailed(&env).await;
    let opened = send(&env, None, "/link", &[("link", &link)]).await;
    assert!(values(&opened.text, "action").contains(&"/link/verify"), "{}", opened.text);
    assert!(opened.text.contains("bob@example.com"), "{}", opened.text);
    let fields = |password: &'static str| [("link", link.as_str()), ("name", "Bob"), ("password", password)];
    assert_eq!(send(&env, None, "/link/verify", &fields("short")).await.status, 422);
    assert_eq!(send(&env, None, "/link/verify", &fields(PASSWORD)).await.status, 303);
    assert_eq!(send(&env, None, "/link/verify", &fields(PASSWORD)).await.status, 404, "a link is used once");
    let login = [("email", "bob@example.com"), ("password", PASSWORD)];
    assert_eq!(send(&env, None, "/login", &login).await.status, 303);
}

#[tokio::test]
async fn a_login_asks_for_the_second_factor() {
    let env = with_accounts().await;
    let id = crate::people::user(&env, "ada", Role::Owner).await;
    let session = crate::people::log_in(&env, "ada").await;
    enrol(&env, &session, &id).await;
    let with = async |code: &str| {
        let pairs = [("email", "ada@example.com"), ("password", crate::people::PASSWORD), ("code", code)];
        send(&env, None, "/login", &pairs).await
    };
    let (without, wrong) = (with("").await, with("000000").await);
    assert_eq!((without.status, wrong.status), (422, 422));
    assert!(without.text.contains("your account has a second factor"), "{}", without.text);
    assert!(wrong.text.contains("is wrong, or was used already"), "{}", wrong.text);
    let next = shown(&env, &id, 1).await;
    let login = with(&next).await;
    assert_eq!((login.status, login.header("location")), (303, Some("/")), "{login:?}");
}
