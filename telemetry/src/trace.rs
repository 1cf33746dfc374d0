//! Where a trace begins: at the command that causes the work, unless its caller passes one in.

use gristmill_core::trace::TraceContext;
use uuid::Uuid;

/// The variables that pass a trace to a command, the more specific one first.
const VARIABLES: [&str; 2] = ["GRISTMILL_TRACEPARENT", "TRACEPARENT"];

/// The trace context of this command. A malformed one counts as not given, as the W3C asks: an unreadable trace is no
/// reason to refuse work.
pub fn begin() -> TraceContext {
    given(|name| std::env::var(name).ok()).unwrap_or_else(fresh)
}

fn given(read: impl Fn(&str) -> Option<String>) -> Option<TraceContext> {
    VARIABLES.iter().filter_map(|name| read(name)).find_map(|text| TraceContext::parse(&text))
}

/// A new trace. The fixed bits of the ids that it is made of keep both parts from being zero.
fn fresh() -> TraceContext {
    let (_, span_id) = Uuid::new_v4().as_u64_pair();
    TraceContext { trace_id: Uuid::new_v4().as_u128(), span_id, sampled: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

    #[test]
    fn a_trace_that_is_given_goes_on_and_a_malformed_one_does_not() {
        let both = |name: &str| Some(if name == "TRACEPARENT" { OTHER } else { OWN }.to_owned());
        assert_eq!(given(both).map(|context| context.to_string()).as_deref(), Some(OWN));
        let torn = |name: &str| Some(if name == "TRACEPARENT" { OTHER } else { "00-torn" }.to_owned());
        assert_eq!(given(torn).map(|context| context.to_string()).as_deref(), Some(OTHER));
        assert_eq!(given(|_| None), None);
    }

    #[test]
    fn a_fresh_trace_can_be_read_and_is_no_other() {
        let (one, two) = (fresh(), fresh());
        assert_eq!(TraceContext::parse(&one.to_string()), Some(one));
        assert_ne!(one.trace_id, two.trace_id);
    }
}
