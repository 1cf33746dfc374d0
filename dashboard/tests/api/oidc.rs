//! Logins elsewhere as a browser goes through them: the button, the way there, the way back.

use std::collections::BTreeMap;

use gristmill_core::access::Role;
use gristmill_service::accounts::{NewMember, OidcSettings, Providers};
use gristmill_service::{Actor, Order};
use gristmill_testkit::oidc::{CLIENT_ID, CLIENT_SECRET, FakeProvider};
use serde_json::{Value, json};

use crate::env::{self, Heard, TestEnv};
use crate::people::as_person;

struct World {
    provider: FakeProvider,
    env: TestEnv,
    _secret: tempfile::TempDir,
}

async fn world() -> World {
    let provider = FakeProvider::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, CLIENT_SECRET).expect("written");
    let settings = OidcSettings {
        title: "Company".to_owned(),
        issuer: provider.issuer(),
        client_id: CLIENT_ID.to_owned(),
        client_secret_file: Some(file.display().to_string()),
        ..OidcSettings::default()
    };
    let providers = Providers::new(&BTreeMap::from([("work".to_owned(), settings)])).expect("a provider");
    let env = env::with_providers(providers).await;
    let member = NewMember {
        email: "ada@example.com".parse().expect("an address"),
        name: "Ada".to_owned(),
        role: Some(Role::Viewer),
    };
    let order = Order::new("main", Actor::Operator("test".to_owned()));
    env.accounts.add_user(&order, &member, None, false).await.expect("added");
    World { provider, env, _secret: folder }
}

/// Every cookie of an answer, as a browser would send it back.
fn cookies(answer: &Heard) -> Vec<(String, String)> {
    let set = answer.headers("set-cookie");
    let pair = |cookie: &String| {
        let pair = cookie.split(';').next().expect("a pair").to_owned();
        let (name, value) = pair.split_once('=').expect("a name");
        (name.to_owned(), value.to_owned())
    };
    set.iter().map(pair).collect()
}

fn ada() -> Value {
    json!({ "sub": "s-ada", "email": "ada@example.com", "email_verified": true })
}

impl World {
    async fn begin(&self, next: &str) -> (String, String) {
        let begun = self.env.get(&format!("/login/with/work?next={next}")).await;
        assert_eq!(begun.status, 303, "{begun:?}");
        let location = begun.header("location").expect("a way").to_owned();
        let kept = cookies(&begun).into_iter().find(|(name, _)| name == "gristmill-login").expect("a cookie").1;
        (location, kept)
    }

    async fn back(&self, location: &str, kept: &str, claims: &Value) -> Heard {
        let agreed = self.provider.agree(location, claims);
        let path = format!("/login/back/work?code={}&state={}&session_state=x&scope=openid", agreed.code, agreed.state);
        let cookie = format!("gristmill-login={kept}");
        // As a browser says when another site leads here.
        self.env.send("GET", &path, &[("cookie", &cookie), ("sec-fetch-site", "cross-site")], b"").await
    }
}

#[tokio::test]
async fn a_person_logs_in_by_the_button_and_goes_where_they_wanted() {
    let world = world().await;
    let page = world.env.get("/login?next=/jobs").await;
    assert!(page.text.contains("Log in with Company"), "{}", page.text);
    assert!(page.text.contains("href=\"/login/with/work?next=%2Fjobs\""), "{}", page.text);
    let (location, kept) = world.begin("/jobs").await;
    assert!(location.starts_with(&format!("{}/authorize?", world.provider.issuer())), "{location}");
    let back = world.back(&location, &kept, &ada()).await;
    assert_eq!(back.status, 200, "{back:?}");
    assert_eq!(back.header("refresh"), Some("0; url=/jobs"), "a page of ours goes on, so that the cookie is sent");
    let set = cookies(&back);
    assert!(set.contains(&("gristmill-login".to_owned(), String::new())), "what the login began with is gone: {set:?}");
    let session = set.iter().find(|(name, _)| name == "gristmill").expect("a session");
    let me = as_person(&world.env, &format!("gristmill={}", session.1), "GET", "/api/v1/me", &Value::Null).await;
    assert_eq!((me.status, &me.data()["role"]), (200, &json!("viewer")), "{me:?}");
    let again = world.back(&location, &kept, &ada()).await;
    assert_eq!(again.status, 403, "it comes back once: {again:?}");
    assert!(again.text.contains("come back already") && !cookies(&again).iter().any(|(name, _)| name == "gristmill"));
}

#[tokio::test]
async fn a_way_back_leads_to_no_other_site() {
    let world = world().await;
    for next in ["https://evil.test/", "//evil.test", "/%5Cevil.test", "javascript:alert(1)"] {
        let (location, kept) = world.begin(next).await;
        assert!(!location.contains("evil") && !location.contains("alert"), "{location}");
        let back = world.back(&location, &kept, &ada()).await;
        assert_eq!(back.header("refresh"), Some("0; url=/"), "{next}");
    }
}

#[tokio::test]
async fn what_is_refused_is_said_without_what_others_have_put_into_it() {
    let world = world().await;
    let (location, kept) = world.begin("/").await;
    let cookie = format!("gristmill-login={kept}");
    let state = world.provider.agree(&location, &ada()).state;
    let path = format!("/login/back/work?error=%3Cscript%3E&error_description=%3Cscript%3E&state={state}");
    let refused = world.env.send("GET", &path, &[("cookie", &cookie)], b"").await;
    assert_eq!(refused.status, 401);
    assert!(!refused.text.contains("<script>") && refused.text.contains("did not succeed"), "{}", refused.text);
    assert_eq!(world.env.get("/login/back/work?code=a&state=b").await.status, 401, "no cookie");
    assert_eq!(world.env.get("/login/with/none").await.status, 404);
    let forged = world.provider;
    forged.forge();
    assert_eq!(env::open().await.get("/login/with/work").await.status, 404, "no caller has to log in there");
}
