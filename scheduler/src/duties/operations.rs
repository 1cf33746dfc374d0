//! Operations: makes the steps that are due, of each operation in turn, and forgets operations after their time.
//!
//! After a round in which something was done the duty pauses for as long as the round took, so that operations never take
//! more than half of a connection's time.

use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_service::Service;
use gristmill_service::retention::PrunerOptions;
use gristmill_store::Result;
use tokio::time::Instant;

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often operations are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

/// Makes the steps of operations.
pub(super) struct Operations {
    service: Service,
    every: Duration,
    options: PrunerOptions,
    forgot: Option<Instant>,
}

impl Operations {
    pub(super) fn new(common: Common, every: Duration, options: PrunerOptions) -> Self {
        let service = Service::new(common.store, common.dispatcher);
        Self { service, every, options, forgot: None }
    }

    async fn round(&mut self) -> Result<Next> {
        let begun = Instant::now();
        let steps = self.service.step_operations(&self.options).await?;
        if steps > 0 {
            return Ok(Next::In(begun.elapsed().min(PAUSE_MAX)));
        }
        if self.forgot.is_none_or(|forgot| forgot.elapsed() >= FORGET_EVERY) {
            self.service.forget_operations(&self.options.settings).await?;
            self.forgot = Some(begun);
        }
        Ok(Next::Beat)
    }
}

impl Duty for Operations {
    fn name(&self) -> &'static str {
        "operations"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.round())
    }
}
