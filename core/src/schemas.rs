//! The schemas of this crate's types, for the OpenAPI document; enums of words have theirs from their macro.

use std::borrow::Cow;

use crate::audit::Sum;
use crate::duration::Span;
use crate::event::subscription::SubscriptionSpec;
use crate::id::{BatchId, JobId, LinkId, OperationId, SessionId, TokenId, UserId, WorkerId};
use crate::schedule::{JobSpec, ScheduleSpec};
use crate::schema::{ComposeSchema, RefOr, Schema, ToSchema, free, id, text};
use crate::unique::{Hold, OnConflict};

macro_rules! schemas {
    ($($name:ident: $schema:expr;)*) => {
        $(
            impl ComposeSchema for $name {
                fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
                    $schema
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed(stringify!($name))
                }
            }
        )*
    };
}

schemas! {
    JobId: id();
    BatchId: id();
    UserId: id();
    TokenId: id();
    SessionId: id();
    LinkId: id();
    OperationId: id();
    WorkerId: id();
    Sum: text("a SHA-256 in hexadecimal", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    Span: text("a duration such as `250ms`, `90s`, `5m`, `2h`, `3d` or `1h30m`", "5m");
    Hold: text("`unfinished`, `waiting`, or states separated by commas", "unfinished");
    OnConflict: text("`keep`, `replace`, `refuse`, `debounce=5s` or `debounce=5s/1m`", "keep");
    ScheduleSpec: free("what [schedule.NAME] in the configuration may say");
    SubscriptionSpec: free("what [events.subscriptions.NAME] in the configuration may say");
    JobSpec: free("what `job` of a schedule may say");
}
