//! Relays and recipients' domains: suspend, resume.

use std::time::Duration;

use gristmill_core::audit::Action;
use gristmill_core::mail_flow::RelayEvent;
use gristmill_store::{ControlReport, Result, SuspendDomain};

use crate::Service;
use crate::order::Order;

/// How many jobs are woken in one transaction.
const WOKEN: u32 = 1_000;

impl Service {
    /// Puts a mail relay out of use, until it is resumed: 1 affected, or 0 when it was so.
    ///
    /// # Errors
    ///
    /// `NotFound` for one that no worker has used, and those of the store.
    pub async fn suspend_relay(&self, order: &Order, name: &str) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::RelaySuspend, name);
        store.relay_steer(name, &RelayEvent::Suspend(order.reason()), order.dry_run).await
    }

    /// Lets a mail relay be used again at once, whatever it was left alone for: 1 affected, or 0 when it is used.
    ///
    /// # Errors
    ///
    /// `NotFound` for one that no worker has used, and those of the store.
    pub async fn resume_relay(&self, order: &Order, name: &str) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::RelayResume, name);
        store.relay_steer(name, &RelayEvent::Resume, order.dry_run).await
    }

    /// Sends nothing to a domain, for so long, or until it is resumed.
    ///
    /// # Errors
    ///
    /// `Invalid` for what is no domain, and those of the store.
    pub async fn suspend_domain(&self, order: &Order, domain: &str, keep: Option<Duration>) -> Result<ControlReport> {
        let (domain, by, why) = (domain.to_ascii_lowercase(), order.actor.to_string(), order.reason.clone());
        let store = order.at(&self.store, Action::DomainSuspend, &domain);
        store.domain_suspend(&SuspendDomain { domain, keep, by, why }, order.dry_run).await
    }

    /// Sends to a domain again, as fast as is configured, and lets the jobs that wait for it try at once. 1 affected, or 0
    /// when nothing held it back.
    ///
    /// # Errors
    ///
    /// `Invalid` for what is no domain, and those of the store.
    pub async fn resume_domain(&self, order: &Order, domain: &str) -> Result<ControlReport> {
        let domain = domain.to_ascii_lowercase();
        let store = order.at(&self.store, Action::DomainResume, &domain);
        let report = store.domain_resume(&domain, order.dry_run).await?;
        if !order.dry_run {
            while self.store.domain_wake(&domain, WOKEN).await? > 0 {}
        }
        Ok(report)
    }
}
