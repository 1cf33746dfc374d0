//! Logins elsewhere: who is taken for whom, and every way in which another login could be slipped in.

use std::collections::BTreeMap;

use chrono::Utc;
use gristmill_core::access::Role;
use gristmill_core::audit::Action;
use gristmill_core::id::{DEFAULT_TENANT, UserId};
use gristmill_service::Order;
use gristmill_service::accounts::{
    AccountError, AccountSettings, Accounts, BegunLogin, LinkProof, LoginAnswer, OidcSettings, Passwords, Proof,
    Providers, Secret, Visitor,
};
use gristmill_store::StoreError;
use gristmill_store::accounts::{Appointer, Quotas, Recognition};
use gristmill_testkit::oidc::{Agreed, CLIENT_ID, CLIENT_SECRET, FakeProvider};
use serde_json::{Value, json};

use crate::env::{TestEnv, databases, order, sqlite_env};
use crate::people::{PASSWORD, add, address, entries, leaves};

/// Where people reach the server.
const URL: &str = "https://jobs.example.com";

/// A server with one provider.
struct World {
    provider: FakeProvider,
    accounts: Accounts,
}

fn now() -> i64 {
    Utc::now().timestamp()
}

fn visitor() -> Visitor {
    Visitor { address: "192.0.2.1".to_owned(), agent: Some("a browser".to_owned()), replaces: None }
}

async fn world(env: &TestEnv, change: impl FnOnce(&mut OidcSettings)) -> World {
    let provider = FakeProvider::start().await;
    let secret = env.dir.path().join("client.secret");
    std::fs::write(&secret, CLIENT_SECRET).expect("written");
    let mut settings = OidcSettings {
        issuer: provider.issuer(),
        client_id: CLIENT_ID.to_owned(),
        client_secret_file: Some(secret.display().to_string()),
        ..OidcSettings::default()
    };
    change(&mut settings);
    assert_eq!(settings.faults(), []);
    let providers = Providers::new(&BTreeMap::from([("work".to_owned(), settings)])).expect("a provider");
    let settings = AccountSettings { url: URL.to_owned(), ..AccountSettings::default() };
    let accounts = Accounts::new(env.service.clone(), Passwords::weak(), settings).with_providers(providers);
    World { provider, accounts }
}

impl World {
    async fn begin(&self) -> BegunLogin {
        self.accounts.begin_elsewhere("work", "/jobs", now()).await.expect("begun")
    }

    /// What a browser comes back with, when the provider says this of its person.
    fn come_back(&self, begun: &BegunLogin, claims: &Value) -> LoginAnswer {
        let Agreed { state, code, redirect } = self.provider.agree(&begun.location, claims);
        assert_eq!(redirect, format!("{URL}/login/back/work"));
        LoginAnswer {
            kept: Some(begun.kept.clone()),
            state: Some(state),
            code: Some(Secret::new(code)),
            ..LoginAnswer::default()
        }
    }

    async fn finish(&self, answer: &LoginAnswer) -> Result<(UserId, Secret), AccountError> {
        let (logged_in, next) = self.accounts.finish_elsewhere(&order(), "work", (answer, &visitor()), now()).await?;
        assert_eq!(next, "/jobs");
        Ok((logged_in.session.user, logged_in.secret))
    }

    /// A whole login.
    async fn log_in(&self, claims: &Value) -> Result<(UserId, Secret), AccountError> {
        let begun = self.begin().await;
        self.finish(&self.come_back(&begun, claims)).await
    }

    /// Begins to link a login to an account, in a session.
    async fn begin_link(&self, user: UserId, password: &str, own: &Secret) -> Result<BegunLogin, AccountError> {
        let proof = Proof { user, password: Secret::new(password), address: "192.0.2.1".to_owned() };
        let proof = LinkProof { proof, code: None, session: own.clone() };
        self.accounts.begin_link(&order(), "work", &proof, now()).await
    }

    async fn finish_link(&self, user: UserId, own: &Secret, answer: &LoginAnswer) -> Result<bool, AccountError> {
        self.accounts.finish_link(&order(), "work", (user, own, answer), now()).await
    }

    /// Links a login to an account.
    async fn link(&self, user: UserId, password: &str, own: &Secret, claims: &Value) -> Result<bool, AccountError> {
        let begun = self.begin_link(user, password, own).await?;
        self.finish_link(user, own, &self.come_back(&begun, claims)).await
    }

