//! The actor that asks for a change, the tenant, the reason, and whether it is only a rehearsal.

use std::fmt;

use gristmill_core::access::{Principal, Role, Subject};
use gristmill_core::audit::{Action, ActorKind};
use gristmill_store::{Attribution, StoreHandle};
use uuid::Uuid;

/// Passed to every verb that changes something, so that permissions and the audit need no second signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id: what the steps of one order have in common in the audit.
    pub id: Uuid,
    /// The tenant whose jobs and batches are meant.
    pub tenant: String,
    /// The actor that asks.
    pub actor: Actor,
    /// The reason, in the words of the actor.
    pub reason: Option<String>,
    /// Report what would change, and change nothing.
    pub dry_run: bool,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where an order comes from, as the audit has it. Nothing is known of an order by the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The actor's role in the tenant; `None` for those who own the database.
    pub role: Option<Role>,
    /// The network address.
    pub address: Option<String>,
    /// The id of the request.
    pub request: Option<String>,
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
    /// A caller of the API that was recognized: its name for people.
    Caller(Subject, String),
}

impl Actor {
    /// What kind of actor it is.
    pub fn kind(&self) -> ActorKind {
        match self {
            Self::Operator(_) => ActorKind::Operator,
            Self::Program(_) => ActorKind::Program,
            Self::Trigger(_) => ActorKind::Trigger,
            Self::Duty(_) => ActorKind::Duty,
            Self::Caller(Subject::User(_), _) => ActorKind::User,
            Self::Caller(Subject::Token { .. }, _) => ActorKind::Token,
            Self::Caller(Subject::Anyone, _) => ActorKind::Anyone,
        }
    }

    /// The id of the user or token.
    fn subject(&self) -> Option<Uuid> {
        match self {
            Self::Caller(Subject::User(user), _) => Some(user.0),
            Self::Caller(Subject::Token { token, .. }, _) => Some(token.0),
            _ => None,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(name) | Self::Program(name) | Self::Trigger(name) | Self::Caller(_, name) => {
                f.write_str(name)
            }
            Self::Duty(name) => write!(f, "scheduler/{name}"),
        }
    }
}

impl Order {
    /// An order that is carried out, without a reason.
    pub fn new(tenant: impl Into<String>, actor: Actor) -> Self {
        let origin = Origin::default();
        Self { id: Uuid::now_v7(), tenant: tenant.into(), actor, reason: None, dry_run: false, origin }
    }

    /// An order of a caller of the API, for the tenant that it asks for.
    pub fn of(principal: &Principal, address: Option<String>, request: Option<String>) -> Self {
        let actor = Actor::Caller(principal.subject, principal.name.clone());
        let origin = Origin { role: Some(principal.role), address, request };
        Self { origin, ..Self::new(&principal.tenant, actor) }
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

    /// The store for a step of this order: the transition that it makes leaves a row in the audit. What a trigger or a
    /// duty does is no order of a person or a program, and leaves none; neither does a dry run.
    pub(crate) fn at(&self, store: &StoreHandle, action: Action, target: impl fmt::Display) -> StoreHandle {
        match self.actor.kind() {
            _ if self.dry_run => store.clone(),
            ActorKind::Trigger | ActorKind::Duty => store.clone(),
            _ => store.clone().attributed(self.attribution(action, target)),
        }
    }

    /// The same for a step that adds work: what a person or a program orders is held to the tenant's quotas. What a
    /// trigger or a duty starts was ordered before.
    pub(crate) fn adding(&self, store: &StoreHandle, action: Action, target: impl fmt::Display) -> StoreHandle {
        let store = self.at(store, action, target);
        match self.actor.kind() {
            ActorKind::Trigger | ActorKind::Duty => store,
            _ => store.metered(),
        }
    }

    /// What the audit learns of a step of this order.
    pub fn attribution(&self, action: Action, target: impl fmt::Display) -> Attribution {
        Attribution {
            tenant: self.tenant.clone(),
            order: self.id,
            step: Uuid::now_v7(),
            actor_kind: self.actor.kind(),
            actor: self.actor.to_string(),
            subject: self.actor.subject(),
            role: self.origin.role,
            address: self.origin.address.clone(),
            request: self.origin.request.clone(),
            action,
            target: target.to_string(),
            reason: self.reason.clone(),
        }
    }

    /// The reason as it is stored with what was cancelled: never empty.
    pub(crate) fn reason(&self) -> String {
        self.reason.clone().unwrap_or_else(|| format!("asked for by {}", self.actor))
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::id::{TokenId, UserId};

    use super::*;

    #[test]
    fn an_order_without_a_reason_names_its_actor_instead() {
        let order = Order::new("main", Actor::Operator("ada@laptop".to_owned()));
        assert_eq!(order.reason(), "asked for by ada@laptop");
        assert_eq!(order.because("wrong file").reason(), "wrong file");
        assert_eq!(Order::new("main", Actor::Duty("plan")).reason(), "asked for by scheduler/plan");
    }

    #[test]
    fn an_order_of_a_caller_says_who_in_which_role_and_from_where() {
        let (token, user) = (TokenId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let principal = Principal {
            subject: Subject::Token { token, user },
            name: "deploy of ada@example.org".to_owned(),
            tenant: "acme".to_owned(),
            role: Role::Operator,
            scopes: None,
            installation: false,
        };
        let order = Order::of(&principal, Some("127.0.0.1".to_owned()), Some("r-1".to_owned()));
        let found = order.attribution(Action::QueuePause, "mail");
        assert_eq!((found.tenant.as_str(), found.actor.as_str()), ("acme", "deploy of ada@example.org"));
        assert_eq!((found.actor_kind, found.subject), (ActorKind::Token, Some(token.0)));
        assert_eq!((found.role, found.address.as_deref()), (Some(Role::Operator), Some("127.0.0.1")));
        assert_eq!((found.request.as_deref(), found.order), (Some("r-1"), order.id));
        assert_ne!(order.attribution(Action::QueuePause, "mail").step, found.step, "each step is another one");
    }
}
