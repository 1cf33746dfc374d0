//! The API as its callers see it, over real connections and a real store.

mod document;
mod env;
mod gate;
mod jobs;
mod live;
mod operations;
mod people;
mod resources;
mod steering;
