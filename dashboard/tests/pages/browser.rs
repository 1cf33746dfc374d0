//! A browser without a script: it follows links, sends forms, and keeps cookies.

use std::collections::BTreeSet;

use crate::env::{Heard, TestEnv};

/// A form's content as a browser writes it.
pub(crate) fn encoded(pairs: &[(&str, &str)]) -> String {
    let text = |text: &str| {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    pairs.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>().join("&")
}

/// Looks at a page, as the role that the session names where there is one.
pub(crate) async fn look(env: &TestEnv, role: Option<&str>, path: &str) -> Heard {
    let cookie = role.map(|role| format!("gristmill={role}"));
    let mut headers = vec![("accept", "text/html"), ("sec-fetch-site", "same-origin")];
    headers.extend(cookie.as_deref().map(|cookie| ("cookie", cookie)));
    env.send("GET", path, &headers, b"").await
}

/// Sends a form.
pub(crate) async fn send(env: &TestEnv, role: Option<&str>, path: &str, pairs: &[(&str, &str)]) -> Heard {
    let cookie = role.map(|role| format!("gristmill={role}"));
    let form = ("content-type", "application/x-www-form-urlencoded");
    let mut headers = vec![form, ("accept", "text/html"), ("sec-fetch-site", "same-origin")];
    headers.extend(cookie.as_deref().map(|cookie| ("cookie", cookie)));
    env.send("POST", path, &headers, encoded(pairs).as_bytes()).await
}

/// Every value of an attribute on a page.
pub(crate) fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let mark = format!(" {attribute}=\"");
    page.split(mark.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// Checks what holds of every page: its policy, no script or style within it, one main part, one first heading.
pub(crate) fn check(path: &str, page: &Heard) {
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{path}: {policy}");
    assert!(!policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
    let html = &page.text;
    assert!(html.starts_with("<!DOCTYPE html>"), "{path}: {html}");
    for refused in [" style=\"", " onclick=", "javascript:", "<style"] {
        assert!(!html.contains(refused), "{path} contains {refused}");
    }
    assert_eq!(html.matches("<script").count(), 1, "{path}: one script, ours");
    assert_eq!((html.matches("<main").count(), html.matches("<h1").count()), (1, 1), "{path}");
    let ids = values(html, "id");
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "{path}: an id is there twice: {ids:?}");
}

/// Checks that every form that changes something carries the tenant of its page, which is one of a person who has logged
/// in. Returns the classes of these forms.
pub(crate) fn check_forms(path: &str, page: &Heard) -> BTreeSet<String> {
    let main = page.text.split("<main ").nth(1).and_then(|rest| rest.split("</main>").next()).unwrap_or_default();
    let forms = main.split("<form ").skip(1).filter_map(|rest| rest.split("</form>").next());
    let changing = forms.filter(|form| form.split('>').next().is_some_and(|tag| tag.contains("method=\"post\"")));
    let mut classes = BTreeSet::new();
    for form in changing {
        assert_eq!(form.matches("name=\"of-tenant\"").count(), 1, "{path}: of which tenant is the form? <form {form}");
        let tag = format!(" {}", form.split('>').next().unwrap_or_default());
        classes.insert(values(&tag, "class").first().copied().unwrap_or_default().to_owned());
    }
    classes
}
