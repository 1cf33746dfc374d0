//! Whether a delivery is authentic, and which event it reports. Pure: the headers, the bytes and the time are
//! arguments.

use std::time::Duration;

use axum::http::HeaderMap;
use gristmill_core::json;
use gristmill_jobs::signature::{verify_standard, verify_timestamped};
use gristmill_store::EVENT_CHARS_MAX;
use serde_json::Value;

use super::settings::{HookSettings, Scheme};

/// Why a delivery is refused. A sender that has signed sees the reason; any other sender learns nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A header is missing or malformed.
    Unsigned,
    /// No secret has signed it.
    Forged,
    /// It was signed too long ago, or in the future.
    Stale,
    /// It is signed, but does not fit: what is wrong, and where.
    Unfit(String),
}

/// A delivery that has been accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// The id of its event.
    pub event: String,
    /// Its content.
    pub body: Value,
}

/// Verifies a delivery. `now` is seconds since 1970.
///
/// # Errors
///
/// [`Refused`].
pub fn admit(
    settings: &HookSettings,
    secrets: &[Vec<u8>],
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<Admitted, Refused> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Refused::Unsigned);
    let (timestamp, id) = match settings.scheme {
        Scheme::Standard => {
            let (id, timestamp) = (text("webhook-id")?, text("webhook-timestamp")?);
            if !verify_standard(secrets, id, timestamp, body, text("webhook-signature")?) {
                return Err(Refused::Forged);
            }
            (timestamp, Some(id.to_owned()))
        }
        Scheme::Timestamped => {
            let header = text(settings.header.as_deref().unwrap_or("stripe-signature"))?;
            (verify_timestamped(secrets, body, header).ok_or(Refused::Forged)?, None)
        }
    };
    in_time(timestamp, now, settings.tolerance.0)?;
    let body =
        json::read(body).map_err(|error| Refused::Unfit(format!("the body is not JSON that can be kept: {error}")))?;
    let event = match id {
        Some(id) => id,
        None => pointed(&body, settings.event.as_deref().unwrap_or("/id"))?,
    };
    if event.is_empty() || event.chars().count() > EVENT_CHARS_MAX {
        return Err(Refused::Unfit(format!("the id of an event has 1 to {EVENT_CHARS_MAX} characters")));
    }
    Ok(Admitted { event, body })
}

fn in_time(timestamp: &str, now: i64, tolerance: Duration) -> Result<(), Refused> {
    let signed: i64 = timestamp.parse().map_err(|_| Refused::Stale)?;
    if now.abs_diff(signed) <= tolerance.as_secs() { Ok(()) } else { Err(Refused::Stale) }
}

fn pointed(body: &Value, pointer: &str) -> Result<String, Refused> {
    match body.pointer(pointer) {
        Some(Value::String(id)) => Ok(id.clone()),
        Some(Value::Number(id)) => Ok(id.to_string()),
        _ => Err(Refused::Unfit(format!("there is no id of the event at `{pointer}`: a text or a number"))),
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::duration::Span;
    use gristmill_jobs::signature::{key, signatures};

    use super::*;

    const SIGNED_AT: i64 = 1_614_265_330;

    fn standard(signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", signature),
        ] {
            headers.insert(name, value.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn the_published_example_is_let_in_within_its_tolerance_on_both_sides() {
        let secrets = [key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret")];
        let headers = standard("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let settings = HookSettings { tolerance: Span(Duration::from_secs(300)), ..HookSettings::default() };
        let at = |now| admit(&settings, &secrets, &headers, br#"{"test": 2432232314}"#, now);
        let admitted = at(SIGNED_AT).expect("let in");
        assert_eq!(
            (admitted.event.as_str(), &admitted.body["test"]),
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", &2_432_232_314_u64.into())
        );
        for (shift, expected) in [(300, true), (-300, true), (301, false), (-301, false), (i64::MAX - SIGNED_AT, false)]
        {
            assert_eq!(at(SIGNED_AT + shift).is_ok(), expected, "{shift}");
        }
        assert_eq!(at(SIGNED_AT + 301), Err(Refused::Stale));
        assert_eq!(admit(&settings, &secrets, &headers, b"{}", SIGNED_AT), Err(Refused::Forged));
        assert_eq!(admit(&settings, &secrets, &HeaderMap::new(), b"{}", SIGNED_AT), Err(Refused::Unsigned));
    }

    #[test]
    fn whoever_has_signed_is_told_what_does_not_fit_and_where() {
        let secrets = [vec![3; 24]];
        let settings = HookSettings::default();
        let refused = |body: &[u8]| {
            let signature = signatures(&secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", SIGNED_AT, body);
            admit(&settings, &secrets, &standard(&signature), body, SIGNED_AT)
        };
        let Err(Refused::Unfit(wrong)) = refused(b"{\"a\": }") else { panic!("let in") };
        assert!(wrong.contains("at column 7"), "{wrong}");
        assert!(matches!(refused(b""), Err(Refused::Unfit(_))));
        assert!(matches!(refused(b"\xff"), Err(Refused::Unfit(_))));
    }

    #[test]
    fn the_events_id_is_where_the_pointer_says() {
        let body = serde_json::json!({ "id": "evt_1", "data": { "n": 7, "none": null } });
        assert_eq!(pointed(&body, "/id").as_deref(), Ok("evt_1"));
        assert_eq!(pointed(&body, "/data/n").as_deref(), Ok("7"));
        for pointer in ["/data", "/data/none", "/else"] {
            assert!(matches!(pointed(&body, pointer), Err(Refused::Unfit(wrong)) if wrong.contains(pointer)));
        }
    }
}