    async fn role(&self, session: &Secret) -> Option<Role> {
        match self.accounts.recognizer().session(session, Some(DEFAULT_TENANT)).await.expect("asked") {
            Some(Recognition::Known(recognized)) => Some(recognized.principal.role),
            _ => None,
        }
    }
}

/// Leaves the entries of a login that may not take an account, and of one that its user links and unlinks.
pub(crate) async fn linked_and_refused(env: &TestEnv) {
    let world = world(env, |_| {}).await;
    let olga = add(&world.accounts, &order(), "olga", Some(Role::Owner)).await;
    let claims = json!({ "sub": "s-olga", "email": "olga@example.com", "email_verified": true });
    denied(world.log_in(&claims).await, "by the address alone");
    let own = Secret::new("gms_own");
    let about = |action| (DEFAULT_TENANT, action, "olga@example.com");
    let (_, details) = leaves(env, about(Action::LoginLink), async {
        assert!(world.link(olga, PASSWORD, &own, &claims).await.expect("linked"));
    })
    .await;
    assert_eq!((&details["issuer"], &details["subject"]), (&json!(world.provider.issuer()), &json!("s-olga")));
    assert!(!world.link(olga, PASSWORD, &own, &claims).await.expect("there already"));
    leaves(env, about(Action::LoginUnlink), async {
        assert!(world.accounts.unlink(&order(), olga, &world.provider.issuer(), None).await.expect("unlinked"));
    })
    .await;
}

fn ada(verified: bool) -> Value {
    json!({ "sub": "s-ada", "email": "ada@example.com", "email_verified": verified, "name": "Ada" })
}

fn refused(login: Result<(UserId, Secret), AccountError>, said: &str) {
    match login {
        Err(AccountError::Refused(why)) => assert!(why.contains(said), "{said}: {why}"),
        other => panic!("{said}: {other:?}"),
    }
}

fn denied(login: Result<(UserId, Secret), AccountError>, said: &str) {
    match login {
        Err(AccountError::Store(StoreError::Denied(why))) => assert!(why.contains(said), "{said}: {why}"),
        other => panic!("{said}: {other:?}"),
    }
}

#[tokio::test]
async fn an_account_is_linked_by_a_verified_address_once_and_known_by_its_subject_from_then_on() {
    for env in databases().await {
        let world = world(&env, |_| {}).await;
        let user = add(&world.accounts, &order(), "ada", Some(Role::Operator)).await;
        denied(world.log_in(&ada(false)).await, "verified no address");
        let mut session = None;
        let (_, details) = leaves(&env, (DEFAULT_TENANT, Action::SessionOpen, "ada@example.com"), async {
            session = world.log_in(&ada(true)).await.ok();
        })
        .await;
        assert_eq!((&details["linked"], &details["made"]), (&json!(true), &json!(false)), "{details}");
        assert_eq!(details["issuer"], world.provider.issuer());
        let (found, secret) = session.expect("logged in");
        assert_eq!((found, world.role(&secret).await), (user, Some(Role::Operator)));
        let moved = json!({ "sub": "s-ada", "email": "other@example.com", "email_verified": true });
        assert_eq!(world.log_in(&moved).await.expect("known by the subject").0, user);
        let unverified = json!({ "sub": "s-ada" });
        assert_eq!(world.log_in(&unverified).await.expect("no address is needed").0, user);
        // The address is given to another person there.
        let heir = json!({ "sub": "s-heir", "email": "ada@example.com", "email_verified": true });
        denied(world.log_in(&heir).await, "another login of this issuer");
        world.accounts.switch_user(&order(), user, false).await.expect("disabled");
        denied(world.log_in(&ada(true)).await, "not active");
    }
}

#[tokio::test]
async fn people_without_an_account_get_one_only_where_that_is_said() {
    for env in databases().await {
        let closed = world(&env, |_| {}).await;
        denied(closed.log_in(&ada(true)).await, "no account");
        let open = world(&env, |settings| {
            settings.create = true;
            settings.role = Some(Role::Viewer);
            settings.domains = vec!["Example.com".to_owned()];
        })
        .await;
        let (user, secret) = open.log_in(&ada(true)).await.expect("made");
        assert_eq!(open.role(&secret).await, Some(Role::Viewer));
        let seen = env.store.user(user).await.expect("asked").expect("there");
        assert_eq!((seen.name.as_str(), seen.email.as_str(), seen.has_password), ("Ada", "ada@example.com", false));
        for email in ["eve@evil.test", "eve@sub.example.com", "example.com@evil.test"] {
            let claims = json!({ "sub": "s-eve", "email": email, "email_verified": true });
            denied(open.log_in(&claims).await, "domain");
        }
        let unverified = json!({ "sub": "s-eve", "email": "eve@example.com", "email_verified": false });
        denied(open.log_in(&unverified).await, "domain");
    }
}

