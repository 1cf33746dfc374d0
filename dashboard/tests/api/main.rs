//! The API and the pages as their callers see them, over real connections and a real store.

mod document;
mod env;
mod gate;
mod jobs;
mod live;
#[path = "../pages/mod.rs"]
mod pages;
mod people;
mod resources;
mod steering;
