//! Each change of accounts leaves an entry in the audit, in the chain that it concerns, and nothing of a secret is in it.

use std::collections::BTreeSet;

use gristmill_core::access::Role;
use gristmill_core::audit::{Action, SealedEntry};
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::{DEFAULT_TENANT, INSTALLATION_TENANT, UserId};
use gristmill_service::Order;
use gristmill_service::accounts::totp::{STEP_SECONDS, code};
use gristmill_service::accounts::{
    AccountSettings, Accounts, Login, NewMember, Passwords, Proof, Secret, TokenRequest,
};
use gristmill_service::audit::{VerifyOptions, verify};
use gristmill_store::accounts::{Appointer, Quotas, WhichSessions};
use gristmill_store::{AuditFilter, JobFilter, Page};
use serde_json::{Value, json};

use crate::env::{TestEnv, order};
use crate::{oidc, registering};

pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) const OTHER: &str = "quite another password";

pub(crate) fn accounts(env: &TestEnv) -> Accounts {
    let key_file = env.dir.path().join("factors.key").display().to_string();
    Accounts::new(env.service.clone(), Passwords::weak(), AccountSettings { key_file, ..AccountSettings::default() })
}

pub(crate) fn address(name: &str) -> EmailAddress {
    format!("{name}@example.com").parse().expect("an address")
}

pub(crate) async fn add(accounts: &Accounts, order: &Order, name: &str, role: Option<Role>) -> UserId {
    let member = NewMember { email: address(name), name: name.to_owned(), role };
    accounts.add_user(order, &member, Some(&Secret::new(PASSWORD)), false).await.expect("added").id
}

pub(crate) fn login(name: &str, password: &str, network: &str) -> Login {
    let (account, password) = (format!("{name}@example.com"), Secret::new(password));
    let (address, agent) = (network.to_owned(), Some("a browser".to_owned()));
    Login { account, password, code: None, address, agent, replaces: None }
}

fn north() -> Order {
    Order { tenant: "north".to_owned(), ..order() }
}

/// The secret of the newest link that was mailed.
async fn mailed(env: &TestEnv) -> Secret {
    let filter = JobFilter { tenant: INSTALLATION_TENANT.to_owned(), ..JobFilter::default() };
    let id = env.store.jobs(&filter, &Page::default()).await.expect("listed").first().expect("a mail").id;
    let job = env.store.job(INSTALLATION_TENANT, id).await.expect("asked").expect("there");
    let url = job.payload["data"]["url"].as_str().expect("a link").to_owned();
    Secret::new(url.rsplit('#').next().expect("a secret"))
}

/// The entries of a chain, newest first.
pub(crate) async fn chain(env: &TestEnv, tenant: &str) -> Vec<SealedEntry> {
    let filter = AuditFilter { tenant: tenant.to_owned(), limit: 10_000, ..AuditFilter::default() };
    env.store.audit(&filter).await.expect("listed")
}

/// How many entries there are in all chains, whose heads are where they end.
pub(crate) async fn entries(env: &TestEnv) -> u64 {
    let heads = env.store.audit_heads(None).await.expect("asked");
    for head in &heads {
        let found = verify(&env.store, &head.tenant, &VerifyOptions::default()).await.expect("verified");
        assert_eq!(found.broken, None);
    }
    heads.iter().map(|head| head.end.seq).sum()
}

/// Asserts that an act leaves one entry, in this chain, with this action, about this; and returns what it did.
pub(crate) async fn leaves(
    env: &TestEnv,
    (tenant, action, target): (&str, Action, &str),
    act: impl Future<Output = ()>,
) -> (SealedEntry, Value) {
    let before = entries(env).await;
    act.await;
    let now = chain(env, tenant).await;
    let found = now.first().unwrap_or_else(|| panic!("`{tenant}` has no entry of {action}"));
    assert_eq!(entries(env).await, before + 1, "{action} on {}: {found:?}", env.home.url());
    assert_eq!((found.entry.action.as_str(), found.entry.target.as_str()), (action.as_str(), target));
    let details = serde_json::from_str(&found.entry.details).expect("JSON");
    (found.clone(), details)
}

