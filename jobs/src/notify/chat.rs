//! Services in which people read. Their limits on lengths are those of their own documentation.

use serde_json::{Value, json};

use super::notice::{Notice, clip};
use super::request::{Request, Secrets};
use super::severity::Severity;

/// Slack: <https://docs.slack.dev/reference/block-kit/blocks>. A header has at most 150 characters, a section 3,000, a
/// field 2,000, and a section at most ten fields.
pub(super) fn slack(secrets: &Secrets, notice: &Notice) -> Request {
    let mark = mark(notice.severity);
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": clip(&format!("{mark} {}", notice.title), 150), "emoji": true },
    })];
    let section = |text: String| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } });
    if !notice.text.is_empty() {
        blocks.push(section(clip(&slack_text(&notice.text), 3_000)));
    }
    let field = |(name, value): &(String, String)| json!({ "type": "mrkdwn", "text": clip(&format!("*{}*\n{}", slack_text(name), slack_text(value)), 2_000) });
    let fields: Vec<Value> = notice.facts.iter().take(10).map(field).collect();
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    if let Some(link) = &notice.link {
        blocks.push(section(format!("<{}|Look at it>", slack_text(link))));
    }
    let fallback = clip(&slack_text(&format!("{mark} {}", notice.title)), 300);
    Request::json(secrets.url.clone(), &json!({ "text": fallback, "blocks": blocks }))
}

/// Three characters are Slack's own; nothing else can begin a link or call for a person.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Discord: <https://discord.com/developers/docs/resources/webhook#execute-webhook>. A title has at most 256 characters, a
/// description 4,096, a field's name 256 and its value 1,024; there are at most 25 fields. No person is called for.
pub(super) fn discord(secrets: &Secrets, notice: &Notice) -> Request {
    let field = |(name, value): &(String, String)| json!({ "name": clip(&markdown(name), 256), "value": clip(&markdown(value), 1_024), "inline": value.len() < 40 });
    let mut embed = json!({
        "title": clip(&notice.title, 256),
        "description": clip(&markdown(&notice.text), 4_096),
        "color": colour(notice.severity),
        "fields": notice.facts.iter().take(25).map(field).collect::<Vec<_>>(),
        "timestamp": notice.at.to_rfc3339(),
    });
    if let Some(link) = &notice.link {
        embed["url"] = json!(link);
    }
    let content = clip(&format!("{} {}", mark(notice.severity), markdown(&notice.title)), 2_000);
    let body = json!({ "content": content, "embeds": [embed], "allowed_mentions": { "parse": [] } });
    Request::json(secrets.url.clone(), &body)
}

/// A text in which no character of Markdown means anything.
fn markdown(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        if "\\`*_~|>[]()#".contains(char) {
            plain.push('\\');
        }
        plain.push(char);
    }
    plain
}

/// Teams, by a workflow that is started by a web request: an adaptive card,
/// <https://adaptivecards.io/explorer/AdaptiveCard.html>.
pub(super) fn teams(secrets: &Secrets, notice: &Notice) -> Request {
    let colour = match notice.severity {
        Severity::Ok => "Good",
        Severity::Info => "Default",
        Severity::Warning => "Warning",
        Severity::Critical => "Attention",
    };
    let mut body = vec![json!({
        "type": "TextBlock", "text": markdown(&notice.title), "weight": "Bolder", "size": "Medium", "color": colour, "wrap": true,
    })];
    if !notice.text.is_empty() {
        body.push(json!({ "type": "TextBlock", "text": markdown(&notice.text), "wrap": true }));
    }
    if !notice.facts.is_empty() {
        let fact = |(name, value): &(String, String)| json!({ "title": markdown(name), "value": markdown(value) });
        body.push(json!({ "type": "FactSet", "facts": notice.facts.iter().map(fact).collect::<Vec<_>>() }));
    }
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body,
    });
    if let Some(link) = &notice.link {
        card["actions"] = json!([{ "type": "Action.OpenUrl", "title": "Look at it", "url": link }]);
    }
    let attachment =
        json!({ "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card });
    Request::json(secrets.url.clone(), &json!({ "type": "message", "attachments": [attachment] }))
}

/// Telegram: <https://core.telegram.org/bots/api#sendmessage>. A message has at most 4,096 characters; what is good to know
/// makes no sound.
pub(super) fn telegram(secrets: &Secrets, chat: &str, notice: &Notice) -> Request {
    // Cut before it is escaped: half an entity would be refused. Some characters count as two.
    let below = clip(&notice.plain(), 1_800);
    let text = format!("{} <b>{}</b>\n{}", mark(notice.severity), html(&clip(&notice.title, 200)), html(&below));
    let body = json!({
        "chat_id": chat, "text": text.trim_end(), "parse_mode": "HTML",
        "disable_notification": notice.severity <= Severity::Info, "link_preview_options": { "is_disabled": true },
    });
    let token = secrets.token.as_deref().unwrap_or_default();
    Request::json(format!("{}/bot{token}/sendMessage", base(secrets)), &body)
}

/// ntfy: <https://docs.ntfy.sh/publish/#publish-as-json>. A message has at most 4,096 bytes.
pub(super) fn ntfy(secrets: &Secrets, topic: &str, notice: &Notice) -> Result<Request, String> {
    let (priority, tag) = match notice.severity {
        Severity::Ok => (2, "white_check_mark"),
        Severity::Info => (3, "information_source"),
        Severity::Warning => (4, "warning"),
        Severity::Critical => (5, "rotating_light"),
    };
    let mut message = notice.plain();
    // One character has at most four bytes.
    if message.len() > 4_096 {
        message = clip(&message, 1_024);
    }
    let mut body =
        json!({ "topic": topic, "title": notice.title, "message": message, "priority": priority, "tags": [tag] });
    if let Some(link) = &notice.link {
        body["click"] = json!(link);
    }
    Request::json(base(secrets).to_owned(), &body).with_bearer(secrets)
}

/// Matrix: <https://spec.matrix.org/latest/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>. A server takes
/// what has the same id once.
pub(super) fn matrix(secrets: &Secrets, room: &str, notice: &Notice, id: &str) -> Result<Request, String> {
    let mark = mark(notice.severity);
    let plain = notice.plain();
    let formatted =
        format!("{mark} <strong>{}</strong><br>{}", html(&notice.title), html(&plain).replace('\n', "<br>"));
    // What is good to know is a notice, which other programs do not answer.
    let kind = if notice.severity <= Severity::Info { "m.notice" } else { "m.text" };
    let body = json!({
        "msgtype": kind, "body": format!("{mark} {}\n{plain}", notice.title),
        "format": "org.matrix.custom.html", "formatted_body": formatted,
    });
    let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/{}", segment(room), segment(id));
    let request = Request::json(format!("{}{path}", base(secrets)), &body);
    Request { method: reqwest::Method::PUT, ..request }.with_bearer(secrets)
}

fn base(secrets: &Secrets) -> &str {
    secrets.url.trim_end_matches('/')
}

/// A text as one segment of a path (RFC 3986).
pub(super) fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "✅",
        Severity::Info => "ℹ️",
        Severity::Warning => "⚠️",
        Severity::Critical => "🚨",
    }
}

/// As one number, red in its upper bits.
fn colour(severity: Severity) -> u32 {
    match severity {
        Severity::Ok => 0x2e_7d32,
        Severity::Info => 0x15_65c0,
        Severity::Warning => 0xef_6c00,
        Severity::Critical => 0xc6_2828,
    }
}
