//! Whom a verb asks: the store of this process, or a server. A verb is written once; here is, noun by noun, how each of
//! the two carries it out. Both give the same views, so that the same lines print them.

pub(crate) mod audit;
pub(crate) mod batches;
mod dead;
mod emails;
mod errors;
mod events;
mod jobs;
mod limits;
mod mail_flow;
pub(crate) mod operations;
mod outputs;
mod poison;
pub(crate) mod quarantine;
mod queues;
pub(crate) mod schedules;
mod triggers;
mod work;

use std::fmt::Display;

use gristmill_client::http::Call;
use gristmill_core::Instant;
use gristmill_core::query::Query;
use gristmill_service::Service;
use gristmill_store::{Page, StoreHandle};

use crate::exit_code::Result;
use crate::remote::Remote;
use crate::runtime::context::ProcessContext;

/// Whom a verb asks.
#[derive(Debug)]
pub(crate) enum Backend<'a> {
    /// The store of this process.
    Store(Local<'a>),
    /// A server.
    Server(&'a Remote),
}

/// The store, and what this process knows around it.
#[derive(Debug)]
pub(crate) struct Local<'a> {
    /// The configuration, the kinds, the connections.
    pub(crate) process: &'a ProcessContext,
    /// The verbs over the store.
    pub(crate) service: Service,
}

impl Local<'_> {
    /// The store.
    pub(crate) fn store(&self) -> &StoreHandle {
        self.service.store()
    }

    fn tenant(&self) -> &str {
        &self.process.tenant
    }
}

impl Backend<'_> {
    /// The time that counts: that of the store, or of the server.
    pub(crate) async fn now(&self) -> Result<Instant> {
        match self {
            Self::Store(local) => Ok(local.store().now().await?),
            Self::Server(server) => server.now().await,
        }
    }
}

/// Asks for this page.
fn paged(call: Call, page: &Page) -> Call {
    call.param("limit", page.limit).maybe("after", page.after.as_ref())
}

/// Asks by a query.
fn asked(call: Call, query: &Query) -> Call {
    if query.is_empty() { call } else { call.param("q", query) }
}

/// A part of an address.
fn part(id: impl Display) -> String {
    id.to_string()
}