#[tokio::test]
async fn an_account_is_not_taken_by_its_address_where_that_is_off() {
    let env = sqlite_env().await;
    let world = world(&env, |settings| {
        settings.link = false;
        settings.create = true;
    })
    .await;
    add(&world.accounts, &order(), "ada", Some(Role::Admin)).await;
    denied(world.log_in(&ada(true)).await, "not known by this login");
    let bob = json!({ "sub": "s-bob", "email": "bob@example.com", "email_verified": true });
    assert!(world.log_in(&bob).await.is_ok(), "one that no account has");
}

#[tokio::test]
async fn roles_follow_the_groups_at_each_login_and_no_owner_loses_their_place() {
    for env in databases().await {
        let world = world(&env, |settings| {
            settings.create = true;
            settings.role_claim = "groups".to_owned();
            let roles = [("admins", Role::Admin), ("ops", Role::Operator)];
            settings.roles = roles.into_iter().map(|(group, role)| (group.to_owned(), role)).collect();
        })
        .await;
        let claims = |groups: Value| {
            let mut claims = ada(true);
            claims["groups"] = groups;
            claims
        };
        denied(world.log_in(&claims(json!(["others"]))).await, "groups");
        assert!(env.store.user_by_email(&address("ada")).await.expect("asked").is_none(), "nothing is left of it");
        for (groups, role) in [
            (json!(["ops"]), Role::Operator),
            (json!(["ops", "admins"]), Role::Admin),
            (json!(["ops"]), Role::Operator),
        ] {
            let (_, secret) = world.log_in(&claims(groups)).await.expect("logged in");
            assert_eq!(world.role(&secret).await, Some(role));
        }
        denied(world.log_in(&claims(json!([]))).await, "groups");
        let owner = add(&world.accounts, &order(), "olga", Some(Role::Owner)).await;
        let olga = json!({ "sub": "s-olga", "email": "olga@example.com", "email_verified": true, "groups": ["ops"] });
        denied(world.log_in(&olga).await, "by the address alone");
        let own = Secret::new("gms_own");
        assert!(world.link(owner, PASSWORD, &own, &olga).await.expect("linked by themselves"));
        let (found, secret) = world.log_in(&olga).await.expect("logged in");
        assert_eq!((found, world.role(&secret).await), (owner, Some(Role::Owner)), "an owner stays one");
    }
}

#[tokio::test]
async fn a_login_is_linked_in_the_session_that_began_it_and_by_its_password_alone() {
    for env in databases().await {
        let world = world(&env, |settings| settings.domains = vec!["example.com".to_owned()]).await;
        let user = add(&world.accounts, &order(), "ada", Some(Role::Owner)).await;
        let (own, other) = (Secret::new("gms_own"), Secret::new("gms_other"));
        let wrong = world.begin_link(user, "not the password", &own).await;
        assert!(matches!(wrong, Err(AccountError::WrongPassword)), "{wrong:?}");
        let begun = world.begin_link(user, PASSWORD, &own).await.expect("begun");
        let answer = world.come_back(&begun, &ada(true));
        assert!(answer.is_link());
        let said = |found: Result<bool, AccountError>, said: &str| {
            let error = found.expect_err(said).to_string();
            assert!(error.contains(said), "{said}: {error}");
        };
        said(world.finish_link(user, &other, &answer).await, "your session has not begun");
        // A login of another person's, slipped in: it was begun to open a session.
        let theirs = world.begin().await;
        let slipped =
            world.come_back(&theirs, &json!({ "sub": "s-eve", "email": "eve@example.com", "email_verified": true }));
        assert!(!slipped.is_link());
        said(world.finish_link(user, &own, &slipped).await, "your session has not begun");
        refused(world.finish(&answer).await, "opens none");
        let foreign = json!({ "sub": "s-eve", "email": "eve@evil.test", "email_verified": true });
        let elsewhere = world.begin_link(user, PASSWORD, &own).await.expect("begun");
        said(world.finish_link(user, &own, &world.come_back(&elsewhere, &foreign)).await, "domain");
        assert!(world.finish_link(user, &own, &answer).await.expect("linked"));
        let seen = world.accounts.logins(user).await.expect("asked");
        let (provider, subject) = (seen[0].provider.as_deref(), seen[0].login.subject.as_str());
        assert_eq!((seen.len(), provider, subject), (1, Some("work"), "s-ada"));
        assert_eq!(world.log_in(&ada(true)).await.expect("known").0, user);
        let bob = add(&world.accounts, &order(), "bob", Some(Role::Viewer)).await;
        said(world.link(bob, PASSWORD, &own, &ada(true)).await, "of another account");
    }
}

