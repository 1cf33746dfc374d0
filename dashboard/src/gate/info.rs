//! What is known of a request from its first moment on: its id, its trace, where it comes from.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use gristmill_core::trace::TraceContext;
use uuid::Uuid;

/// The header of a request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// The longest id that is taken over from a caller.
const ID_CHARS_MAX: usize = 128;

/// What is known of a request from its first moment on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    /// Its id, which its answer, the log and the audit show.
    pub id: String,
    /// The trace that everything it causes belongs to.
    pub trace: TraceContext,
    /// Where it comes from: the peer, or what a trusted proxy says of its own peer.
    pub address: IpAddr,
    /// Whether it came encrypted, here or to a trusted proxy.
    pub encrypted: bool,
}

/// Whether a request came encrypted.
pub fn encrypted(parts: &Parts) -> bool {
    parts.extensions.get::<RequestInfo>().is_some_and(|info| info.encrypted)
}

/// The id of a request: the caller's own if it is sane, else a new one.
pub fn id(headers: &HeaderMap) -> String {
    let said = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    said.filter(|text| is_sane(text)).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Ids go into logs, headers and the audit.
fn is_sane(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// The trace of a request: the caller's own goes on, another one begins.
pub fn trace(headers: &HeaderMap) -> TraceContext {
    let (_, span_id) = Uuid::new_v4().as_u64_pair();
    let said = headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
    match said {
        Some(trace) => trace.child(span_id),
        None => TraceContext { trace_id: Uuid::new_v4().as_u128(), span_id, sampled: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().expect("a name"), value.parse().expect("a value"))])
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_is_replaced() {
        for sane in ["abc-1", "0198f9c1-7d2e", "Root=1-67891233-abcdef012345678912345678"] {
            assert_eq!(id(&headers(REQUEST_ID, sane)), sane);
        }
        for odd in ["", "a b", "a\"b", "<script>", &"x".repeat(129)] {
            let made = id(&headers(REQUEST_ID, odd));
            assert!(Uuid::parse_str(&made).is_ok(), "{odd}: {made}");
        }
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_its_own() {
        const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = trace(&headers("traceparent", GIVEN));
        assert_eq!(trace.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_ne!(trace.span_id, 0x00f0_67aa_0ba9_02b7);
    }
}
