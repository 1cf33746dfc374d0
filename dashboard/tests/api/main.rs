//! The API as its callers see it, over real connections and a real store.

mod audit;
mod document;
mod env;
mod factors;
mod gate;
mod jobs;
mod live;
mod operations;
mod people;
mod quotas;
mod registering;
mod resources;
mod steering;
