//! The endpoints of the API, one file for each noun. A handler reads, calls a verb or a view, and gives back a document.

mod access;
pub(crate) mod asks;
mod audit;
mod bare;
pub(crate) mod batches;
pub(crate) mod dead_letters;
mod definitions;
pub(crate) mod emails;
mod errors;
pub(crate) mod events;
mod factor;
mod history;
mod invitations;
pub(crate) mod jobs;
pub(crate) mod limits;
pub(crate) mod lines;
mod links;
mod live;
pub(crate) mod logins;
mod mail_flow;
mod me;
mod openapi;
pub(crate) mod operations;
mod patience;
mod poison;
mod quarantine;
pub(crate) mod quarantine_export;
mod quarantine_import;
mod queues;
mod rehearsable;
pub(crate) mod schedules;
pub(crate) mod session;
mod sessions;
mod subscriptions;
mod system;
mod tenants;
mod tokens;
pub(crate) mod triggers;
pub(crate) mod uploads;
mod users;
mod workers;

use axum::{Extension, Router};

use crate::gate::{Api, Routes};

/// Every endpoint of the API.
pub fn routes() -> Routes {
    let nouns = [
        jobs::routes(),
        dead_letters::routes(),
        batches::routes(),
        uploads::routes(),
        quarantine::routes(),
        emails::routes(),
        queues::routes(),
        history::routes(),
        limits::routes(),
        mail_flow::routes(),
        schedules::routes(),
        triggers::routes(),
        workers::routes(),
        errors::routes(),
        events::routes(),
        subscriptions::routes(),
        poison::routes(),
        operations::routes(),
        audit::routes(),
        definitions::routes(),
        system::routes(),
        live::routes(),
        session::routes(),
        access::routes(),
        me::routes(),
        factor::routes(),
        logins::routes(),
        sessions::routes(),
        users::routes(),
        invitations::routes(),
        links::routes(),
        tokens::routes(),
        tenants::routes(),
        openapi::routes(),
    ];
    nouns.into_iter().fold(Routes::default(), Routes::and)
}

/// The router over all endpoints. A socket sends its commands to the same ones, through the same gate; they are a router
/// of their own, so that a command opens no further socket. `further` are endpoints beside the API.
pub fn router(api: &Api, further: Routes) -> Router {
    let endpoints = routes().router(api);
    routes().and(further).router(api).layer(Extension(live::commands::Endpoints(endpoints)))
}
