//! Emails and suppressions: through the API, on the pages, and by the link in an email.

use gristmill_core::id::{DEFAULT_TENANT, JobId};
use gristmill_core::mail_flow::RelayEvent;
use gristmill_mail::compose::address_hash;
use gristmill_mail::signed::{Signed, Unsubscribe};
use serde_json::{Value, json};

use crate::env::{self, MAIL_SECRET};
use crate::pages::browser::{look, send};
use crate::pages::letters::{RAW, email, mailing};

#[tokio::test]
async fn an_email_is_listed_shown_and_fetched() {
    let env = env::open().await;
    let id = email(&env).await;
    let listed = env.get("/api/v1/emails?state=failed").await;
    assert_eq!(
        (listed.status, &listed.data()[0]["key"], &listed.data()[0]["recipient_count"]),
        (200, &json!(id), &json!(2))
    );
    assert_eq!(env.get("/api/v1/emails?state=sent").await.data(), &json!([]));
    assert_eq!(env.get("/api/v1/emails?address=BOB@example.org").await.data()[0]["key"], id);
    assert_eq!(env.get("/api/v1/emails?address=eve@example.org").await.data(), &json!([]));
    let shown = env.get(&format!("/api/v1/emails/{id}")).await;
    let bob = &shown.data()["recipients"][1];
    assert_eq!((&bob["state"], &bob["code"], &bob["status"]), (&json!("bounced"), &json!(550), &json!("5.1.1")));
    assert_eq!(shown.data()["attempts"][0]["server"], "mx.example:25");
    let raw = env.get(&format!("/api/v1/emails/{id}/raw")).await;
    assert_eq!((raw.status, raw.header("content-type")), (200, Some("message/rfc822")));
    assert!(raw.header("content-disposition").expect("saved").starts_with("attachment"), "it is never shown");
    assert_eq!(raw.text.as_bytes(), RAW);
    for path in ["", "/raw"] {
        assert_eq!(env.get(&format!("/api/v1/emails/{}{path}", JobId(uuid::Uuid::nil()))).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_viewer_sees_how_far_an_email_is_and_neither_addresses_nor_contents() {
    let env = env::with_users().await;
    let id = email(&env).await;
    for path in ["/api/v1/emails".to_owned(), format!("/api/v1/emails/{id}"), "/api/v1/suppressions".to_owned()] {
        let seen = env.get_as("viewer", &path).await;
        assert_eq!(seen.status, 200, "{path}");
        assert!(!seen.text.contains('@') || !seen.text.contains("example.org"), "{path}: {}", seen.text);
        assert!(!seen.text.contains("Hello") && !seen.text.contains("MAIL FROM"), "{path}: {}", seen.text);
    }
    assert_eq!(env.get_as("viewer", &format!("/api/v1/emails/{id}/raw")).await.status, 403);
    // Nor does it find out by questions who is there.
    let hash = hex::encode(address_hash("ada@example.org"));
    for path in ["/api/v1/emails", "/api/v1/suppressions"] {
        for asked in ["address=ada@example.org".to_owned(), format!("address_sha256={hash}")] {
            let asked = format!("{path}?{asked}");
            assert_eq!(env.get_as("viewer", &asked).await.status, 403, "{asked}");
            assert_eq!(env.get_as("auditor", &asked).await.status, 200, "{asked}");
        }
    }
    for path in ["/email?address=ada@example.org", "/email/suppressions?address=ada@example.org"] {
        assert_eq!(look(&env, Some("viewer"), path).await.status, 403, "{path}");
    }
    let page = look(&env, Some("viewer"), &format!("/email/messages/{id}")).await;
    assert!(page.text.contains("not shown") && !page.text.contains("example.org"), "{}", page.text);
}

#[tokio::test]
async fn an_email_is_sent_once_more_as_a_job_of_its_own() {
    let env = env::open().await;
    let id = email(&env).await;
    let would = env.post(&format!("/api/v1/emails/{id}/resend?dry_run=true"), &Value::Null).await;
    assert_eq!((would.status, &would.data()["dry_run"]), (200, &json!(true)));
    let again = env.send("POST", &format!("/api/v1/emails/{id}/resend"), &[], b"").await;
    assert_eq!(again.status, 201, "{}", again.text);
    let job = env.get(again.header("location").expect("its place")).await;
    assert_eq!((&job.data()["kind"], &job.data()["payload"]["to"]), (&json!("email"), &json!("ada@example.org")));
    let nobody = format!("/api/v1/emails/{}/resend", uuid::Uuid::nil());
    assert_eq!(env.send("POST", &nobody, &[], b"").await.status, 404);
}

#[tokio::test]
async fn a_mailing_shows_its_funnel_and_what_is_open_is_tried_again() {
    let env = env::with_users().await;
    let batch = mailing(&env).await;
    let path = format!("/api/v1/batches/{batch}/mailing");
    let shown = env.get_as("viewer", &path).await;
    let all = &shown.data()["all"];
    assert_eq!((&all["made"], &all["sent"], &all["unknown"]), (&json!(2), &json!(1), &json!(1)), "{}", shown.text);
    assert_eq!(shown.data()["variants"][0]["variant"], "news");
    let nothing = format!("/api/v1/batches/{}/mailing", uuid::Uuid::nil());
    assert_eq!(env.get_as("viewer", &nothing).await.status, 404);
    let stats = env.get_as("viewer", "/api/v1/email-stats?by=stream&since=1h").await;
    assert_eq!((&stats.data()[0]["name"], &stats.data()[0]["funnel"]["made"]), (&json!("news"), &json!(2)));
    for asked in ["by=domain", "domain=example.org"] {
        let asked = format!("/api/v1/email-stats?{asked}");
        assert_eq!(env.get_as("viewer", &asked).await.status, 403, "{asked}");
        assert_eq!(env.get_as("auditor", &asked).await.data()[0]["funnel"]["made"], 2, "{asked}");
    }
    assert_eq!(env.get_as("viewer", "/api/v1/email-stats?by=colour").await.status, 422);
    let listed = env.get_as("auditor", &format!("/api/v1/emails?batch={batch}")).await;
    assert_eq!(listed.data().as_array().map(Vec::len), Some(2));
    let page = look(&env, Some("viewer"), &format!("/batches/{batch}")).await;
    assert!(page.text.contains("id=\"mailing\"") && !page.text.contains("Try the rest again"), "{}", page.text);
    assert!(look(&env, Some("operator"), &format!("/batches/{batch}")).await.text.contains("Try the rest again"));
    let page = look(&env, Some("viewer"), "/email").await;
    assert!(page.text.contains("The last mailings"), "{}", page.text);
    let again = format!("{path}/resend");
    let sent = send(&env, Some("operator"), &format!("/batches/{batch}/mailing/resend"), &[]).await;
    assert_eq!(sent.status, 303, "{}", sent.text);
    let report = env.send("POST", &again, &[("authorization", "Bearer operator")], b"").await;
    assert_eq!((report.status, &report.data()["affected"]), (200, &json!(0)), "it is under way: {}", report.text);
    let refused = env.send("POST", &again, &[("authorization", "Bearer viewer")], b"").await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn addresses_are_put_on_the_list_and_taken_off_with_a_row_in_the_audit() {
    let env = env::open().await;
    let body = json!({ "addresses": ["Ada@Example.org", "bob@example.org"], "stream": "news", "note": "by phone", "for": "90d" });
    let put = env.post("/api/v1/suppressions", &body).await;
    assert_eq!((put.status, &put.data()["affected"]), (200, &json!(2)));
    let hash = hex::encode(address_hash("ada@example.org"));
    let of_ada = env.get("/api/v1/suppressions?address=ada@example.org").await;
    assert_eq!((&of_ada.data()[0]["address_sha256"], &of_ada.data()[0]["stream"]), (&json!(hash), &json!("news")));
    assert!(of_ada.data()[0]["until"].is_string());
    let wrong = json!({ "addresses": ["nobody", "ada@example.org"], "stream": "A b", "reason": "soon", "address_sha256s": ["x"] });
    let refused = env.post("/api/v1/suppressions", &wrong).await;
    assert_eq!(refused.status, 422);
    let mut places = refused.faults();
    places.sort_unstable();
    assert_eq!(places, ["/address_sha256s", "/addresses", "/reason", "/stream"], "{}", refused.text);
    let gone = env.send("DELETE", &format!("/api/v1/suppressions/{hash}?stream=news&reason=back"), &[], b"").await;
    assert_eq!((gone.status, &gone.data()["affected"]), (200, &json!(1)));
    let again = env.send("DELETE", &format!("/api/v1/suppressions/{hash}?stream=news"), &[], b"").await;
    assert_eq!(again.status, 404);
    let audit = env.get("/api/v1/audit?action=address.release").await;
    assert_eq!((&audit.data()[0]["target"], &audit.data()[0]["reason"]), (&json!(hash), &json!("back")));
    assert!(!env.get("/api/v1/audit").await.text.contains("ada@"), "the audit names no person");
}

#[tokio::test]
async fn a_recipient_takes_itself_off_by_one_click_and_a_scanner_does_not() {
    let env = env::with_users().await;
    let about = Unsubscribe {
        tenant: DEFAULT_TENANT.to_owned(),
        stream: "news".to_owned(),
        address_hash: address_hash("ada@example.org"),
    };
    let path = format!("/unsubscribe/{}", Signed::new(MAIL_SECRET).expect("long").unsubscribe_token(&about));
    let asked = env.get(&path).await;
    assert_eq!(asked.status, 200);
    assert!(asked.text.contains("news") && !asked.text.contains("ada@"), "{}", asked.text);
    let of_ada = async || env.store.suppressions_of(DEFAULT_TENANT, &about.address_hash).await.expect("listed");
    assert!(of_ada().await.is_empty(), "a GET changes nothing");
    // As a mail program sends it (RFC 8058, 3.1): no cookie, no login, a form of several parts.
    let boundary = "multipart/form-data; boundary=x";
    let one_click = b"--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n";
    for _ in 0..2 {
        assert_eq!(env.send("POST", &path, &[("content-type", boundary)], one_click).await.status, 200);
    }
    let entries = of_ada().await;
    assert_eq!((entries.len(), entries[0].stream.as_str(), entries[0].reason.as_str()), (1, "news", "unsubscribe"));
    let audit = env.get_as("owner", "/api/v1/audit?action=address.suppress").await;
    assert_eq!(audit.data().as_array().map(Vec::len), Some(1), "however often it is asked: {}", audit.text);
    let forged = format!("{}x", &path[..path.len() - 1]);
    for bad in [forged.as_str(), "/unsubscribe/x"] {
        assert_eq!((env.get(bad).await.status, env.send("POST", bad, &[], b"").await.status), (404, 404), "{bad}");
    }
}

#[tokio::test]
async fn the_pages_show_an_email_and_change_the_list() {
    let env = env::open().await;
    let id = email(&env).await;
    let list = look(&env, None, "/email").await;
    assert!(list.text.contains("Hello &lt;script&gt;") && list.text.contains("ada@example.org"), "{}", list.text);
    let page = look(&env, None, &format!("/email/messages/{id}")).await;
    for said in ["bounced", "550 5.1.1", "no-such-mailbox", "C: MAIL FROM", "Download as .eml"] {
        assert!(page.text.contains(said), "{said}: {}", page.text);
    }
    let wrong = [("addresses", "nobody"), ("why", "manual"), ("for", "soon")];
    assert_eq!(send(&env, None, "/email/suppressions", &wrong).await.status, 422);
    let right = [
        ("addresses", "eve@example.org\nada@example.org"),
        ("why", "manual"),
        ("stream", ""),
        ("note", "phone"),
        ("for", ""),
    ];
    assert_eq!(send(&env, None, "/email/suppressions", &right).await.status, 303);
    let entries = look(&env, None, "/email/suppressions?address=eve%40example.org").await;
    assert!(entries.text.contains("manual") && entries.text.contains("phone"), "{}", entries.text);
    let hash = hex::encode(address_hash("eve@example.org"));
    let off = [("address_sha256", hash.as_str()), ("stream", "")];
    assert_eq!(send(&env, None, "/email/suppressions/remove", &off).await.status, 303);
    assert_eq!(env.get("/api/v1/suppressions?address=eve@example.org").await.data(), &json!([]));
}

#[tokio::test]
async fn a_relay_and_a_domain_are_suspended_and_resumed_over_the_api_and_on_the_page() {
    let env = env::open().await;
    env.store
        .relay_note("main", "mail.example:587", &RelayEvent::Fault("535 5.7.8 no".to_owned()))
        .await
        .expect("noted");
    let relays = env.get("/api/v1/mail/relays").await;
    let main = &relays.data()[0];
    assert_eq!(
        (relays.status, &main["name"], &main["state"], &main["fault"]),
        (200, &json!("main"), &json!("open"), &json!(true))
    );
    let page = look(&env, None, "/email/flow").await;
    assert!(page.text.contains("does not let us in") && page.text.contains("535 5.7.8"), "{}", page.text);
    let rehearsed = env.post("/api/v1/mail/relays/main/resume?dry_run=true", &Value::Null).await;
    assert_eq!((rehearsed.status, &rehearsed.data()["affected"]), (200, &json!(1)));
    assert_eq!(send(&env, None, "/email/flow/relays/main/resume", &[]).await.status, 303);
    assert_eq!(env.get("/api/v1/mail/relays").await.data()[0]["state"], "closed");
    assert_eq!(env.post("/api/v1/mail/relays/main/suspend", &Value::Null).await.status, 200);
    assert_eq!(env.get("/api/v1/mail/relays").await.data()[0]["state"], "suspended");
    assert_eq!(env.post("/api/v1/mail/relays/other/suspend", &Value::Null).await.status, 404);

    let suspended = env.post("/api/v1/mail/domains/Slow.Example/suspend", &json!({"for": "2h"})).await;
    assert_eq!((suspended.status, &suspended.data()["affected"]), (200, &json!(1)));
    let domains = env.get("/api/v1/mail/domains").await;
    let slow = &domains.data()[0];
    assert_eq!((&slow["name"], &slow["waiting"]), (&json!("slow.example"), &json!(0)));
    assert!(slow["suspension"]["until"].is_string(), "{slow}");
    let page = look(&env, None, "/email/flow").await;
    assert!(page.text.contains("slow.example") && page.text.contains("until"), "{}", page.text);
    assert_eq!(send(&env, None, "/email/flow/domains/slow.example/resume", &[]).await.status, 303);
    assert_eq!(env.get("/api/v1/mail/domains").await.data(), &json!([]));
    assert_eq!(send(&env, None, "/email/flow/domains/suspend", &[("domain", "no domain")]).await.status, 422);
    assert_eq!(
        send(&env, None, "/email/flow/domains/suspend", &[("domain", "other.example"), ("for", "1h")]).await.status,
        303
    );
    assert_eq!(env.get("/api/v1/mail/domains").await.data()[0]["name"], "other.example");
}

#[tokio::test]
async fn what_all_tenants_share_is_not_for_the_members_of_one() {
    let env = env::with_users().await;
    for path in ["/api/v1/mail/relays", "/api/v1/mail/domains"] {
        assert_eq!(env.get_as("operator@other", path).await.status, 403, "{path}");
    }
    assert_eq!(look(&env, Some("operator@other"), "/email/flow").await.status, 403);
    let page = look(&env, Some("operator@other"), "/email").await;
    assert!(!page.text.contains("/email/flow"), "{}", page.text);
}
