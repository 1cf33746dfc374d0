//! The services, as strict as their documentation allows them to be.

#![allow(unreachable_pub, reason = "a test program of one file uses it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::response::Response;
use gristmill_jobs::notify::ChannelKind;
use gristmill_testkit::http::{FakeHttp, Seen, reply};
use serde_json::{Value, json};

/// What lets in.
pub const TOKEN: &str = "R0123456789abcdef0123456789abcdef";

/// A service, what it has taken, and why it has refused the rest.
pub struct Service {
    http: FakeHttp,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    taken: usize,
    refused: Vec<String>,
    /// What is shown, by the id that its sender gave it.
    shown: BTreeSet<String>,
    /// What is wrong at the moment, by its key, with the severity of each label set.
    open: BTreeMap<(String, String), ()>,
}

impl Service {
    pub async fn start(kind: ChannelKind) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let http = FakeHttp::start(move |seen| {
            let answer = answer(kind, &seen, &shared);
            async move { answer }
        })
        .await;
        Self { http, state }
    }

    pub fn url(&self) -> String {
        self.http.url("")
    }

    pub fn taken(&self) -> usize {
        self.state().taken
    }

    pub fn shown(&self) -> usize {
        self.state().shown.len()
    }

    pub fn refused(&self) -> Vec<String> {
        self.state().refused.clone()
    }

    /// The keys of what is wrong, sorted.
    pub fn open(&self) -> Vec<String> {
        let keys: BTreeSet<String> = self.state().open.keys().map(|(key, _)| key.clone()).collect();
        keys.into_iter().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

fn answer(kind: ChannelKind, seen: &Seen, state: &Mutex<State>) -> Response {
    let mut state = state.lock().expect("no panic");
    let judged = match serde_json::from_slice(&seen.body) {
        Ok(body) => judge(kind, seen, &body, &mut state),
        Err(error) => Err(format!("no JSON: {error}")),
    };
    match judged {
        Ok((status, body)) => {
            state.taken += 1;
            reply(status, &[("content-type", "application/json")], body)
        }
        Err(why) => {
            state.refused.push(why);
            reply(400, &[], "refused")
        }
    }
}

fn judge(kind: ChannelKind, seen: &Seen, body: &Value, state: &mut State) -> Result<(u16, String), String> {
    let bearer = format!("Bearer {TOKEN}");
    let hook = format!("/hook/{TOKEN}");
    match kind {
        ChannelKind::Slack => asked(seen, "POST", &hook).and_then(|()| slack(body)).map(|()| (200, "ok".to_owned())),
        ChannelKind::Discord => asked(seen, "POST", &hook).and_then(|()| discord(body)).map(|()| (204, String::new())),
        ChannelKind::Teams => asked(seen, "POST", &hook).and_then(|()| teams(body)).map(|()| (202, String::new())),
        ChannelKind::Telegram => {
            asked(seen, "POST", &format!("/bot{TOKEN}/sendMessage"))?;
            telegram(body).map(|()| (200, json!({ "ok": true, "result": { "message_id": 1 } }).to_string()))
        }
        ChannelKind::Ntfy => {
            asked(seen, "POST", "/")?;
            with(seen, &bearer)?;
            ntfy(body).map(|()| (200, json!({ "id": "x", "event": "message" }).to_string()))
        }
        ChannelKind::Matrix => {
            with(seen, &bearer)?;
            matrix(seen, body, state).map(|()| (200, json!({ "event_id": "$x" }).to_string()))
        }
        ChannelKind::Pagerduty => {
            asked(seen, "POST", "/v2/enqueue")?;
            pagerduty(body, state).map(|()| (202, json!({ "status": "success" }).to_string()))
        }
        ChannelKind::Opsgenie => {
            with(seen, &format!("GenieKey {TOKEN}"))?;
            opsgenie(seen, body, state).map(|()| (202, json!({ "result": "Request will be processed" }).to_string()))
        }
        ChannelKind::Alertmanager => {
            asked(seen, "POST", "/api/v2/alerts")?;
            with(seen, &bearer)?;
            alertmanager(body, state).map(|()| (200, String::new()))
        }
        ChannelKind::Http => {
            with(seen, &bearer)?;
            sure(body["type"].is_string() && body["title"].is_string() && body["severity"].is_string(), "a notice")?;
            Ok((200, String::new()))
        }
        ChannelKind::Email => Err("no service".to_owned()),
    }
}

fn sure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn asked(seen: &Seen, method: &str, path: &str) -> Result<(), String> {
    sure(seen.method == method && seen.path == path, &format!("{} {}", seen.method, seen.path))
}

fn with(seen: &Seen, authorization: &str) -> Result<(), String> {
    sure(seen.headers.get("authorization").is_some_and(|value| value == authorization), "Authorization")
}

fn length(value: &Value, most: usize, what: &str) -> Result<(), String> {
    let text = value.as_str().ok_or_else(|| format!("{what} is no text"))?;
    let characters = text.chars().count();
    sure((1..=most).contains(&characters), &format!("{what} has {characters} characters, at most {most}"))
}

/// Entities that are whole, and no other `<`, `>` or `&`, but for the one link.
fn escaped(text: &str, what: &str) -> Result<(), String> {
    let links = text.replace("|Look at it>", "").replace("<https://jobs.example.com/", "");
    let bare = links.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
    // What was cut in the middle of an entity is shown, and calls for no person.
    sure(!bare.contains(['<', '>']), &format!("{what} holds a bare < or >: {bare}"))
}

fn slack(body: &Value) -> Result<(), String> {
    length(&body["text"], 4_000, "text")?;
    escaped(body["text"].as_str().unwrap_or_default(), "text")?;
    let blocks = body["blocks"].as_array().ok_or("no blocks")?;
    sure(blocks.len() <= 50, "at most 50 blocks")?;
    for block in blocks {
        match block["type"].as_str() {
            Some("header") => length(&block["text"]["text"], 150, "header")?,
            Some("section") => {
                sure(block["text"].is_object() || block["fields"].is_array(), "a section is empty")?;
                if block["text"].is_object() {
                    length(&block["text"]["text"], 3_000, "section")?;
                    escaped(block["text"]["text"].as_str().unwrap_or_default(), "section")?;
                }
                let fields = block["fields"].as_array().map_or(&[][..], Vec::as_slice);
                sure(fields.len() <= 10, "at most 10 fields")?;
                for field in fields {
                    length(&field["text"], 2_000, "field")?;
                    escaped(field["text"].as_str().unwrap_or_default(), "field")?;
                }
            }
            other => return Err(format!("a block of type {other:?}")),
        }
    }
    Ok(())
}

fn discord(body: &Value) -> Result<(), String> {
    length(&body["content"], 2_000, "content")?;
    sure(body["allowed_mentions"] == json!({ "parse": [] }), "a person could be called for")?;
    let embed = &body["embeds"][0];
    length(&embed["title"], 256, "title")?;
    sure(embed["description"].as_str().is_some_and(|text| text.chars().count() <= 4_096), "description")?;
    let mut all = embed["title"].as_str().unwrap_or_default().chars().count();
    all += embed["description"].as_str().unwrap_or_default().chars().count();
    let fields = embed["fields"].as_array().ok_or("no fields")?;
    sure(fields.len() <= 25, "at most 25 fields")?;
    for field in fields {
        length(&field["name"], 256, "name of a field")?;
        length(&field["value"], 1_024, "value of a field")?;
        all += field["name"].as_str().unwrap_or_default().chars().count();
        all += field["value"].as_str().unwrap_or_default().chars().count();
    }
    sure(all <= 6_000, "at most 6,000 characters in all")
}

fn teams(body: &Value) -> Result<(), String> {
    sure(body.to_string().len() <= 28 * 1_024, "at most 28 KB")?;
    let card = &body["attachments"][0];
    sure(body["type"] == "message" && card["contentType"] == "application/vnd.microsoft.card.adaptive", "no card")?;
    let content = &card["content"];
    sure(content["type"] == "AdaptiveCard" && content["version"].is_string(), "no adaptive card")?;
    sure(content["body"].as_array().is_some_and(|body| !body.is_empty()), "empty")?;
    let link = content["body"].to_string().replace("\\\\]\\\\(", "");
    sure(!link.contains("]("), "a link that the data made")
}

fn telegram(body: &Value) -> Result<(), String> {
    sure(body["chat_id"] == "-100123" && body["parse_mode"] == "HTML", "chat and mode")?;
    let text = body["text"].as_str().ok_or("no text")?;
    let bare = text.replace("<b>", "").replace("</b>", "");
    sure(!bare.contains(['<', '>']), "a tag that is not known")?;
    let whole = bare.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
    sure(!whole.contains('&'), "half an entity")?;
    // The limit is on what is shown, in units of UTF-16.
    let shown = bare.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    sure(shown.encode_utf16().count() <= 4_096, "at most 4,096 characters")
}

fn ntfy(body: &Value) -> Result<(), String> {
    sure(body["topic"] == "nightly", "topic")?;
    sure(body["priority"].as_u64().is_some_and(|priority| (1..=5).contains(&priority)), "priority")?;
    sure(body["message"].as_str().is_some_and(|text| text.len() <= 4_096), "at most 4,096 bytes")
}

fn matrix(seen: &Seen, body: &Value, state: &mut State) -> Result<(), String> {
    sure(seen.method == "PUT", "PUT")?;
    let id = seen.path.strip_prefix("/_matrix/client/v3/rooms/%21a%2Fb%3Am.example/send/m.room.message/");
    let id = id.ok_or_else(|| seen.path.clone())?;
    sure(["m.text", "m.notice"].iter().any(|kind| body["msgtype"] == *kind), "msgtype")?;
    sure(body["format"] == "org.matrix.custom.html" && body["body"].is_string(), "format and body")?;
    sure(body.to_string().len() <= 65_536, "at most 65,536 bytes")?;
    let formatted = body["formatted_body"].as_str().unwrap_or_default();
    let bare = formatted.replace("<strong>", "").replace("</strong>", "").replace("<br>", "");
    sure(!bare.contains(['<', '>']), "a tag that the data made")?;
    state.shown.insert(id.to_owned());
    Ok(())
}

fn pagerduty(body: &Value, state: &mut State) -> Result<(), String> {
    sure(body["routing_key"] == TOKEN, "routing_key")?;
    length(&body["dedup_key"], 255, "dedup_key")?;
    let key = (body["dedup_key"].as_str().unwrap_or_default().to_owned(), String::new());
    sure(body.to_string().len() <= 512 * 1_024, "at most 512 KB")?;
    match body["event_action"].as_str() {
        Some("resolve") => {
            state.open.remove(&key);
            Ok(())
        }
        Some("trigger") => {
            let payload = &body["payload"];
            length(&payload["summary"], 1_024, "summary")?;
            length(&payload["source"], 255, "source")?;
            let known = ["critical", "error", "warning", "info"];
            sure(known.iter().any(|severity| payload["severity"] == *severity), "severity")?;
            state.open.insert(key, ());
            Ok(())
        }
        other => Err(format!("event_action {other:?}")),
    }
}

fn opsgenie(seen: &Seen, body: &Value, state: &mut State) -> Result<(), String> {
    sure(seen.method == "POST", "POST")?;
    if seen.path == "/v2/alerts" {
        length(&body["message"], 130, "message")?;
        length(&body["alias"], 512, "alias")?;
        sure(body["description"].as_str().is_some_and(|text| text.chars().count() <= 15_000), "description")?;
        sure(["P1", "P2", "P3", "P4", "P5"].iter().any(|priority| body["priority"] == *priority), "priority")?;
        state.open.insert((body["alias"].as_str().unwrap_or_default().to_owned(), String::new()), ());
        return Ok(());
    }
    let alias = seen.path.strip_prefix("/v2/alerts/").and_then(|rest| rest.strip_suffix("/close?identifierType=alias"));
    let alias = decoded(alias.ok_or_else(|| seen.path.clone())?)?;
    state.open.remove(&(alias, String::new()));
    Ok(())
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let pair: Vec<u8> = rest.by_ref().take(2).collect();
        let pair = String::from_utf8(pair).map_err(|error| error.to_string())?;
        bytes.push(u8::from_str_radix(&pair, 16).map_err(|error| error.to_string())?);
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn alertmanager(body: &Value, state: &mut State) -> Result<(), String> {
    for alert in body.as_array().ok_or("no list")? {
        let labels = alert["labels"].as_object().ok_or("no labels")?;
        sure(labels.values().all(|value| value.as_str().is_some_and(|text| !text.is_empty())), "an empty label")?;
        sure(labels.contains_key("alertname"), "alertname")?;
        let instant = |key: &str| {
            let text = alert[key].as_str().ok_or_else(|| format!("no {key}"))?;
            chrono::DateTime::parse_from_rfc3339(text).map_err(|error| error.to_string())
        };
        let (starts, ends) = (instant("startsAt")?, instant("endsAt")?);
        sure(starts <= ends, "it ends before it begins")?;
        let label = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
        let key = (label("key"), label("severity"));
        if ends <= chrono::Utc::now() {
            state.open.remove(&key);
        } else {
            state.open.insert(key, ());
        }
    }
    Ok(())
}
