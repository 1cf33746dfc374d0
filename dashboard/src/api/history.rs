//! History: how much passed through queues, and how long it waited and ran.

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::history::HistoryStep;
use gristmill_service::documents::{HistoryBy, HistoryDocument};
use gristmill_service::history::{HistoryAsk, history};

use crate::gate::query::Moment;
use crate::gate::{Allowed, Answer, ApiError, Fault, Outcome, Parameters, Params, Query, Routes, perm};

/// What is shown when no beginning is given.
const UNASKED: TimeDelta = TimeDelta::hours(1);

/// The most points of a series.
const STEPS_MAX: i32 = 20_000;

pub(super) fn routes() -> Routes {
    Routes::default().get(
        "/api/v1/history",
        "How much passed through queues by minute or hour, and how long it waited and ran",
        show,
    )
}

/// What is asked for, before it is known what the time is.
struct Ask {
    from: Option<Instant>,
    until: Option<Instant>,
    step: Option<HistoryStep>,
    queue: Option<String>,
    kind: Option<String>,
    by: Option<HistoryBy>,
}

impl Parameters for Ask {
    fn read(query: &mut Query) -> Self {
        Self {
            from: query
                .one::<Moment>("from", "From this instant on; an hour before its end unless said")
                .map(|at| at.0),
            until: query.one::<Moment>("until", "Until this instant; now unless said").map(|at| at.0),
            step: query.one("step", "How long each point is; minutes up to six hours, otherwise hours"),
            queue: query.one("queue", "Of this queue"),
            kind: query.one("kind", "Of this kind"),
            by: query.one("by", "What has a series of its own"),
        }
    }
}

async fn show(caller: Allowed<perm::QueuesRead>, Params(ask): Params<Ask>) -> Outcome<HistoryDocument> {
    let store = caller.store();
    let until = match ask.until {
        Some(until) => until,
        None => store.now().await?,
    };
    let from = ask.from.or(until.checked_sub_signed(UNASKED)).unwrap_or(until);
    let (step, queue, kind, by) = (ask.step, ask.queue, ask.kind, ask.by.unwrap_or_default());
    let ask = HistoryAsk { from, until, step, queue, kind, by };
    if from >= until {
        return Err(ApiError::invalid(vec![Fault::new("?from", "must be before `until`")]));
    }
    if until - from > ask.step().length() * STEPS_MAX {
        let message = format!("is more than {STEPS_MAX} steps before `until`; ask for a shorter range, or for hours");
        return Err(ApiError::invalid(vec![Fault::new("?from", message)]));
    }
    Ok(Answer::new(history(store, caller.tenant(), &ask).await?))
}