/// Makes each verb over accounts leave its entry, and returns the actions that were seen.
pub(crate) async fn every_verb(env: &TestEnv) -> BTreeSet<String> {
    let accounts = accounts(env);
    first_owner(env, &accounts).await;
    let bob = users(env, &accounts).await;
    tenants_and_members(env, &accounts, bob).await;
    links(env, &accounts).await;
    sessions_and_tokens(env, &accounts).await;
    factors(env, &accounts).await;
    registering::refused(env).await;
    oidc::linked_and_refused(env).await;
    let mut seen = BTreeSet::new();
    for tenant in [DEFAULT_TENANT, INSTALLATION_TENANT, "north"] {
        let found = chain(env, tenant).await;
        let said = format!("{found:?}");
        for secret in [PASSWORD, OTHER, "$argon2", "gm_", "gms_", "gml_", "gmr_", "eyJ"] {
            assert!(!said.contains(secret), "`{secret}` is in the audit of {tenant}");
        }
        seen.extend(found.into_iter().map(|found| found.entry.action));
    }
    seen
}

async fn first_owner(env: &TestEnv, accounts: &Accounts) {
    let (_, details) = leaves(env, (DEFAULT_TENANT, Action::LinkCreate, "first_owner"), async {
        let link = accounts.first_owner_link(&order()).await.expect("made");
        // A later link is an entry of its own, so that this one must do.
        accounts.link(&link).await.expect("asked").expect("open");
    })
    .await;
    assert_eq!((&details["purpose"], &details["mailed"]), (&json!("first_owner"), &json!(false)));
    let link = accounts.first_owner_link(&order()).await.expect("made");
    let (_, details) = leaves(env, (DEFAULT_TENANT, Action::LinkUse, "ada@example.com"), async {
        let password = Secret::new(PASSWORD);
        accounts.make_first_owner(&order(), &link, &address("ada"), "Ada", &password).await.expect("made");
    })
    .await;
    assert_eq!((&details["created"], &details["role"]), (&json!(true), &json!("owner")));
}

async fn users(env: &TestEnv, accounts: &Accounts) -> UserId {
    let bob = "bob@example.com";
    let (_, details) = leaves(env, (DEFAULT_TENANT, Action::UserCreate, bob), async {
        add(accounts, &order(), "bob", Some(Role::Viewer)).await;
    })
    .await;
    assert_eq!((&details["role"], &details["installation"]), (&json!("viewer"), &json!(false)));
    leaves(env, (INSTALLATION_TENANT, Action::UserCreate, "eve@example.com"), async {
        add(accounts, &order(), "eve", None).await;
    })
    .await;
    let id = accounts.user(&address("bob")).await.expect("there").id;
    let (_, details) = leaves(env, (DEFAULT_TENANT, Action::UserChange, bob), async {
        accounts.rename_user(&order(), id, "Robert").await.expect("renamed");
    })
    .await;
    assert_eq!(details["name"], "Robert");
    leaves(env, (DEFAULT_TENANT, Action::UserChange, bob), async {
        accounts.set_installation(&order(), id, true).await.expect("changed");
    })
    .await;
    leaves(env, (DEFAULT_TENANT, Action::UserPassword, bob), async {
        let user = accounts.user(&address("bob")).await.expect("there");
        accounts.set_password(&order(), &user, &Secret::new(OTHER)).await.expect("set");
    })
    .await;
    leaves(env, (DEFAULT_TENANT, Action::UserPassword, bob), async {
        let (old, new) = (Secret::new(OTHER), Secret::new(PASSWORD));
        accounts.change_password(&order(), id, &old, &new, None).await.expect("changed");
    })
    .await;
    for (action, active) in [(Action::UserDisable, false), (Action::UserEnable, true)] {
        leaves(env, (DEFAULT_TENANT, action, bob), async {
            accounts.switch_user(&order(), id, active).await.expect("switched");
        })
        .await;
    }
    let eve = accounts.user(&address("eve")).await.expect("there").id;
    leaves(env, (INSTALLATION_TENANT, Action::UserRemove, "eve@example.com"), async {
        assert!(accounts.remove_user(&order(), eve).await.expect("removed"));
    })
    .await;
    id
}

