//! Services that keep track of what is wrong: what has the same key is the same trouble, and an end ends it.

use chrono::TimeDelta;
use reqwest::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use super::chat::segment;
use super::notice::{Notice, clip};
use super::request::{Request, Secrets};
use super::severity::Severity;

/// How we are named there.
const SOURCE: &str = "gristmill";

/// How long Alertmanager takes an alert as firing that is not said again: ours are said once.
const FIRING: TimeDelta = TimeDelta::days(1);

/// PagerDuty: <https://developer.pagerduty.com/docs/send-alert-event>. A summary has at most 1,024 characters, a key 255.
pub(super) fn pagerduty(secrets: &Secrets, notice: &Notice) -> Request {
    let key = secrets.token.as_deref().unwrap_or_default();
    let dedup = clip(&notice.key, 255);
    let url = format!("{}/v2/enqueue", secrets.url.trim_end_matches('/'));
    if notice.is_end() {
        return Request::json(url, &json!({ "routing_key": key, "event_action": "resolve", "dedup_key": dedup }));
    }
    let severity = match notice.severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info | Severity::Ok => "info",
    };
    let mut details = facts(notice);
    if !notice.text.is_empty() {
        details.insert("Text".to_owned(), json!(notice.text));
    }
    let links: Vec<Value> = notice.link.iter().map(|link| json!({ "href": link, "text": "Look at it" })).collect();
    Request::json(
        url,
        &json!({
            "routing_key": key, "event_action": "trigger", "dedup_key": dedup, "client": SOURCE, "links": links,
            "payload": {
                "summary": clip(&notice.title, 1_024), "source": SOURCE, "severity": severity,
                "timestamp": notice.at.to_rfc3339(), "class": notice.event, "custom_details": details,
            },
        }),
    )
}

/// Opsgenie: <https://docs.opsgenie.com/docs/alert-api>. A message has at most 130 characters, a description 15,000.
pub(super) fn opsgenie(secrets: &Secrets, notice: &Notice) -> Result<Request, String> {
    let alias = clip(&notice.key, 512);
    let base = secrets.url.trim_end_matches('/');
    let request = if notice.is_end() {
        let url = format!("{base}/v2/alerts/{}/close?identifierType=alias", segment(&alias));
        Request::json(url, &json!({ "source": SOURCE, "note": clip(&notice.title, 1_000) }))
    } else {
        let priority = match notice.severity {
            Severity::Critical => "P1",
            Severity::Warning => "P3",
            Severity::Info | Severity::Ok => "P5",
        };
        let body = json!({
            "message": clip(&notice.title, 130), "alias": alias, "description": clip(&notice.plain(), 15_000),
            "priority": priority, "source": SOURCE, "details": facts(notice), "tags": [notice.event],
        });
        Request::json(format!("{base}/v2/alerts"), &body)
    };
    let key = secrets.token.as_deref().unwrap_or_default();
    request.with_secret(AUTHORIZATION, &format!("GenieKey {key}"))
}

/// Alertmanager: <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>. Its labels name an alert, the
/// severity among them. Which one a trouble had is not known at its end, so that it ends for each of them: an end of what has not
/// begun is not passed on.
pub(super) fn alertmanager(secrets: &Secrets, notice: &Notice) -> Result<Request, String> {
    let (severities, ends) = match notice.is_end() {
        true => (vec![Severity::Info, Severity::Warning, Severity::Critical], notice.at),
        false => (vec![notice.severity], notice.at + FIRING),
    };
    let alert = |severity: Severity| {
        let mut alert = json!({
            "labels": { "alertname": "Gristmill", "job": SOURCE, "key": notice.key, "severity": severity.as_str() },
            "annotations": { "summary": notice.title, "description": notice.plain() },
            "startsAt": notice.at.to_rfc3339(), "endsAt": ends.to_rfc3339(),
        });
        if let Some(link) = &notice.link {
            alert["generatorURL"] = json!(link);
        }
        alert
    };
    let alerts: Vec<Value> = severities.into_iter().map(alert).collect();
    Request::json(format!("{}/api/v2/alerts", secrets.url.trim_end_matches('/')), &json!(alerts)).with_bearer(secrets)
}

fn facts(notice: &Notice) -> Map<String, Value> {
    notice.facts.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}
