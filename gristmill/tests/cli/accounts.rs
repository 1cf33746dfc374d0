//! `gristmill user`, `token` and `tenant`, from outside.

use serde_json::json;

use crate::place::Place;

const ADA: &str = "ada@example.com";

fn with_owner() -> Place {
    let place = Place::new();
    place.write("password.txt", "correct horse battery\n");
    place.expect(0, &["db", "migrate"]);
    let add = ["user", "add", ADA, "--role", "owner", "--installation", "--password-file", "password.txt", "--json"];
    let ada = place.json(0, &add);
    assert_eq!((&ada["email"], &ada["has_password"], &ada["installation"]), (&json!(ADA), &json!(true), &json!(true)));
    assert_eq!(ada["memberships"], json!([{ "tenant": "main", "role": "owner" }]));
    place
}

#[test]
fn users_are_added_changed_and_removed() {
    let place = with_owner();
    let bob = place.json(0, &["user", "add", "Bob@Example.com", "--json"]);
    assert_eq!((&bob["email"], &bob["has_password"]), (&json!("bob@example.com"), &json!(false)));
    place.expect(5, &["user", "add", "bob@example.com"]);
    place.expect(2, &["user", "add", "no address"]);
    place.expect(2, &["user", "add", "eve@example.com", "--role", "emperor"]);
    place.expect(3, &["user", "role", "eve@example.com", "viewer"]);
    let bob = place.json(0, &["user", "role", "bob@example.com", "operator", "--json"]);
    assert_eq!(bob["memberships"][0]["role"], "operator");
    place.expect(5, &["user", "role", ADA, "viewer"]);
    place.expect(5, &["user", "disable", ADA]);
    let bob = place.json(0, &["user", "disable", "bob@example.com", "--json"]);
    assert_eq!(bob["state"], "disabled");
    assert_eq!(place.json(0, &["user", "enable", "bob@example.com", "--json"])["state"], "active");
    let bob = place.json(0, &["user", "role", "bob@example.com", "--remove", "--json"]);
    assert_eq!(bob["memberships"], json!([]));
    assert_eq!(place.json(0, &["user", "list", "--json"]).as_array().map(Vec::len), Some(2));
    assert_eq!(place.json(0, &["user", "remove", "bob@example.com", "--json"])["affected"], 1);
    place.expect(3, &["user", "remove", "bob@example.com"]);
}

#[test]
fn passwords_come_from_files_and_links_are_for_those_who_have_an_account() {
    let place = with_owner();
    place.write("short.txt", "short\n");
    let output = place.run(&["user", "passwd", ADA, "--password-file", "short.txt"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has 5 characters"));
    place.expect(0, &["user", "passwd", ADA, "--password-file", "password.txt"]);
    let link = place.json(0, &["user", "link", ADA, "--json"]);
    let (url, secret) = (link["url"].as_str().expect("a link"), link["secret"].as_str().expect("a secret"));
    assert!(url.ends_with(&format!("/link#{secret}")) && secret.starts_with("gml_"), "{link}");
    place.expect(3, &["user", "link", "eve@example.com"]);
    place.expect(5, &["user", "link", "--first-owner"]);
    let empty = Place::new();
    empty.expect(0, &["db", "migrate"]);
    assert!(empty.expect(0, &["user", "link", "--first-owner"]).contains("/link#gml_"));
}

#[test]
fn a_token_is_shown_once_listed_and_revoked() {
    let place = with_owner();
    let create = ["token", "create", "ci", "--user", ADA, "--scope", "jobs:read", "--expires", "90d", "--json"];
    let created = place.json(0, &create);
    let secret = created["secret"].as_str().expect("a secret");
    let listed = place.expect(0, &["token", "list", "--json"]);
    assert!(!listed.contains(secret) && listed.contains(&secret[..11]), "{listed}");
    place.expect(2, &["token", "create", "ci", "--user", ADA, "--scope", "jobs:everything"]);
    place.expect(3, &["token", "create", "ci", "--user", ADA, "--tenant", "north"]);
    let id = created["token"]["id"].as_str().expect("an id");
    assert_eq!(place.json(0, &["token", "revoke", id, "--json"])["affected"], 1);
    place.expect(3, &["token", "revoke", id]);
    assert_eq!(place.json(0, &["token", "list", "--json"]), json!([]));
}

#[test]
fn a_tenant_is_created_suspended_and_resumed() {
    let place = with_owner();
    let north = place.json(0, &["tenant", "create", "north", "--owner", ADA, "--json"]);
    assert_eq!((&north["state"], &north["members"]), (&json!("active"), &json!(1)));
    place.expect(5, &["tenant", "create", "north"]);
    place.expect(2, &["tenant", "create", "@accounts"]);
    let suspended = place.json(0, &["tenant", "suspend", "north", "--reason", "unpaid", "--json"]);
    assert_eq!((&suspended["state"], &suspended["reason"]), (&json!("suspended"), &json!("unpaid")));
    assert_eq!(place.json(0, &["tenant", "resume", "north", "--json"])["state"], "active");
    place.expect(3, &["tenant", "suspend", "south"]);
    let names: Vec<_> = place.json(0, &["tenant", "list", "--json"]).as_array().expect("a list").clone();
    assert_eq!(names.iter().map(|tenant| tenant["name"].clone()).collect::<Vec<_>>(), [json!("main"), json!("north")]);
}

#[test]
fn a_tenant_has_a_quota_that_is_shown_and_held_to() {
    let place = with_owner();
    place.expect(0, &["tenant", "create", "north", "--owner", ADA]);
    let quota = ["tenant", "quota", "north", "--jobs-waiting", "1", "--batches-active", "2", "--json"];
    let set = place.json(0, &quota);
    assert_eq!(set["quotas"], json!({ "jobs_waiting": 1, "batches_active": 2, "requests_per_minute": null }));
    let enqueue = ["--tenant", "north", "enqueue", "email", "--payload", crate::place::MAIL, "--in", "1h"];
    place.expect(0, &enqueue);
    let refused = place.run(&enqueue);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("`north` may have 1 jobs") && said.contains("has 1"), "{said}");
    let shown = place.json(0, &["tenant", "show", "north", "--json"]);
    assert_eq!(shown["usage"], json!({ "jobs_waiting": 1, "batches_active": 0 }));
    assert!(place.expect(0, &["tenant", "show", "north"]).contains("1 of 1"));
    let kept = place.json(0, &["tenant", "quota", "north", "--jobs-waiting", "none", "--json"]);
    assert_eq!(kept["quotas"]["batches_active"], 2, "what is not named stays");
    place.expect(0, &enqueue);
    place.expect(3, &["tenant", "show", "south"]);
    place.expect(2, &["tenant", "quota", "north", "--jobs-waiting", "many"]);
}

#[test]
fn what_is_done_with_users_is_in_the_audit_and_a_factor_that_is_not_there_cannot_be_taken_away() {
    let place = with_owner();
    place.expect(0, &["user", "add", "bob@example.com"]);
    place.expect(0, &["user", "role", "bob@example.com", "operator"]);
    let list = place.json(0, &["audit", "list", "--json"]);
    let actions: Vec<_> = list.as_array().expect("a list").iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["member.set", "user.create", "user.create"]);
    assert_eq!(list[0]["details"]["before"]["role"], "viewer");
    assert_eq!(place.json(0, &["user", "factor-reset", ADA, "--json"])["affected"], 0);
    place.expect(3, &["user", "factor-reset", "eve@example.com"]);
}