async fn tenants_and_members(env: &TestEnv, accounts: &Accounts, bob: UserId) {
    let (_, details) = leaves(env, ("north", Action::TenantCreate, "north"), async {
        let quotas = Quotas { jobs_waiting: Some(7), ..Quotas::default() };
        accounts.create_tenant(&order(), "north", quotas, Some(bob)).await.expect("created");
    })
    .await;
    assert_eq!((&details["quotas"]["jobs_waiting"], &details["owner"]), (&json!(7), &json!(bob.to_string())));
    let (entry, _) = leaves(env, ("north", Action::TenantSuspend, "north"), async {
        accounts.suspend_tenant(&order().because("unpaid"), "north").await.expect("suspended");
    })
    .await;
    assert_eq!(entry.entry.reason.as_deref(), Some("unpaid"));
    leaves(env, ("north", Action::TenantResume, "north"), async {
        accounts.resume_tenant(&order(), "north").await.expect("resumed");
    })
    .await;
    let (_, details) = leaves(env, ("north", Action::TenantQuotas, "north"), async {
        let quotas = Quotas { batches_active: Some(3), ..Quotas::default() };
        accounts.set_quotas(&order(), "north", quotas.clone(), None).await.expect("set");
        accounts.set_quotas(&order(), "north", quotas, None).await.expect("as they are");
    })
    .await;
    assert_eq!((&details["before"]["jobs_waiting"], &details["after"]["batches_active"]), (&json!(7), &json!(3)));
    let carol = add(accounts, &order(), "carol", None).await;
    let by = Appointer::Installation;
    for (role, before) in [(Role::Viewer, Value::Null), (Role::Admin, json!({ "role": "viewer" }))] {
        let (_, details) = leaves(env, ("north", Action::MemberSet, "carol@example.com"), async {
            accounts.set_role(&north(), by, carol, role).await.expect("set");
        })
        .await;
        assert_eq!((&details["before"], &details["after"]["role"]), (&before, &json!(role)));
    }
    leaves(env, ("north", Action::MemberRemove, "carol@example.com"), async {
        accounts.remove_member(&north(), by, carol).await.expect("removed");
    })
    .await;
}

async fn links(env: &TestEnv, accounts: &Accounts) {
    let dan = "dan@example.com";
    let (_, details) = leaves(env, ("north", Action::InvitationCreate, dan), async {
        accounts.invite(&north(), Appointer::Installation, &address("dan"), Role::Operator).await.expect("invited");
    })
    .await;
    assert_eq!((&details["role"], &details["mailed"]), (&json!("operator"), &json!(true)));
    let open = env.store.invitations("north", &Page::default()).await.expect("listed").remove(0).id;
    leaves(env, ("north", Action::InvitationWithdraw, dan), async {
        assert!(accounts.withdraw_invitation(&north(), open).await.expect("withdrawn"));
    })
    .await;
    accounts.invite(&north(), Appointer::Installation, &address("dan"), Role::Operator).await.expect("invited");
    let link = mailed(env).await;
    let (_, details) = leaves(env, ("north", Action::InvitationAccept, dan), async {
        accounts.accept(&order(), &link, Some(("Dan", &Secret::new(PASSWORD)))).await.expect("accepted");
    })
    .await;
    assert_eq!((&details["created"], &details["role"]), (&json!(true), &json!("operator")));
    leaves(env, ("north", Action::LinkCreate, dan), async {
        accounts.send_reset(&order(), &address("dan")).await.expect("sent");
    })
    .await;
    let link = mailed(env).await;
    let (_, details) = leaves(env, ("north", Action::LinkUse, dan), async {
        accounts.reset_password(&order(), &link, &Secret::new(PASSWORD)).await.expect("reset");
    })
    .await;
    assert_eq!(details["purpose"], "reset");
}

async fn access_tokens(env: &TestEnv, accounts: &Accounts) {
    let bob = "bob@example.com";
    let key = accounts.rotate_key(&order()).await.expect("made");
    let mut issued = None;
    let (_, details) = leaves(env, (DEFAULT_TENANT, Action::SessionOpen, bob), async {
        issued = Some(accounts.issue_tokens(&order(), &login("bob", PASSWORD, "192.0.2.1")).await.expect("issued"));
    })
    .await;
    assert_eq!(details["kind"], "tokens");
    let first = issued.expect("tokens").refresh;
    let mut second = None;
    leaves(env, (DEFAULT_TENANT, Action::SessionRefresh, bob), async {
        second = Some(accounts.refresh_tokens(&order(), &first).await.expect("refreshed").refresh);
    })
    .await;
    leaves(env, (DEFAULT_TENANT, Action::SessionEnd, bob), async {
        assert!(accounts.revoke_refresh(&order(), &second.expect("a token")).await.expect("revoked"));
    })
    .await;
    let stolen = accounts.issue_tokens(&order(), &login("bob", PASSWORD, "192.0.2.1")).await.expect("issued").refresh;
    accounts.refresh_tokens(&order(), &stolen).await.expect("refreshed");
    leaves(env, (DEFAULT_TENANT, Action::SessionReuse, bob), async {
        accounts.refresh_tokens(&order(), &stolen).await.expect_err("used");
    })
    .await;
    leaves(env, (INSTALLATION_TENANT, Action::KeyWithdraw, &key.to_string()), async {
        assert!(accounts.withdraw_key(&order(), key).await.expect("withdrawn"));
    })
    .await;
}

