//! The pages as a browser sees them, over the server and the store of the API's tests.

mod browser;
mod shell;
