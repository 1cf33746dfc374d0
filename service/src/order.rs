//! The actor that asks for a change, the tenant, the reason, and whether it is only a rehearsal.

use std::fmt;

/// Passed to every verb that changes something, so that permissions and an audit need no second signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The tenant whose jobs and batches are meant.
    pub tenant: String,
    /// The actor that asks.
    pub actor: Actor,
    /// The reason, in the words of the actor.
    pub reason: Option<String>,
    /// Report what would change, and change nothing.
    pub dry_run: bool,
}

/// The actor that asks for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A person at a terminal, such as `ada@laptop`.
    Operator(String),
    /// A program that holds a connection to the store, such as `ada@laptop`'s own.
    Program(String),
    /// A trigger that starts work without a person: `schedule/NAME`, `hook/NAME`, `watch/NAME`.
    Trigger(String),
    /// A duty of the scheduler, such as `plan`.
    Duty(&'static str),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(name) | Self::Program(name) | Self::Trigger(name) => f.write_str(name),
            Self::Duty(name) => write!(f, "scheduler/{name}"),
        }
    }
}

impl Order {
    /// An order that is carried out, without a reason.
    pub fn new(tenant: impl Into<String>, actor: Actor) -> Self {
        Self { tenant: tenant.into(), actor, reason: None, dry_run: false }
    }

    /// The same order with a reason.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// The same order as a rehearsal, or not.
    #[must_use]
    pub fn rehearsed(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }

    /// The reason as it is stored with what was cancelled: never empty.
    pub(crate) fn reason(&self) -> String {
        self.reason.clone().unwrap_or_else(|| format!("asked for by {}", self.actor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_without_a_reason_names_its_actor_instead() {
        let order = Order::new("main", Actor::Operator("ada@laptop".to_owned()));
        assert_eq!(order.reason(), "asked for by ada@laptop");
        assert_eq!(order.because("wrong file").reason(), "wrong file");
        assert_eq!(Order::new("main", Actor::Duty("plan")).reason(), "asked for by scheduler/plan");
    }
}