async fn sessions_and_tokens(env: &TestEnv, accounts: &Accounts) {
    let bob = "bob@example.com";
    let id = accounts.user(&address("bob")).await.expect("there").id;
    for _ in 0..3 {
        accounts.log_in(&order(), &login("bob", OTHER, "192.0.2.1")).await.expect_err("another password");
    }
    let mut session = None;
    let (entry, details) = leaves(env, (DEFAULT_TENANT, Action::SessionOpen, bob), async {
        session = Some(accounts.log_in(&order(), &login("bob", PASSWORD, "192.0.2.1")).await.expect("logged in"));
    })
    .await;
    assert_eq!((&details["failed_before"], &details["agent"]), (&json!(3), &json!("a browser")));
    let actor = (entry.entry.actor.as_str(), entry.entry.actor_kind.as_str(), entry.entry.subject);
    assert_eq!(actor, (bob, "user", Some(id.0)));
    let which = WhichSessions::WithSecret(session.expect("a session").secret.hash());
    let (_, details) = leaves(env, (DEFAULT_TENANT, Action::SessionEnd, bob), async {
        assert_eq!(accounts.end_sessions(&order(), id, which).await.expect("ended"), 1);
    })
    .await;
    assert_eq!(details["ended"], 1);
    access_tokens(env, accounts).await;
    let request = TokenRequest { name: "ci".to_owned(), scopes: None, lifetime: None };
    let (_, details) = leaves(env, (DEFAULT_TENANT, Action::TokenCreate, bob), async {
        accounts.create_token(&order(), id, &request).await.expect("created");
    })
    .await;
    assert_eq!((&details["name"], &details["scopes"]), (&json!("ci"), &Value::Null));
    let token = env.store.tokens(DEFAULT_TENANT, Some(id), &Page::default()).await.expect("listed").remove(0).id;
    let (_, details) = leaves(env, (DEFAULT_TENANT, Action::TokenRevoke, bob), async {
        assert!(accounts.revoke_token(&order(), token, None).await.expect("revoked"));
    })
    .await;
    assert_eq!(details["token"], json!(token));
    leaves(env, (DEFAULT_TENANT, Action::SessionRefuse, bob), async {
        for _ in 0..12 {
            accounts.log_in(&order(), &login("bob", OTHER, "192.0.2.2")).await.expect_err("refused");
        }
    })
    .await;
}

async fn factors(env: &TestEnv, accounts: &Accounts) {
    let carol = accounts.user(&address("carol")).await.expect("there").id;
    let in_theirs = |action| (INSTALLATION_TENANT, action, "carol@example.com");
    let mut codes = Vec::new();
    leaves(env, in_theirs(Action::FactorEnrol), async { codes = enrolled(env, accounts, carol, PASSWORD).await }).await;
    let with = |code: &Secret| Login { code: Some(code.clone()), ..login("carol", PASSWORD, "192.0.2.3") };
    let (entry, details) = leaves(env, in_theirs(Action::SessionOpen), async {
        accounts.log_in(&order(), &with(&codes[0])).await.expect("logged in");
    })
    .await;
    assert_eq!(details["second"], "recovery");
    assert!(!format!("{entry:?}").contains(codes[0].expose()), "no code is in the audit");
    let proof = Proof { user: carol, password: Secret::new(PASSWORD), address: "192.0.2.3".to_owned() };
    leaves(env, in_theirs(Action::FactorRemove), async {
        accounts.remove_factor(&order(), &proof, &codes[1]).await.expect("removed");
    })
    .await;
    enrolled(env, accounts, carol, PASSWORD).await;
    leaves(env, in_theirs(Action::FactorReset), async {
        assert!(accounts.reset_factor(&order(), carol).await.expect("taken away"));
    })
    .await;
}

/// Gives a user a second factor, and returns its recovery codes.
async fn enrolled(env: &TestEnv, accounts: &Accounts, user: UserId, password: &str) -> Vec<Secret> {
    let proof = Proof { user, password: Secret::new(password), address: "192.0.2.3".to_owned() };
    accounts.offer_factor(&order(), &proof).await.expect("offered");
    let code = code_of(env, user, 0).await;
    accounts.confirm_factor(&order(), user, &code, None).await.expect("confirmed")
}

/// The code that a user's telephone shows, so many steps from now.
async fn code_of(env: &TestEnv, user: UserId, steps: i64) -> Secret {
    let secret = accounts(env).factor_secret(user).await.expect("asked").expect("offered");
    let now = env.store.now().await.expect("a clock").timestamp().cast_unsigned() / STEP_SECONDS;
    Secret::new(code(&secret, now.checked_add_signed(steps).expect("a step")))
}
