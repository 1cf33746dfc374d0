//! What a service's answer to a notice means: pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::settings::ChannelKind;
use crate::handler::Finish;
use crate::kind::webhook::trouble;
use crate::outbound::Answer;
use crate::settings::RetryAfter;

/// The longest wait that a service is granted.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// How a job ends by what the service answers. One that asks for a later try gets it, and no attempt is spent on that.
pub(crate) fn judged(kind: ChannelKind, name: &str, mut answer: Answer) -> Finish {
    if answer.retry_after.is_none() && answer.status == 429 {
        answer.retry_after = asked_in_body(kind, &answer);
    }
    answer.retry_after = answer.retry_after.map(|wait| wait.min(WAIT_MAX));
    if matches!(answer.status, 401 | 403) {
        let hint = match kind {
            ChannelKind::Slack | ChannelKind::Discord | ChannelKind::Teams => "the address may have been withdrawn",
            _ => "see its token",
        };
        return Finish::permanent(format!("`notify.{name}` is not let in by {kind}: {}; {hint}", answer.status));
    }
    if let Some(finish) = trouble(&answer, kind.as_str(), RetryAfter::Snooze) {
        return finish;
    }
    match refused_in_body(kind, &answer) {
        Some(why) => Finish::permanent(format!("{kind} answers {}, but does not take it: {why}", answer.status)),
        None => Finish::done(Some(json!({ "channel": name, "status": answer.status }))),
    }
}

/// The wait that some name in the body alone.
fn asked_in_body(kind: ChannelKind, answer: &Answer) -> Option<Duration> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let seconds = match kind {
        ChannelKind::Telegram => body["parameters"]["retry_after"].as_f64()?,
        ChannelKind::Discord => body["retry_after"].as_f64()?,
        ChannelKind::Matrix => body["retry_after_ms"].as_f64()? / 1_000.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// Some say by a 200 that they have not taken it.
fn refused_in_body(kind: ChannelKind, answer: &Answer) -> Option<String> {
    let text = answer.text();
    match kind {
        ChannelKind::Slack if text.trim() != "ok" => Some(format!("`{}`", text.chars().take(200).collect::<String>())),
        ChannelKind::Telegram => {
            let body: Value = serde_json::from_str(&text).unwrap_or_default();
            let why = || body["description"].as_str().unwrap_or("no reason given").to_owned();
            (body["ok"] != true).then(why)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::settle::Ending;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: body.as_bytes().to_vec(), cut: false, content_type: None }
    }

    #[test]
    fn each_service_says_in_its_own_way_that_it_has_taken_it() {
        use ChannelKind::*;
        for (kind, status, body) in [
            (Slack, 200, "ok"),
            (Discord, 204, ""),
            (Teams, 202, ""),
            (Telegram, 200, r#"{"ok":true,"result":{}}"#),
            (Ntfy, 200, r#"{"id":"x"}"#),
            (Matrix, 200, r#"{"event_id":"$x"}"#),
            (Pagerduty, 202, r#"{"status":"success"}"#),
            (Opsgenie, 202, r#"{"result":"Request will be processed"}"#),
            (Alertmanager, 200, ""),
        ] {
            assert_eq!(judged(kind, "ops", answer(status, body)).ending, Ending::Done, "{kind}");
        }
    }

    #[test]
    fn a_wait_that_is_asked_for_is_granted_and_costs_no_attempt() {
        use ChannelKind::*;
        for (kind, body, millis) in [
            (Telegram, r#"{"ok":false,"error_code":429,"parameters":{"retry_after":14}}"#, 14_000),
            (Discord, r#"{"message":"You are being rate limited.","retry_after":0.5}"#, 500),
            (Matrix, r#"{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":2000}"#, 2_000),
            (Matrix, r#"{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1e18}"#, 3_600_000),
        ] {
            let finish = judged(kind, "ops", answer(429, body));
            assert_eq!(finish.ending, Ending::Snoozed { wait: Duration::from_millis(millis) }, "{body}");
        }
        let unsaid = judged(Slack, "ops", answer(429, "rate_limited"));
        assert!(matches!(unsaid.ending, Ending::Failed { .. }), "{unsaid:?}");
    }

    #[test]
    fn what_no_repetition_mends_is_given_up_with_the_reason() {
        use ChannelKind::*;
        for (kind, status, body, word) in [
            (Slack, 200, "<html>log in</html>", "does not take it"),
            (Slack, 404, "no_service", "no_service"),
            (Telegram, 400, r#"{"ok":false,"description":"Bad Request: chat not found"}"#, "chat not found"),
            (Telegram, 401, "", "see its token"),
            (Pagerduty, 400, r#"{"errors":["Length of 'routing_key' is incorrect"]}"#, "routing_key"),
        ] {
            let finish = judged(kind, "ops", answer(status, body));
            assert_eq!(finish.ending, Ending::Permanent, "{kind} {status}");
            assert!(finish.error.as_deref().is_some_and(|said| said.contains(word)), "{finish:?}");
        }
        assert!(matches!(judged(Opsgenie, "ops", answer(502, "")).ending, Ending::Failed { .. }));
    }
}
