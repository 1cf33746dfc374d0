//! The API and the pages as their callers see them, over real connections and a real store.

mod access;
mod audit;
mod confined;
mod document;
mod downloads;
mod emails;
mod env;
mod events;
mod factors;
mod gate;
mod hostile;
mod importing;
mod jobs;
mod live;
mod oidc;
mod operations;
#[path = "../pages/mod.rs"]
mod pages;
mod people;
mod quotas;
mod registering;
mod resources;
mod steering;
mod uploads;
