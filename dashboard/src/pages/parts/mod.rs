//! What pages are made of: small functions that return markup. Text is escaped; only markup goes in as it is.
//!
//! * [`action`](mod@action): forms that change something, by the weight of what they do.
//! * [`batch`]: what several pages show of a batch.
//! * [`brief`](mod@brief): the beginning of a text.
//! * [`copies`](mod@copies): the same as a command, and over the API.
//! * [`empty`](mod@empty): what stands where nothing is.
//! * [`eta`](mod@eta): when a batch will have ended.
//! * [`field`](mod@field): the fields of a form, with what is wrong with them.
//! * [`filters`]: what a list is limited to.
//! * [`icon`](mod@icon): small pictures.
//! * [`json`](mod@json): JSON as it is.
//! * [`links`]: links to what has an id.
//! * [`number`]: counts and durations.
//! * [`pager`](mod@pager): the way to the next page of a list.
//! * [`panel`](mod@panel): a part of a page with a heading.
//! * [`progress`](mod@progress): bars.
//! * [`prose`](mod@prose): sentences in which names and commands stand between backticks.
//! * [`selection`]: rows that are ticked, and what is done with them.
//! * [`state`]: the state of a job, a batch, a worker: shape, word and colour.
//! * [`table`](mod@table): tables that become cards where there is no room.
//! * [`time`]: instants, and how long ago they were.
//! * [`waits`](mod@waits): what a job or a batch waits for.

pub mod action;
pub mod batch;
pub mod brief;
pub mod copies;
pub mod empty;
pub mod eta;
pub mod field;
pub mod filters;
pub mod icon;
pub mod json;
pub mod links;
pub mod number;
pub mod pager;
pub mod panel;
pub mod progress;
pub mod prose;
pub mod selection;
pub mod state;
pub mod table;
pub mod time;
pub mod waits;
