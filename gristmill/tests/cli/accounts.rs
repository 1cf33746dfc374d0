//! `gristmill user`, `token` and `tenant`, from outside.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::place::Place;
use crate::remote::Server;
use crate::servers::Schema;

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
    assert_eq!(
        set["quotas"],
        json!({ "jobs_waiting": 1, "batches_active": 2, "requests_per_minute": null, "storage_bytes": null })
    );
    let enqueue = ["--tenant", "north", "enqueue", "email", "--payload", crate::place::MAIL, "--in", "1h"];
    place.expect(0, &enqueue);
    let refused = place.run(&enqueue);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("`north` may have 1 jobs") && said.contains("has 1"), "{said}");
    let shown = place.json(0, &["tenant", "show", "north", "--json"]);
    assert_eq!(shown["usage"], json!({ "jobs_waiting": 1, "batches_active": 0, "storage_bytes": 0 }));
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

/// Sends a request to a server, and returns the status and the document of the answer.
fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let address = server.url.trim_start_matches("http://");
    let (body, mut answer) = (body.to_string(), String::new());
    let mut stream = TcpStream::connect(address).expect("connected");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let json = body.find('{').and_then(|from| body.rfind('}').map(|to| &body[from..=to])).unwrap_or("null");
    (status, serde_json::from_str(json).expect("a document"))
}

/// A server with users over the database of a place.
fn served(place: &Place) -> Server {
    place.write("users.toml", "[serve]\nauth = \"users\"\n");
    Server::of(place.command(&["--config", "users.toml", "serve", "--listen", "127.0.0.1:0"]))
}

fn log_in(server: &Server, email: &str) -> (u16, Value) {
    post(server, "/api/v1/auth/token", &json!({ "email": email, "password": "correct horse battery" }))
}

#[test]
fn a_user_comes_with_the_hash_that_another_program_has_made_of_their_password() {
    let place = with_owner();
    // Of `correct horse battery`.
    place.write("hash.txt", "$2b$06$abcdefghijklmnopqrstuu50eFBEC8vQwBnuFXMHE45jBnqvQ8xz.\n");
    let bob = place.json(0, &["user", "add", "bob@example.com", "--hash-file", "hash.txt", "--json"]);
    assert_eq!(bob["has_password"], true);
    let both = ["user", "add", "eve@example.com", "--hash-file", "hash.txt", "--password-file", "password.txt"];
    place.expect(2, &both);
    place.expect(2, &["user", "add", "eve@example.com", "--hash-file", "missing.txt"]);
    for (hash, said) in [
        ("correct horse battery", "no hash"),
        ("$2b$06$short", "no whole hash of bcrypt"),
        ("$2b$31$abcdefghijklmnopqrstuu50eFBEC8vQwBnuFXMHE45jBnqvQ8xz.", "cost 31"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "no hash"),
    ] {
        place.write("odd.txt", hash);
        let refused = place.run(&["user", "add", "eve@example.com", "--hash-file", "odd.txt"]);
        let err = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{hash}: {err}");
        assert!(err.contains(said) && !err.contains(hash), "{hash}: {err}");
    }
    assert_eq!(place.json(0, &["user", "list", "--json"]).as_array().map(Vec::len), Some(2), "nothing is left of them");
    let server = served(&place);
    assert_eq!(log_in(&server, "bob@example.com").0, 200, "with the password that they have");
    assert_eq!(log_in(&server, "eve@example.com").0, 401);
}

#[test]
fn keys_are_listed_rotated_and_withdrawn() {
    let place = with_owner();
    assert_eq!(place.json(0, &["key", "list", "--json"]), json!([]));
    let first = place.expect(0, &["key", "rotate", "--plain"]).trim().to_owned();
    let server = served(&place);
    let (status, tokens) = log_in(&server, ADA);
    assert_eq!(status, 200, "{tokens}");
    let rotated = place.json(0, &["key", "rotate", "--json"]);
    let second = rotated["samples"][0].as_str().expect("an id").to_owned();
    let listed = place.json(0, &["key", "list", "--json"]);
    let keys: Vec<(&str, bool)> = listed
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| (key["id"].as_str().expect("an id"), key["signs"] == true))
        .collect();
    assert_eq!(keys, [(second.as_str(), true), (first.as_str(), false)], "newest first");
    assert!(listed[0]["ends_at"].is_null() && listed[1]["ends_at"].is_string(), "{listed}");
    assert!(!listed.to_string().contains("secret"), "{listed}");
    assert_eq!(place.json(0, &["key", "withdraw", &first, "--json"])["affected"], 1);
    assert_eq!(place.json(0, &["key", "list", "--json"]).as_array().map(Vec::len), Some(1));
    place.expect(3, &["key", "withdraw", &first]);
    place.expect(2, &["key", "withdraw", "no id"]);
    let said = place.expect(0, &["key", "withdraw", &second]);
    assert!(said.contains(&second), "{said}");
    assert_eq!(log_in(&server, ADA).0, 200, "the next login makes another");
    let actions = place.json(0, &["audit", "list", "--installation", "--json"]);
    let actions: Vec<&str> =
        actions.as_array().expect("rows").iter().filter_map(|row| row["action"].as_str()).collect();
    assert!(actions.contains(&"key.rotate") && actions.contains(&"key.withdraw"), "{actions:?}");
}

#[test]
fn a_role_that_keeps_tenants_apart_is_made_by_the_owner_of_the_tables() {
    let schema = Schema::new();
    let url = schema.migrated();
    let place = Place::new();
    let role = format!("gristmill_api_{}", uuid::Uuid::now_v7().simple());
    place.write("config.toml", &format!("[store]\nurl = \"{url}\"\napi_role = \"{role}\"\n"));
    let unmade = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    let err = String::from_utf8_lossy(&unmade.stderr).into_owned();
    assert_eq!(unmade.status.code(), Some(5), "{err}");
    assert!(err.contains("api_role") && err.contains("gristmill db roles"), "{err}");
    let made = place.json(0, &["db", "roles", "--json"]);
    assert_eq!(made["samples"], json!([role]));
    assert_eq!(place.json(0, &["db", "roles", "--json"])["samples"], json!([role]), "again is well");
    assert_eq!(place.expect(0, &["db", "roles", "--plain"]).trim(), role);
    let there =
        format!("SELECT count(*) FROM pg_roles WHERE rolname = '{role}' AND NOT rolcanlogin AND NOT rolbypassrls");
    assert_eq!(schema.count(&there), 1, "it neither logs in nor sees past the policies");
    let forbidden = format!(
        "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = '{role}' AND table_name = 'access_session'"
    );
    assert_eq!(schema.count(&forbidden), 0, "no session is for it");
    let server = Server::of(place.command(&["serve", "--listen", "127.0.0.1:0"]));
    let (status, job) = post(&server, "/api/v1/jobs", &json!({ "kind": "exec", "payload": { "command": ["true"] } }));
    assert_eq!(status, 201, "{job}");
    drop(server);
    schema.change(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn on_sqlite_no_role_keeps_tenants_apart_and_that_is_said() {
    let place = with_owner();
    let refused = place.run(&["db", "roles"]);
    let err = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code().is_some_and(|code| code != 0) && err.contains("PostgreSQL"), "{err}");
}