#[tokio::test]
async fn a_provider_of_one_tenant_takes_no_account_that_is_more_elsewhere() {
    for env in databases().await {
        let world = world(&env, |settings| {
            settings.create = true;
            settings.tenant = "north".to_owned();
            settings.role = Some(Role::Admin);
        })
        .await;
        let accounts = &world.accounts;
        for tenant in ["north", "south"] {
            accounts.create_tenant(&order(), tenant, Quotas::default(), None).await.expect("created");
        }
        let owner = add(accounts, &order(), "ada", Some(Role::Owner)).await;
        accounts.set_installation(&order(), owner, true).await.expect("changed");
        let at = |tenant: &str| Order { tenant: tenant.to_owned(), ..order() };
        let both = add(accounts, &at("north"), "bob", Some(Role::Viewer)).await;
        accounts.set_role(&at("south"), Appointer::Installation, both, Role::Admin).await.expect("set");
        let before = entries(&env).await;
        for (name, chain, why) in [("ada", DEFAULT_TENANT, "owner"), ("bob", "north", "elsewhere")] {
            let email = format!("{name}@example.com");
            let claims = json!({ "sub": format!("eve-as-{name}"), "email": email, "email_verified": true });
            let (entry, details) = leaves(&env, (chain, Action::LoginRefuse, &email), async {
                denied(world.log_in(&claims).await, "log in with the account's password");
                denied(world.log_in(&claims).await, "log in with the account's password");
            })
            .await;
            assert_eq!((&details["why"], &details["provider_tenant"]), (&json!(why), &json!("north")), "{entry:?}");
            assert_eq!(details["subject"], json!(format!("eve-as-{name}")));
        }
        assert_eq!(entries(&env).await, before + 2, "tries again and again do not fill the audit");
        let carol = add(accounts, &at("north"), "carol", Some(Role::Viewer)).await;
        let claims = json!({ "sub": "s-carol", "email": "carol@example.com", "email_verified": true });
        let (found, session) = world.log_in(&claims).await.expect("one of the provider's tenant alone");
        let seen = env.store.user(carol).await.expect("asked").expect("there");
        assert_eq!((found, seen.memberships[0].role), (carol, Role::Admin));
        // An invitation by another tenant: what the provider has opened does not go on there.
        accounts.set_role(&at("south"), Appointer::Installation, carol, Role::Viewer).await.expect("set");
        let asked = accounts.recognizer().session(&session, Some("south")).await.expect("asked");
        assert!(!matches!(asked, Some(Recognition::Known(_))), "{asked:?}");
        denied(world.log_in(&claims).await, "by the address alone");
    }
}

#[tokio::test]
async fn a_subject_is_known_to_the_letter() {
    let env = sqlite_env().await;
    let world = world(&env, |_| {}).await;
    add(&world.accounts, &order(), "ada", Some(Role::Operator)).await;
    world.log_in(&ada(true)).await.expect("linked");
    for subject in ["s-ada ", " s-ada", "S-ADA", "s-ada\n"] {
        denied(world.log_in(&json!({ "sub": subject })).await, "no account is known by this login");
    }
}

