//! Events that fit patterns of types: the store selects by the beginning of a type, the rest is looked at here.

use gristmill_core::event::{Event, TypePattern};
use gristmill_store::{EVENT_ROWS_MAX, EventFilter, Events, Result};

/// How many events one question goes over at most.
pub const WALKED_MAX: u64 = 20_000;

/// A page of events.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next page begins: behind this position, or before it where the newest come first. `None` at the end.
    pub next: Option<u64>,
}

/// Returns events that meet a filter and fit one of the patterns; without patterns every type fits.
///
/// # Errors
///
/// Store errors.
pub async fn list(store: &dyn Events, filter: &EventFilter, types: &[TypePattern]) -> Result<EventPage> {
    let most = usize::try_from(filter.limit.min(EVENT_ROWS_MAX)).unwrap_or(usize::MAX);
    let prefix = match types {
        [one] if !one.prefix().is_empty() => Some(one.prefix().trim_end_matches('.').to_owned()),
        _ => None,
    };
    let mut filter = EventFilter { limit: EVENT_ROWS_MAX, prefix, ..filter.clone() };
    let mut page = EventPage::default();
    let mut walked = 0;
    loop {
        let found = store.list_events(&filter).await?;
        let through = found.len() < EVENT_ROWS_MAX as usize;
        walked += found.len() as u64;
        let last = found.last().and_then(|event| event.position);
        for event in found {
            if types.is_empty() || types.iter().any(|pattern| pattern.matches(&event.kind)) {
                if page.events.len() == most {
                    page.next = page.events.last().and_then(|event| event.position);
                    return Ok(page);
                }
                page.events.push(event);
            }
        }
        if through || last.is_none() {
            return Ok(page);
        }
        if walked >= WALKED_MAX {
            page.next = last;
            return Ok(page);
        }
        if filter.newest_first {
            filter.before = last;
        } else {
            filter.after = last;
        }
    }
}
