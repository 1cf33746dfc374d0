//! What is around every page: login, theme, errors, what the script and the stylesheet are.

use crate::env::{self, with_accounts};
use crate::pages::browser::{check, look, send, values};

#[tokio::test]
async fn whoever_is_not_recognized_is_sent_to_log_in_and_back() {
    let env = env::with_users().await;
    let refused = look(&env, None, "/theme").await;
    assert_eq!(refused.status, 405, "a form has no page: {refused:?}");
    let login = look(&env, None, "/login?next=/batches%3Fstate%3Dopen").await;
    assert_eq!(login.status, 200);
    check("/login", &login);
    assert!(values(&login.text, "value").contains(&"/batches?state=open"), "{}", login.text);
    let elsewhere = look(&env, None, "/login?next=//evil.example").await;
    assert!(elsewhere.text.contains("<input type=\"hidden\" name=\"next\" value=\"/\">"), "{}", elsewhere.text);
}

#[tokio::test]
async fn a_login_that_is_wrong_shows_the_form_again_without_the_password() {
    let env = with_accounts().await;
    let pairs = [("email", "ada@example.com"), ("password", "wrong horse battery"), ("next", "/")];
    let again = send(&env, None, "/login", &pairs).await;
    assert_eq!(again.status, 422);
    check("/login", &again);
    assert!(again.text.contains("the address or the password is wrong"), "{}", again.text);
    assert!(again.text.contains("ada@example.com") && !again.text.contains("wrong horse"), "{}", again.text);
    let empty = send(&env, None, "/login", &[("email", ""), ("password", "")]).await;
    assert_eq!((empty.status, empty.text.matches("is missing").count()), (422, 2), "both at once");
}

#[tokio::test]
async fn a_page_that_there_is_not_is_a_page_for_people_and_json_for_programs() {
    let env = env::open().await;
    let page = look(&env, None, "/nowhere/%3Cscript%3E").await;
    assert_eq!(page.status, 404);
    check("/nowhere", &page);
    assert!(!page.text.contains("<script>"), "{}", page.text);
    assert_eq!(env.get("/nowhere").await.code(), "not_found");
    assert_eq!(look(&env, None, "/api/v1/nowhere").await.code(), "not_found", "the API always answers JSON");
}

#[tokio::test]
async fn a_form_of_another_site_changes_nothing() {
    let env = env::open().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (headers, status) in [
        (vec![form, ("sec-fetch-site", "same-origin")], 303),
        (vec![form, ("origin", "http://localhost")], 303),
        (vec![form, ("sec-fetch-site", "cross-site")], 403),
        (vec![form, ("sec-fetch-site", "same-site")], 403),
        (vec![form, ("origin", "null")], 403),
        (vec![("content-type", "text/plain"), ("sec-fetch-site", "same-origin")], 415),
    ] {
        let answer = env.send("POST", "/theme", &headers, b"theme=dark&next=/").await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    }
}

#[tokio::test]
async fn the_theme_is_kept_in_a_cookie_and_the_way_back_is_ours() {
    let env = env::open().await;
    let chosen = send(&env, None, "/theme", &[("theme", "dark"), ("next", "/login")]).await;
    assert_eq!((chosen.status, chosen.header("location")), (303, Some("/login")));
    assert!(chosen.header("set-cookie").expect("a cookie").starts_with("gristmill-theme=dark;"));
    let away = send(&env, None, "/theme", &[("theme", "dark"), ("next", "https://evil.example")]).await;
    assert_eq!(away.header("location"), Some("/"));
    let page = env.send("GET", "/login", &[("cookie", "gristmill-theme=dark")], b"").await;
    assert!(page.text.contains("data-theme=\"dark\""));
    assert_eq!(send(&env, None, "/theme", &[("theme", "pink"), ("odd", "1")]).await.status, 422);
}

#[tokio::test]
async fn what_pages_load_is_there_for_good_under_its_own_address() {
    let env = env::open().await;
    let page = look(&env, None, "/login").await;
    let assets: Vec<&str> = values(&page.text, "href").into_iter().chain(values(&page.text, "src")).collect();
    let assets: Vec<&str> = assets.into_iter().filter(|address| address.starts_with("/assets/")).collect();
    assert_eq!(assets.len(), 2, "{assets:?}");
    for address in assets {
        let asset = env.get(address).await;
        assert_eq!(asset.status, 200, "{address}");
        assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(asset.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(env.get("/assets/0000000000000000/app.css").await.status, 404);
}
