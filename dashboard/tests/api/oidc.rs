//! Logins elsewhere as a browser goes through them: the button, the way there, the way back.

use std::collections::BTreeMap;

use gristmill_core::access::Role;
use gristmill_service::accounts::{NewMember, OidcSettings, Providers};
use gristmill_service::{Actor, Order};
use gristmill_testkit::oidc::{CLIENT_ID, CLIENT_SECRET, FakeProvider};
use serde_json::{Value, json};

use crate::env::{self, Heard, TestEnv};
use crate::factors::enrol;
use crate::people::{PASSWORD, as_person, as_program, log_in, user};

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

/// Who the provider says that Olga is, who owns the tenant and the installation here.
fn olga() -> Value {
    json!({ "sub": "s-olga", "email": "olga@example.com", "email_verified": true })
}

impl World {
    /// Sends a form of our own page.
    async fn form(&self, cookie: &str, path: &str, fields: &[(&str, &str)]) -> Heard {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("cookie", cookie),
            ("sec-fetch-site", "same-origin"),
        ];
        self.env.send("POST", path, &headers, body.finish().as_bytes()).await
    }

    async fn linked(&self, cookie: &str) -> Vec<Value> {
        let listed = as_person(&self.env, cookie, "GET", "/api/v1/me/logins", &Value::Null).await;
        listed.data().as_array().unwrap_or_else(|| panic!("{listed:?}")).clone()
    }

    /// Logs in by the provider, and returns the cookie of the session.
    async fn by_provider(&self, claims: &Value) -> Result<String, Heard> {
        let (location, kept) = self.begin("/").await;
        let back = self.back(&location, &kept, claims).await;
        let session = cookies(&back).into_iter().find(|(name, value)| name == "gristmill" && !value.is_empty());
        session.map(|(_, secret)| format!("gristmill={secret}")).ok_or(back)
    }

    /// The way that a page goes on by itself.
    fn onward(page: &Heard) -> String {
        let refresh = page.header("refresh").unwrap_or_else(|| panic!("it goes on: {page:?}"));
        refresh.strip_prefix("0; url=").expect("an address").to_owned()
    }
}

#[tokio::test]
async fn a_person_links_a_login_on_the_page_of_their_account_and_unlinks_it() {
    let world = world().await;
    user(&world.env, "olga", Role::Owner).await;
    let refused = world.by_provider(&olga()).await.expect_err("an address alone opens no owner's account");
    assert!(refused.status == 403 && refused.text.contains("on the page of your account"), "{refused:?}");
    let own = log_in(&world.env, "olga").await;
    let page = world.env.send("GET", "/account/logins", &[("cookie", &own)], b"").await;
    assert!(page.text.contains("Company") && page.text.contains("/account/logins/link"), "{}", page.text);
    let wrong = [("provider", "work"), ("proof", "not the password")];
    let wrong = world.form(&own, "/account/logins/link", &wrong).await;
    assert_eq!((wrong.status, wrong.header("refresh")), (422, None), "{wrong:?}");
    let begun = world.form(&own, "/account/logins/link", &[("provider", "work"), ("proof", PASSWORD)]).await;
    let location = World::onward(&begun);
    assert!(location.starts_with(&format!("{}/authorize?", world.provider.issuer())), "{location}");
    let kept = cookies(&begun).into_iter().find(|(name, _)| name == "gristmill-login").expect("kept").1;
    // The cookie of the session does not come with what the provider begins.
    let back = world.back(&location, &kept, &olga()).await;
    assert!(back.status == 200 && cookies(&back).is_empty(), "no session is opened: {back:?}");
    let finish = World::onward(&back);
    assert!(finish.starts_with("/account/logins/back/work?code="), "{finish}");
    let both = format!("{own}; gristmill-login={kept}");
    let other = log_in(&world.env, "olga").await;
    let elsewhere = format!("{other}; gristmill-login={kept}");
    for (cookie, linked) in [(&elsewhere, 0), (&both, 1), (&both, 1)] {
        let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", "same-origin")];
        let done = world.env.send("GET", &finish, &headers, b"").await;
        assert_eq!((done.status, done.header("location")), (303, Some("/account/logins")), "{done:?}");
        assert_eq!(world.linked(&own).await.len(), linked);
    }
    let listed = world.linked(&own).await;
    assert_eq!((&listed[0]["provider"], &listed[0]["subject"]), (&json!("work"), &json!("s-olga")), "{listed:?}");
    let shown = world.env.send("GET", "/account/logins", &[("cookie", &own)], b"").await;
    assert!(shown.text.contains("s-olga") && !shown.text.contains("/account/logins/link"), "{}", shown.text);
    let by_provider = world.by_provider(&olga()).await.expect("it is known");
    let me = as_person(&world.env, &by_provider, "GET", "/api/v1/me", &Value::Null).await;
    assert_eq!((me.status, &me.data()["role"]), (200, &json!("owner")), "{me:?}");
    let issuer = world.provider.issuer();
    let unlinked = world.form(&own, "/account/logins/unlink", &[("issuer", &issuer)]).await;
    assert_eq!(unlinked.status, 303, "{unlinked:?}");
    assert!(world.linked(&own).await.is_empty());
    assert_eq!(as_person(&world.env, &by_provider, "GET", "/api/v1/me", &Value::Null).await.status, 401, "it is over");
    world.by_provider(&olga()).await.expect_err("it is known no more");
}

#[tokio::test]
async fn a_link_is_begun_with_all_that_a_login_asks_for_and_by_no_program() {
    let world = world().await;
    let id = user(&world.env, "olga", Role::Owner).await;
    let own = log_in(&world.env, "olga").await;
    let codes = enrol(&world.env, &own, &id).await;
    let begin = async |body: Value| as_person(&world.env, &own, "POST", "/api/v1/me/logins", &body).await;
    let wrong = begin(json!({ "provider": "work", "password": "not the password", "code": codes[0] })).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (403, None), "{wrong:?}");
    let bare = begin(json!({ "provider": "work", "password": PASSWORD })).await;
    assert_eq!((bare.status, bare.faults()), (422, vec!["/code"]), "{bare:?}");
    let none = begin(json!({ "provider": "none", "password": PASSWORD, "code": codes[0] })).await;
    assert_eq!(none.status, 404, "{none:?}");
    let with = json!({ "provider": "work", "password": PASSWORD, "code": codes[0] });
    let begun = begin(with.clone()).await;
    let location = begun.data()["location"].as_str().unwrap_or_else(|| panic!("{begun:?}")).to_owned();
    assert!(location.starts_with(&format!("{}/authorize?", world.provider.issuer())), "{location}");
    assert_eq!(cookies(&begun).len(), 1);
    assert_eq!(begin(with.clone()).await.status, 403, "a code is taken once");
    let token = as_person(&world.env, &own, "POST", "/api/v1/tokens", &json!({ "name": "ci" })).await;
    let token = token.data()["secret"].as_str().unwrap_or_else(|| panic!("{token:?}")).to_owned();
    for (method, path) in [("GET", "/api/v1/me/logins"), ("POST", "/api/v1/me/logins")] {
        let refused =
            as_program(&world.env, &token, method, path, if method == "GET" { &Value::Null } else { &with }).await;
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
    }
    let unknown = json!({ "issuer": "https://nowhere.example" });
    assert_eq!(as_person(&world.env, &own, "POST", "/api/v1/me/logins/unlink", &unknown).await.status, 404);
}
