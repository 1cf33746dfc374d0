//! The pages as a browser sees them, over the server and the store of the API's tests.

mod batches;
pub(crate) mod browser;
mod chosen;
mod every;
mod further;
mod governing;
mod history;
mod jobs;
mod kept;
pub(crate) mod letters;
mod lists;
mod live;
mod operated;
mod overview;
mod people;
mod planning;
mod shell;
mod stock;
mod work;
