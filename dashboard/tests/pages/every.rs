//! What holds of every page: who sees it, what its links lead to, that hostile text stays text.

use std::collections::BTreeSet;

use gristmill_core::access::Role;
use gristmill_core::batch::BatchState;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_dashboard::gate::{Access, Endpoint};
use gristmill_dashboard::pages::routes;
use gristmill_mail::signed::{Signed, Unsubscribe};

use crate::env::{self, TestEnv};
use crate::pages::browser::{check, check_forms, look, send, values};
use crate::pages::further::is_further;
use crate::pages::work::{Work, pause, work};

/// The address of a page with the parts of its path filled in.
fn filled(endpoint: &Endpoint, work: &Work) -> String {
    if endpoint.path.starts_with("/unsubscribe/") {
        let (tenant, stream) = (DEFAULT_TENANT.to_owned(), "news".to_owned());
        let about = Unsubscribe { tenant, stream, address_hash: [1; 32] };
        let signed = Signed::new(env::MAIL_SECRET).expect("long enough");
        return format!("/unsubscribe/{}", signed.unsubscribe_token(&about));
    }
    let path = endpoint.path.replace("{batch}", &work.batch.to_string());
    path.replace("{job}", &work.dead.to_string())
}

#[tokio::test]
async fn every_page_is_for_those_who_have_its_permission() {
    let env = env::with_users().await;
    let work = work(&env).await;
    // The ways to a login elsewhere and back are tried in `api/oidc.rs`.
    let apart = |endpoint: &&Endpoint| is_further(endpoint) || endpoint.path.contains("{provider}");
    let pages = |endpoint: &&Endpoint| endpoint.method == "GET" && endpoint.is_page() && !apart(endpoint);
    for endpoint in routes().endpoints().filter(pages) {
        let path = filled(endpoint, &work);
        let stranger = look(&env, None, &path).await;
        match endpoint.access {
            Access::Open => assert_eq!(stranger.status, 200, "{path}"),
            _ => {
                assert_eq!(stranger.status, 303, "{path}: {stranger:?}");
                assert!(stranger.header("location").expect("a way").starts_with("/login?next=%2F"), "{stranger:?}");
            }
        }
        for role in Role::ALL {
            let page = look(&env, Some(role.as_str()), &path).await;
            let allowed = match endpoint.access {
                Access::Open | Access::Recognized => true,
                Access::Permitted(permission) | Access::Installation(permission) => role.allows(permission),
            };
            assert_eq!(page.status, if allowed { 200 } else { 403 }, "{path} as {role}: {page:?}");
            check(&path, &page);
            if endpoint.access != Access::Open {
                check_forms(&path, &page);
            }
        }
    }
}

#[tokio::test]
async fn every_form_is_for_those_who_have_its_permission_and_for_our_own_pages() {
    let env = env::with_users().await;
    let work = work(&env).await;
    for endpoint in routes()
        .endpoints()
        .filter(|endpoint| endpoint.method == "POST" && endpoint.access != Access::Open && !is_further(endpoint))
    {
        let path = filled(endpoint, &work);
        let Access::Permitted(permission) = endpoint.access else {
            assert_eq!(endpoint.access, Access::Recognized, "{path}");
            continue;
        };
        for role in Role::ALL.into_iter().filter(|role| !role.allows(permission)) {
            let answer = send(&env, Some(role.as_str()), &path, &[]).await;
            assert_eq!(answer.status, 403, "{path} as {role}");
        }
        let form = ("content-type", "application/x-www-form-urlencoded");
        for mark in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("x-odd", "1")] {
            let headers = [form, ("cookie", "gristmill=owner"), mark];
            let answer = env.send("POST", &path, &headers, b"reason=x").await;
            assert_eq!(answer.status, 403, "{path} with {mark:?}");
        }
        let stranger = send(&env, None, &path, &[]).await;
        assert_eq!((stranger.status, stranger.header("location")), (303, Some("/login?next=%2F")), "{path}");
    }
    let batch = env.store.batch("main", work.batch).await.expect("asked").expect("there");
    assert_eq!((batch.state, batch.paused), (BatchState::Sealed, false), "nothing has changed it");
}

/// Every address of ours that a page links.
fn links(page: &str) -> BTreeSet<String> {
    let found = values(page, "href").into_iter().filter(|link| link.starts_with('/'));
    found.map(|link| link.replace("&amp;", "&").split('#').next().unwrap_or_default().to_owned()).collect()
}

async fn walk(env: &TestEnv, role: Option<&str>) -> usize {
    let mut next = vec!["/".to_owned()];
    let mut seen: BTreeSet<String> = next.iter().cloned().collect();
    while let Some(address) = next.pop() {
        let page = look(env, role, &address).await;
        assert_eq!(page.status, 200, "{address} as {role:?}: {page:?}");
        assert!(!page.text.contains("<script>alert"), "{address}: hostile text is markup");
        if role.is_some() {
            check_forms(&address, &page);
        }
        for link in links(&page.text) {
            if seen.len() < 300 && seen.insert(link.clone()) {
                next.push(link);
            }
        }
    }
    seen.len()
}

#[tokio::test]
async fn every_link_leads_somewhere_and_hostile_text_stays_text() {
    let env = env::open().await;
    work(&env).await;
    pause(&env, "default").await;
    assert!(walk(&env, None).await > 25);
    let users = env::with_users().await;
    work(&users).await;
    for role in ["viewer", "auditor", "owner"] {
        assert!(walk(&users, Some(role)).await > 20, "{role}");
    }
}
