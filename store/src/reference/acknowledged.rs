//! Errors that an operator has acknowledged.

use std::cmp::Reverse;

use async_trait::async_trait;
use gristmill_core::Instant;

use super::ReferenceStore;
use super::state::most;
use super::transition::Transition;
use crate::check;
use crate::error::Result;
use crate::sql::acknowledged::check_fingerprint;
use crate::{ACKNOWLEDGED_MAX, AcknowledgementView, Acknowledgements, ControlReport, NewAcknowledgement};

#[async_trait]
impl Acknowledgements for ReferenceStore {
    async fn acknowledge_error(&self, ack: &NewAcknowledgement, dry_run: bool) -> Result<ControlReport> {
        check_fingerprint(&ack.fingerprint)?;
        let mut t = Transition::begin(self);
        let view = AcknowledgementView {
            fingerprint: ack.fingerprint.clone(),
            by: check::plain(&ack.by, check::REASON_CHARS_MAX),
            reason: ack.reason.as_deref().map(|reason| check::plain(reason, check::REASON_CHARS_MAX)),
            at: t.now,
        };
        t.state.acknowledged.insert((ack.tenant.clone(), ack.fingerprint.clone()), view);
        if !dry_run {
            t.commit()?;
        }
        Ok(ControlReport { affected: 1, samples: vec![ack.fingerprint.clone()], ..ControlReport::default() })
    }

    async fn reopen_error(&self, tenant: &str, fingerprint: &str, dry_run: bool) -> Result<ControlReport> {
        check_fingerprint(fingerprint)?;
        let mut t = Transition::begin(self);
        let gone = t.state.acknowledged.remove(&(tenant.to_owned(), fingerprint.to_owned()));
        if !dry_run {
            t.commit()?;
        }
        let samples: Vec<String> = gone.into_iter().map(|view| view.fingerprint).collect();
        Ok(ControlReport { affected: samples.len() as u64, samples, ..ControlReport::default() })
    }

    async fn acknowledged(&self, tenant: &str) -> Result<Vec<AcknowledgementView>> {
        let t = Transition::begin(self);
        let own = t.state.acknowledged.iter().filter(|((of, _), _)| of == tenant);
        let mut own: Vec<AcknowledgementView> = own.map(|(_, view)| view.clone()).collect();
        own.sort_by_key(|view| (Reverse(view.at), view.fingerprint.clone()));
        own.truncate(most(ACKNOWLEDGED_MAX));
        Ok(own)
    }

    async fn acknowledged_of(&self, tenant: &str, fingerprints: &[String]) -> Result<Vec<AcknowledgementView>> {
        let t = Transition::begin(self);
        let own = t.state.acknowledged.iter().filter(|((of, name), _)| of == tenant && fingerprints.contains(name));
        Ok(own.map(|(_, view)| view.clone()).collect())
    }

    async fn prune_acknowledged(&self, before: Instant, limit: u32) -> Result<u64> {
        let mut t = Transition::begin(self);
        let old = t.state.acknowledged.iter().filter(|(_, view)| view.at < before);
        let mut old: Vec<_> = old.map(|(key, view)| (view.at, key.clone())).collect();
        old.sort_unstable();
        old.truncate(most(limit));
        for (_, key) in &old {
            t.state.acknowledged.remove(key);
        }
        t.commit()?;
        Ok(old.len() as u64)
    }
}