#[tokio::test]
async fn what_comes_back_is_taken_once_and_by_the_browser_that_began() {
    for env in databases().await {
        let world = world(&env, |_| {}).await;
        add(&world.accounts, &order(), "ada", Some(Role::Operator)).await;
        let begun = world.begin().await;
        let answer = world.come_back(&begun, &ada(true));
        refused(world.finish(&LoginAnswer { kept: None, ..answer.clone() }).await, "begun no such login");
        let others = world.begin().await;
        let slipped = LoginAnswer { kept: Some(others.kept.clone()), ..answer.clone() };
        refused(world.finish(&slipped).await, "not the login");
        refused(world.finish(&LoginAnswer { state: Some("x".to_owned()), ..answer.clone() }).await, "not the login");
        let from = LoginAnswer { issuer: Some("https://evil.test".to_owned()), ..answer.clone() };
        refused(world.finish(&from).await, "another provider");
        let late = world.accounts.finish_elsewhere(&order(), "work", (&answer, &visitor()), now() + 601).await;
        refused(late.map(|(logged_in, _)| (logged_in.session.user, logged_in.secret)), "too long");
        let other = world.accounts.finish_elsewhere(&order(), "none", (&answer, &visitor()), now()).await;
        refused(other.map(|(logged_in, _)| (logged_in.session.user, logged_in.secret)), "no login of this name");
        world.finish(&answer).await.expect("the first time");
        refused(world.finish(&answer).await, "answers 400");
        // With a fresh code of the provider's, the state is spent all the same.
        let again = world.provider.agree(&begun.location, &ada(true));
        let replayed = LoginAnswer { code: Some(Secret::new(again.code)), ..answer };
        denied(world.finish(&replayed).await, "come back already");
    }
}

#[tokio::test]
async fn a_code_of_another_login_opens_nothing() {
    let env = sqlite_env().await;
    let world = world(&env, |_| {}).await;
    add(&world.accounts, &order(), "ada", Some(Role::Operator)).await;
    let (victims, attackers) = (world.begin().await, world.begin().await);
    let stolen = world.come_back(&victims, &ada(true)).code;
    let own = world.come_back(&attackers, &ada(true));
    refused(world.finish(&LoginAnswer { code: stolen, ..own }).await, "answers 400");
}

#[tokio::test]
async fn a_token_that_is_not_for_this_login_is_refused() {
    let env = sqlite_env().await;
    let world = world(&env, |_| {}).await;
    add(&world.accounts, &order(), "ada", Some(Role::Operator)).await;
    let with = |name: &str, value: Value| {
        let mut claims = ada(true);
        claims[name] = value;
        claims
    };
    for (name, value, said) in [
        ("aud", json!("another-client"), "another client"),
        ("iss", json!("https://evil.test"), "another issuer"),
        ("exp", json!(now() - 3_600), "over"),
        ("nonce", json!("another"), "another login"),
        ("nonce", Value::Null, "another login"),
        ("sub", Value::Null, "no subject"),
    ] {
        refused(world.log_in(&with(name, value)).await, said);
    }
    for alg in ["none", "HS256"] {
        world.provider.head(json!({ "alg": alg, "kid": "1" }));
        refused(world.log_in(&ada(true)).await, "not taken");
    }
}

#[tokio::test]
async fn keys_are_read_again_for_one_that_is_new_and_a_forger_gets_nowhere() {
    let env = sqlite_env().await;
    let first = world(&env, |_| {}).await;
    add(&first.accounts, &order(), "ada", Some(Role::Operator)).await;
    for _ in 0..3 {
        first.log_in(&ada(true)).await.expect("logged in");
    }
    assert_eq!(first.provider.asked("/keys"), 1, "keys are kept");
    first.provider.forge();
    refused(first.log_in(&ada(true)).await, "signature");
    assert_eq!(first.provider.asked("/keys"), 1, "a forger has none read again");
    let second = world(&env, |_| {}).await;
    let begun = second.begin().await;
    second.provider.rotate();
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    tokio::time::resume();
    let bob = json!({ "sub": "s-bob" });
    denied(second.finish(&second.come_back(&begun, &bob)).await, "verified no address");
    assert_eq!(second.provider.asked("/keys"), 2, "its new key is taken");
}

#[tokio::test]
async fn a_provider_that_is_away_or_another_one_is_said_to_be_so() {
    let env = sqlite_env().await;
    let port = gristmill_testkit::http::closed_port().await;
    let away = world(&env, |settings| settings.issuer = format!("http://127.0.0.1:{port}")).await;
    let error = away.accounts.begin_elsewhere("work", "/", now()).await.expect_err("away");
    assert!(matches!(error, AccountError::Away(_)), "{error}");
    let other = world(&env, |settings| settings.issuer = format!("{}/", settings.issuer)).await;
    let error = other.accounts.begin_elsewhere("work", "/", now()).await.expect_err("another name");
    assert!(error.to_string().contains("another name"), "{error}");
    let wrong = world(&env, |settings| settings.client_secret_file = None).await;
    let begun = wrong.begin().await;
    refused(wrong.finish(&wrong.come_back(&begun, &ada(true))).await, "answers 400");
}
