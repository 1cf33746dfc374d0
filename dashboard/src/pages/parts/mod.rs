//! What pages are made of: small functions that return markup. Text is escaped; only markup goes in as it is.
//!
//! * [`action`](mod@action): forms that change something, by the weight of what they do.
//! * [`copies`](mod@copies): the same as a command, and over the API.
//! * [`empty`](mod@empty): what stands where nothing is.
//! * [`field`](mod@field): the fields of a form, with what is wrong with them.
//! * [`icon`](mod@icon): small pictures.
//! * [`number`]: counts and durations.
//! * [`pager`](mod@pager): the way to the next page of a list.
//! * [`panel`](mod@panel): a part of a page with a heading.
//! * [`progress`](mod@progress): bars.
//! * [`state`]: the state of a job, a batch, a worker: shape, word and colour.
//! * [`table`](mod@table): tables that become cards where there is no room.
//! * [`time`]: instants.

pub mod action;
pub mod copies;
pub mod empty;
pub mod field;
pub mod icon;
pub mod number;
pub mod pager;
pub mod panel;
pub mod progress;
pub mod state;
pub mod table;
pub mod time;
