//! What holds of every further page: who sees it, what its forms ask of the caller, that hostile text stays text, and that an
//! empty store teaches the first command.

use std::collections::BTreeSet;

use gristmill_core::access::Role;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_dashboard::gate::{Access, Endpoint};
use gristmill_dashboard::pages::routes;
use gristmill_store::AuditFilter;

use crate::env;
use crate::pages::browser::{check, check_forms, look, send, values};
use crate::pages::stock::{Stock, stock};

/// What the paths of these pages begin with.
const FURTHER: [&str; 16] = [
    "/events",
    "/email",
    "/jobs",
    "/errors",
    "/dead",
    "/quarantine",
    "/queues",
    "/limits",
    "/schedules",
    "/triggers",
    "/operations",
    "/workers",
    "/audit",
    "/people",
    "/account",
    "/tenants",
];

/// Whether it is a page or a form of this file, and not of `every.rs`.
pub(crate) fn is_further(endpoint: &Endpoint) -> bool {
    let begins =
        |begin: &&str| endpoint.path.strip_prefix(*begin).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    // A job by itself is a page of the other ones, and the way back from a login elsewhere is tried in `api/oidc.rs`.
    let apart = endpoint.path.starts_with("/jobs/{") || endpoint.path.contains("{provider}");
    !apart && (FURTHER.iter().any(begins) || endpoint.path.starts_with("/system"))
}

/// The address of a page with the parts of its path filled in.
fn filled(endpoint: &Endpoint, stock: &Stock, fingerprint: &str) -> String {
    let item = stock.item.to_string();
    let batch = stock.batch.to_string();
    let parts = [
        ("{position}", "1"),
        ("{subscription}", "receipts"),
        ("{queue}", "mail"),
        ("{limit}", "crm"),
        ("{operation}", &stock.operation),
        ("{email}", &stock.email),
        ("{schedule}", "nightly"),
        ("{item}", &item),
        ("{batch}", &batch),
        ("{job}", &stock.dead[0]),
        ("{entry}", "1"),
        ("{fingerprint}", fingerprint),
        ("{sort}/{name}", "hook/none"),
        ("{tenant}", "other"),
        ("{backfill}", "0198f9c1-7d2e-7000-8000-000000000000"),
        ("{worker}", "0198f9c1-7d2e-7000-8000-000000000000"),
        ("{user}", "0198f9c1-7d2e-7000-8000-000000000000"),
        ("{token}", "0198f9c1-7d2e-7000-8000-000000000000"),
        ("{session}", "0198f9c1-7d2e-7000-8000-000000000000"),
        ("{invitation}", "0198f9c1-7d2e-7000-8000-000000000000"),
    ];
    parts.iter().fold(endpoint.path.clone(), |path, (name, value)| path.replace(name, value))
}

/// Whether it is a file to be saved, and no page.
fn is_file(path: &str) -> bool {
    path.starts_with("/quarantine/export")
}

/// How many entries the audit has.
async fn entries(env: &env::TestEnv) -> usize {
    let filter = AuditFilter { tenant: DEFAULT_TENANT.to_owned(), limit: 1_000, ..AuditFilter::default() };
    env.store.audit(&filter).await.expect("read").len()
}

/// The short name of the error on the page of errors.
pub(crate) async fn fingerprint(env: &env::TestEnv, role: Option<&str>) -> String {
    let page = look(env, role, "/errors").await;
    let link = values(&page.text, "href").into_iter().find_map(|link| link.strip_prefix("/errors/"));
    link.unwrap_or_else(|| panic!("an error: {page:?}")).split('?').next().expect("a name").to_owned()
}

#[tokio::test]
async fn every_page_is_for_those_who_have_its_permission_and_hostile_text_stays_text() {
    let env = env::with_users().await;
    let stock = stock(&env).await;
    let fingerprint = fingerprint(&env, Some("owner")).await;
    let (mut seen, mut forms) = (0, BTreeSet::new());
    for endpoint in routes().endpoints().filter(|endpoint| endpoint.method == "GET" && is_further(endpoint)) {
        let path = filled(endpoint, &stock, &fingerprint);
        let stranger = look(&env, None, &path).await;
        if is_file(&path) {
            assert_eq!(stranger.status, 401, "{path}: {stranger:?}");
        } else {
            assert_eq!(stranger.status, 303, "{path}: {stranger:?}");
            assert!(stranger.header("location").expect("a way").starts_with("/login?next="), "{stranger:?}");
        }
        for role in Role::ALL {
            let page = look(&env, Some(role.as_str()), &path).await;
            let allowed = match endpoint.access {
                Access::Open | Access::Recognized => true,
                Access::Permitted(permission) | Access::Installation(permission) => role.allows(permission),
            };
            // There is no trigger in the configuration of these tests.
            let there = if path == "/triggers/hook/none" { 404 } else { 200 };
            assert_eq!(page.status, if allowed { there } else { 403 }, "{path} as {role}: {page:?}");
            if !is_file(&path) {
                check(&path, &page);
                forms.extend(check_forms(&path, &page));
                assert!(!page.text.contains("<script>alert"), "{path} as {role}: hostile text is markup");
            }
        }
        let elsewhere = look(&env, Some("owner@other"), &path).await;
        if let Access::Installation(_) = endpoint.access {
            assert_eq!(elsewhere.status, 403, "{path} is for owners of the installation");
        }
        seen += 1;
    }
    assert!(seen >= 20, "{seen} pages");
    for class in ["", "act", "stack", "selection"] {
        assert!(forms.contains(class), "no form of the class `{class}` was there: {forms:?}");
    }
}

