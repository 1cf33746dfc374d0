//! Sending mail: through which relay, and how fast to which domain. What is shared by all workers is in the store; what
//! becomes of it is decided here.
//!
//! * [`breaker`]: when a relay is left alone, and when it is tried again.
//! * [`mod@choose`]: which of several relays takes a message.
//! * [`pace`]: how fast a domain may be sent to, and how that follows from what its servers answer.
//! * [`warm_up`]: how many messages a new relay may send on a day.

pub mod breaker;
mod choose;
pub mod pace;
pub mod warm_up;

pub use breaker::{Breaker, BreakerState, RelayEvent, Standing};
pub use choose::{Candidate, choose};
pub use pace::{DomainEvent, Pace, PerMinute, domain_of};
pub use warm_up::{RelayTerms, Spent, WarmUp};

/// The most characters of a relay's name.
pub const RELAY_CHARS_MAX: usize = 60;

/// What is wrong with a relay's name, if anything.
pub fn relay_fault(name: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let good = !name.is_empty() && name.len() <= RELAY_CHARS_MAX && name.chars().all(known);
    (!good).then(|| format!("the name of a relay is 1 to {RELAY_CHARS_MAX} letters, digits, `-` and `_`"))
}
