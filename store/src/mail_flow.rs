//! Sending mail: how relays are doing, how fast recipients' domains may be sent to, and which jobs wait for one.
//!
//! Shared by all workers. What becomes of a relay and of a domain is decided by [`gristmill_core::mail_flow`], with the
//! database's clock.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::limit::gcra::Rate;
use gristmill_core::mail_flow::{Breaker, DomainEvent, Pace, PerMinute, RelayEvent, RelayTerms};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::{ControlReport, Page};

/// How many domains [`MailFlows::mail_flow`] returns at most, by name: more at one time are not held back by what they
/// have asked for, but by their own servers.
pub const HELD_DOMAINS_MAX: u32 = 10_000;

/// How many jobs of one tenant that wait before another are counted at most.
pub(crate) const BEFORE_LOOK: u32 = 5_000;

/// A job that comes for the first time goes ahead of no more than this many of its tenant that wait.
pub(crate) const AHEAD_MAX: u64 = 10;

/// The longest time that a job waits for a domain before it asks again: a resumed domain wakes those that wait.
pub const DOMAIN_WAIT_MAX: Duration = Duration::from_secs(6 * 3_600);

/// Waits that are no longer are waited out; of longer ones half, since what is before may go away.
const WAIT_EXACT: Duration = Duration::from_secs(30);

/// Relays and domains.
#[async_trait]
pub trait MailFlows: Debug + Send + Sync + 'static {
    /// Returns every relay, and the domains that are suspended or have asked to slow down.
    async fn mail_flow(&self) -> Result<MailFlow>;

    /// Notes what happened to a relay, which is created when it is not known. Returns what it was before and is now: the
    /// same when the event changes nothing, as for a try whose turn it is not.
    async fn relay_note(&self, name: &str, place: &str, event: &RelayEvent) -> Result<RelayChange>;

    /// Takes one message's place from a relay's rate and from what it may take today. Nothing is taken of a relay that
    /// is not known: it is created first.
    async fn relay_take(&self, name: &str, place: &str, terms: &RelayTerms) -> Result<Taken>;

    /// Puts a relay out of use, or brings it back: 1 affected, or 0 when it was so. [`NotFound`](crate::StoreError) for
    /// one that no worker has made known.
    async fn relay_steer(&self, name: &str, event: &RelayEvent, dry_run: bool) -> Result<ControlReport>;

    /// Notes what a domain's servers have answered.
    async fn domain_note(&self, domain: &str, event: &DomainEvent, configured: Option<PerMinute>) -> Result<()>;

    /// Takes one message's place from a domain's rate, for a job. A job that must wait is kept as waiting until it gets
    /// its place, and is told for how long: in the order of the jobs of its tenant, tenants in turns. A domain that is
    /// suspended gives no places.
    async fn domain_take(&self, ask: &DomainAsk) -> Result<Taken>;

    /// Suspends a domain: nothing is sent there. One that is suspended gets the new reason and end. Always 1 affected.
    async fn domain_suspend(&self, suspend: &SuspendDomain, dry_run: bool) -> Result<ControlReport>;

    /// Ends the suspension of a domain, and forgets what was learned of its pace: 1 affected, or 0 when there is neither.
    async fn domain_resume(&self, domain: &str, dry_run: bool) -> Result<ControlReport>;

    /// Lets jobs that wait for a domain, at most `limit`, try at once: those in `retry` whose time has not come are due
    /// now. Returns how many.
    async fn domain_wake(&self, domain: &str, limit: u32) -> Result<u64>;

    /// Returns the domains of which something is known or for which jobs wait, by name.
    async fn mail_domains(&self, page: &Page) -> Result<Vec<MailDomainView>>;

    /// Forgets jobs that wait no more because they have ended, suspensions that are over, and domains of which nothing is
    /// left to know. At most `limit` of each. Returns how many rows were removed or changed.
    async fn mail_flow_tidy(&self, limit: u32) -> Result<u64>;
}

/// What all workers know.
#[derive(Debug, Clone, PartialEq)]
pub struct MailFlow {
    /// The database's current time.
    pub now: Instant,
    /// Every relay, by name.
    pub relays: Vec<MailRelayView>,
    /// The domains that are suspended or have asked to slow down, by name, at most [`HELD_DOMAINS_MAX`].
    pub domains: Vec<MailDomain>,
}

/// How a relay is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MailRelayView {
    /// Its name.
    pub name: String,
    /// Host and port.
    pub place: String,
    /// Whether it is used, and why not.
    #[serde(flatten)]
    pub breaker: Breaker,
    /// How many messages it has taken of a day, where that is counted: while it has a rate or is warmed up.
    pub messages: u32,
    /// That day, UTC.
    pub day: Option<String>,
}

/// A relay before and after an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayChange {
    /// As it was.
    pub was: Breaker,
    /// As it is.
    pub is: Breaker,
}