#[tokio::test]
async fn every_form_is_for_those_who_have_its_permission_and_for_our_own_pages() {
    let env = env::with_users().await;
    let stock = stock(&env).await;
    let fingerprint = fingerprint(&env, Some("owner")).await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let (mut seen, before) = (0, entries(&env).await);
    for endpoint in routes().endpoints().filter(|endpoint| endpoint.method == "POST" && is_further(endpoint)) {
        let path = filled(endpoint, &stock, &fingerprint);
        for mark in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("x-odd", "1")] {
            let answer = env.send("POST", &path, &[form, ("cookie", "gristmill=owner"), mark], b"reason=x").await;
            assert_eq!(answer.status, 403, "{path} with {mark:?}: {answer:?}");
        }
        let stranger = send(&env, None, &path, &[]).await;
        assert_eq!((stranger.status, stranger.header("location")), (303, Some("/login?next=%2F")), "{path}");
        let permission = match endpoint.access {
            Access::Permitted(permission) | Access::Installation(permission) => permission,
            Access::Open | Access::Recognized => continue,
        };
        for role in Role::ALL.into_iter().filter(|role| !role.allows(permission)) {
            let answer = send(&env, Some(role.as_str()), &path, &[("reason", "x")]).await;
            assert_eq!(answer.status, 403, "{path} as {role}: {answer:?}");
        }
        seen += 1;
    }
    assert!(seen >= 25, "{seen} forms");
    assert_eq!(entries(&env).await, before, "nothing was changed");
}

#[tokio::test]
async fn what_a_role_may_not_do_has_no_button() {
    let env = env::with_users().await;
    let stock = stock(&env).await;
    for path in
        ["/jobs", "/dead?by=job", "/dead", "/quarantine?by=item", "/queues", "/queues/mail", "/schedules/nightly"]
    {
        let viewer = look(&env, Some("viewer"), path).await;
        let forms: Vec<&str> = values(&viewer.text, "action").into_iter().collect();
        let ours = |action: &&&str| {
            !["/theme", "/logout"].contains(action)
                && viewer.text.contains(&format!("method=\"post\" action=\"{action}\""))
        };
        assert_eq!(forms.iter().filter(ours).count(), 0, "{path}: {forms:?}");
        let operator = look(&env, Some("operator"), path).await;
        assert!(operator.text.matches("method=\"post\"").count() > 2, "{path}");
    }
    let item = format!("/quarantine/{}", stock.item);
    let hidden = look(&env, Some("viewer"), &item).await;
    assert!(!hidden.text.contains("=1+1") && hidden.text.contains("not for your role"), "{}", hidden.text);
    assert!(look(&env, Some("auditor"), &item).await.text.contains("=1+1"));
}

#[tokio::test]
async fn an_empty_store_teaches_the_first_command() {
    let env = env::open().await;
    for (path, taught) in [
        ("/jobs", "gristmill enqueue"),
        ("/queues", "gristmill enqueue"),
        ("/workers", "gristmill worker"),
        ("/schedules", "[schedule.nightly]"),
        ("/triggers", "[hook.orders]"),
        ("/events", "[events.subscriptions.receipts]"),
        ("/audit", "gristmill queue pause"),
        ("/people", "gristmill user"),
        ("/errors", "Nothing fails"),
        ("/dead", "Nothing is dead"),
        ("/dead?by=job", "Nothing is dead"),
        ("/quarantine", "The quarantine is empty"),
        ("/quarantine?by=item", "The quarantine is empty"),
        ("/email", "gristmill mail send"),
        ("/email/suppressions", "The list is empty"),
        ("/email/flow", "No relay was used yet"),
        ("/account", "No caller has to log in here"),
        ("/tenants", "New tenant"),
        ("/system", "Nothing is wrong"),
    ] {
        let page = look(&env, None, path).await;
        assert_eq!(page.status, 200, "{path}: {page:?}");
        check(path, &page);
        assert!(page.text.contains(taught), "{path} teaches `{taught}`: {}", page.text);
    }
}

#[tokio::test]
async fn every_page_can_be_had_as_a_command_and_over_the_api() {
    let env = env::open().await;
    let stock = stock(&env).await;
    let fingerprint = fingerprint(&env, None).await;
    let mut addresses = BTreeSet::new();
    for endpoint in routes().endpoints().filter(|endpoint| endpoint.method == "GET" && is_further(endpoint)) {
        let path = filled(endpoint, &stock, &fingerprint);
        if is_file(&path) || path.starts_with("/triggers/hook") {
            continue;
        }
        let page = look(&env, None, &path).await;
        assert!(page.text.contains("id=\"copy-command\">gristmill "), "{path}: no command");
        let request = page.text.split("$GRISTMILL_URL").nth(1).unwrap_or_else(|| panic!("{path}: no request"));
        addresses.insert(request.split("&quot;").next().expect("an address").replace("&amp;", "&"));
    }
    for address in addresses.iter().filter(|address| !address.starts_with("/api/v1/audit")) {
        let answer = env.get(address).await;
        // What is copied from a form of something new is the list of its noun.
        assert_eq!(answer.status, 200, "{address}: {answer:?}");
    }
    assert!(addresses.len() > 12, "{addresses:?}");
}
