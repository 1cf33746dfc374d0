//! The pages as a browser sees them, over the server and the store of the API's tests.

mod batches;
mod browser;
mod every;
mod jobs;
mod live;
mod overview;
mod people;
mod shell;
mod work;