impl RelayChange {
    /// Whether the event changed anything.
    pub fn changed(&self) -> bool {
        self.was != self.is
    }
}

/// Whether a message may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It may.
    Now,
    /// Not before so long.
    In(Duration),
}

/// A domain, and what holds it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MailDomain {
    /// The domain, in lower case.
    pub name: String,
    /// The suspension that stands, if one does.
    pub suspension: Option<Suspension>,
    /// What was learned from its servers' answers.
    #[serde(flatten)]
    pub pace: Pace,
}

/// A domain, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MailDomainView {
    /// The domain, and what holds it back.
    #[serde(flatten)]
    pub domain: MailDomain,
    /// How many jobs wait for it.
    pub waiting: u64,
}

/// Why nothing is sent to a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Suspension {
    /// Since when.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub since: Instant,
    /// Until when. `None`: until it is resumed.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub until: Option<Instant>,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub why: Option<String>,
}

/// A suspension to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuspendDomain {
    /// The domain, in lower case.
    pub domain: String,
    /// For how long. `None`: until it is resumed.
    pub keep: Option<Duration>,
    /// Who asks for it.
    pub by: String,
    /// Why.
    pub why: Option<String>,
}

/// A job that would send to a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainAsk {
    /// The domain, in lower case.
    pub domain: String,
    /// The tenant of the job.
    pub tenant: String,
    /// The job.
    pub job: JobId,
    /// What is configured.
    pub configured: Option<Rate>,
}

/// What is before a job that waits for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before {
    /// The jobs of its own tenant that have waited longer, at most [`BEFORE_LOOK`].
    pub(crate) jobs: u64,
    /// The tenants that have jobs waiting, with its own.
    pub(crate) tenants: u64,
}

/// Whether a job gets its place now, by the domain's rate and by what is before it: the instant up to which the rate is
/// used then, or how long to wait.
pub(crate) fn place(
    rate: Rate,
    used_to: Option<Instant>,
    before: Before,
    now: Instant,
) -> std::result::Result<Instant, Duration> {
    if rate.free(used_to, now) > 0 && before.jobs < AHEAD_MAX.max(u64::from(rate.burst)) {
        return Ok(rate.spend(used_to, now, 1));
    }
    let interval = Duration::from_micros(rate.interval.unsigned_abs());
    let turns = before.jobs.saturating_mul(before.tenants.max(1));
    let until_next = (rate.next(used_to, now) - now).to_std().unwrap_or_default();
    let whole = until_next.saturating_add(interval.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX)));
    let wait = if whole <= WAIT_EXACT { whole } else { (whole / 2).max(WAIT_EXACT) };
    // One that comes back in the same instant would find the same.
    Err(wait.clamp(Duration::from_millis(100), DOMAIN_WAIT_MAX))
}

/// How long to wait for a domain that is suspended.
pub(crate) fn suspended_for(until: Option<Instant>, now: Instant) -> Duration {
    let left = until.map_or(DOMAIN_WAIT_MAX, |until| (until - now).to_std().unwrap_or_default());
    left.clamp(Duration::from_secs(1), DOMAIN_WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Rate = Rate { interval: 1_000_000, burst: 1 };

    fn at(seconds: i64) -> Instant {
        Instant::from_timestamp(1_700_000_000 + seconds, 0).expect("an instant")
    }

    #[test]
    fn who_must_wait_waits_for_those_before_it_and_for_the_turns_of_other_tenants() {
        let before = |jobs, tenants| Before { jobs, tenants };
        assert_eq!(place(SECOND, None, before(0, 0), at(0)), Ok(at(1)));
        let used = Some(at(1));
        let wait = |jobs, tenants| place(SECOND, used, before(jobs, tenants), at(0)).expect_err("waits").as_secs();
        assert_eq!((wait(0, 1), wait(4, 1), wait(4, 3)), (1, 5, 13));
        assert_eq!((wait(50, 1), wait(999, 1)), (30, 500), "half of what is long: others may go away");
        assert_eq!(wait(BEFORE_LOOK.into(), 1_000), DOMAIN_WAIT_MAX.as_secs());
        let new = place(SECOND, None, before(AHEAD_MAX, 1), at(0));
        assert_eq!(new, Err(Duration::from_secs(AHEAD_MAX)), "a newcomer does not pass those that wait");
    }

    #[test]
    fn a_suspended_domain_is_asked_for_again_when_it_is_over_and_now_and_then() {
        assert_eq!(suspended_for(Some(at(90)), at(0)), Duration::from_secs(90));
        assert_eq!(suspended_for(None, at(0)), DOMAIN_WAIT_MAX);
        assert_eq!(suspended_for(Some(at(0)), at(1)), Duration::from_secs(1));
    }
}
