//! A client that watches: its feed, and whether it still may.

use std::time::Duration;

use gristmill_core::access::Principal;
use tokio::time::Instant;

use super::{still_may, watch};
use crate::gate::standing::Standing;
use crate::gate::{Caller, ErrorCode, Result};
use crate::live::{Feed, Place, Topic};

/// For how long a caller counts as recognized before it is shown anything more.
const RECOGNIZED_FOR: Duration = Duration::from_secs(1);

/// A client that watches.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) feed: Feed,
    standing: Standing,
    principal: Principal,
    recognized: Instant,
}

impl Watcher {
    /// A client that watches nothing yet.
    pub(super) fn new(caller: &Caller, standing: Standing) -> Self {
        let feed = Feed::new(caller.api().hub(), caller.tenant());
        Self { feed, standing, principal: caller.principal.clone(), recognized: Instant::now() }
    }

    /// Watches topics.
    ///
    /// # Errors
    ///
    /// 403 for those that the caller may not watch, 422 for too many, 503 when all clients together watch too many.
    pub(super) fn watch(&mut self, topics: &[Topic], after: Option<Place>) -> Result<()> {
        watch(&mut self.feed, &self.principal, topics, after)
    }

    /// Checks that the caller still may see what it watches; to be called before anything is shown, and once in a while.
    ///
    /// # Errors
    ///
    /// 401 and 403. A store that cannot say is none: nothing new can be read from it either.
    pub(super) async fn check(&mut self) -> Result<()> {
        if self.recognized.elapsed() < RECOGNIZED_FOR {
            return Ok(());
        }
        match self.standing.principal().await {
            Ok(now) => {
                still_may(&self.principal, &now, &self.feed)?;
                (self.principal, self.recognized) = (now, Instant::now());
                Ok(())
            }
            Err(error) if error.code == ErrorCode::Unavailable => Ok(()),
            Err(error) => Err(error),
        }
    }
}
