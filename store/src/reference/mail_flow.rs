//! Relays and recipients' domains, in plain maps.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_core::mail_flow::{Breaker, DomainEvent, Pace, PerMinute, RelayEvent, RelayTerms, Spent};

use super::ReferenceStore;
use super::control::finish;
use super::state::{MailDomainRow, MailRelayRow, MailWaiting, State, later, most};
use super::transition::Transition;
use crate::check;
use crate::error::Result;
use crate::mail_flow::{BEFORE_LOOK, Before, place, suspended_for};
use crate::sql::mail_flow::{no_relay, one};
use crate::{
    ControlReport, DomainAsk, HELD_DOMAINS_MAX, MailDomain, MailDomainView, MailFlow, MailFlows, MailRelayView, Page,
    RelayChange, SuspendDomain, Suspension, Taken,
};

fn view(domain: &MailDomainRow, name: &str, now: Instant) -> MailDomain {
    let stands = |one: &&Suspension| one.until.is_none_or(|until| until > now);
    let suspension = domain.suspension.as_ref().filter(stands).cloned();
    MailDomain { name: name.to_owned(), suspension, pace: domain.pace.clone() }
}

fn plain(text: Option<String>) -> Option<String> {
    text.map(|text| check::plain(&text, check::REASON_CHARS_MAX))
}

fn known<'s>(state: &'s mut State, now: Instant, name: &str, at: &str) -> Result<&'s mut MailRelayRow> {
    check::relay(name)?;
    let new = || MailRelayRow { place: String::new(), breaker: Breaker::new(now), spent: Spent::default() };
    let relay = state.mail_relays.entry(name.to_owned()).or_insert_with(new);
    relay.place = check::plain(at, check::REASON_CHARS_MAX);
    Ok(relay)
}

fn advance(relay: &mut MailRelayRow, event: &RelayEvent, now: Instant) -> RelayChange {
    let was = relay.breaker.clone();
    if let Some(is) = was.after(event, now) {
        relay.breaker = Breaker { why: plain(is.why.clone()), ..is };
    }
    RelayChange { is: relay.breaker.clone(), was }
}

#[async_trait]
impl MailFlows for ReferenceStore {
    async fn mail_flow(&self) -> Result<MailFlow> {
        let t = Transition::begin(self);
        let now = t.now;
        let relay = |(name, relay): (&String, &MailRelayRow)| MailRelayView {
            name: name.clone(),
            place: relay.place.clone(),
            breaker: relay.breaker.clone(),
            messages: relay.spent.messages,
            day: relay.spent.day.map(|day| day.to_string()),
        };
        let domains = t.state.mail_domains.iter();
        let held = domains.filter(|(_, domain)| domain.suspension.is_some() || domain.pace.learned.is_some());
        let held = held.take(most(HELD_DOMAINS_MAX)).map(|(name, domain)| view(domain, name, now));
        Ok(MailFlow {
            now,
            relays: t.state.mail_relays.iter().map(relay).collect(),
            domains: held.filter(|one| one.suspension.is_some() || one.pace.learned.is_some()).collect(),
        })
    }

    async fn relay_note(&self, name: &str, place: &str, event: &RelayEvent) -> Result<RelayChange> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let change = advance(known(&mut t.state, now, name, place)?, event, now);
        t.commit()?;
        Ok(change)
    }

    async fn relay_take(&self, name: &str, place: &str, terms: &RelayTerms) -> Result<Taken> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let relay = known(&mut t.state, now, name, place)?;
        let taken = match relay.spent.one_more(terms, now) {
            Err(wait) => Taken::In(wait),
            Ok(spent) => {
                relay.spent = spent;
                Taken::Now
            }
        };
        t.commit()?;
        Ok(taken)
    }

    async fn relay_steer(&self, name: &str, event: &RelayEvent, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let relay = t.state.mail_relays.get_mut(name).ok_or_else(|| no_relay(name))?;
        let change = advance(relay, event, now);
        finish(t, one(name, change.changed()), dry_run)
    }

    async fn domain_note(&self, domain: &str, event: &DomainEvent, configured: Option<PerMinute>) -> Result<()> {
        check::domain(domain)?;
        let mut t = Transition::begin(self);
        let now = t.now;
        let row = t.state.mail_domains.entry(domain.to_owned()).or_default();
        if let Some(is) = row.pace.after(event, configured, now) {
            row.pace = Pace { said: plain(is.said.clone()), ..is };
        }
        t.commit()?;
        Ok(())
    }

    async fn domain_take(&self, ask: &DomainAsk) -> Result<Taken> {
        check::domain(&ask.domain)?;
        let mut t = Transition::begin(self);
        let now = t.now;
        let before = before(&t.state.mail_waiting, ask);
        let row = t.state.mail_domains.entry(ask.domain.clone()).or_default();
        let known = view(row, &ask.domain, now);
        let waits = match (known.suspension, known.pace.rate(ask.configured)) {
            (Some(suspension), _) => Some(suspended_for(suspension.until, now)),
            (None, None) => None,
            (None, Some(rate)) => match place(rate, row.used_to, before, now) {
                Err(wait) => Some(wait),
                Ok(used_to) => {
                    row.used_to = Some(used_to);
                    None
                }
            },
        };
        let waiting = (ask.domain.clone(), ask.tenant.clone(), ask.job);
        match waits {
            Some(_) => t.state.mail_waiting.insert(waiting),
            None => t.state.mail_waiting.remove(&waiting),
        };
        t.commit()?;
        Ok(waits.map_or(Taken::Now, Taken::In))
    }

    async fn domain_suspend(&self, suspend: &SuspendDomain, dry_run: bool) -> Result<ControlReport> {
        check::domain(&suspend.domain)?;
        let mut t = Transition::begin(self);
        let now = t.now;
        let row = t.state.mail_domains.entry(suspend.domain.clone()).or_default();
        row.suspension = Some(Suspension {
            since: row.suspension.as_ref().map_or(now, |one| one.since),
            until: suspend.keep.map(|keep| later(now, keep)),
            by: check::plain(&suspend.by, check::REASON_CHARS_MAX),
            why: plain(suspend.why.clone()),
        });
        finish(t, one(&suspend.domain, true), dry_run)
    }

    async fn domain_resume(&self, domain: &str, dry_run: bool) -> Result<ControlReport> {
        check::domain(domain)?;
        let mut t = Transition::begin(self);
        let row = t.state.mail_domains.get_mut(domain);
        let held = row.filter(|row| row.suspension.is_some() || row.pace.learned.is_some());
        let affected = held.is_some();
        if let Some(row) = held {
            (row.suspension, row.pace) = (None, Pace::default());
        }
        finish(t, one(domain, affected), dry_run)
    }

    async fn domain_wake(&self, domain: &str, limit: u32) -> Result<u64> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let sleeps = |state: &State, job: &JobId| {
            let job = state.jobs.get(job);
            job.is_some_and(|job| job.state == JobState::Retry && job.run_at.is_some_and(|at| at > now))
        };
        let waiting = t.state.mail_waiting.iter().filter(|(of, _, job)| of == domain && sleeps(&t.state, job));
        let woken: Vec<JobId> = waiting.map(|(_, _, job)| *job).take(most(limit)).collect();
        for job in &woken {
            if let Some(job) = t.state.job_mut(*job) {
                job.run_at = Some(now);
            }
        }
        t.commit()?;
        Ok(woken.len() as u64)
    }

    async fn mail_domains(&self, page: &Page) -> Result<Vec<MailDomainView>> {
        let t = Transition::begin(self);
        let mut waiting: BTreeMap<String, u64> = BTreeMap::new();
        for (domain, _, _) in &t.state.mail_waiting {
            *waiting.entry(domain.clone()).or_default() += 1;
        }
        let held = t.state.mail_domains.iter();
        let held = held.filter(|(_, one)| one.suspension.is_some() || one.pace.learned.is_some());
        let names: BTreeSet<String> = held.map(|(name, _)| name.clone()).chain(waiting.keys().cloned()).collect();
        let none = MailDomainRow::default();
        let shown = |name: String| MailDomainView {
            domain: view(t.state.mail_domains.get(&name).unwrap_or(&none), &name, t.now),
            waiting: waiting.get(&name).copied().unwrap_or(0),
        };
        let after = page.after.clone().unwrap_or_default();
        Ok(names.into_iter().filter(|name| *name > after).map(shown).take(most(page.rows())).collect())
    }

    async fn mail_flow_tidy(&self, limit: u32) -> Result<u64> {
        let mut t = Transition::begin(self);
        let (now, limit) = (t.now, most(limit));
        let ended = |job: &JobId| {
            t.state
                .jobs
                .get(job)
                .is_none_or(|job| matches!(job.state, JobState::Done | JobState::Dead | JobState::Cancelled))
        };
        let jobs: BTreeSet<JobId> =
            t.state.mail_waiting.iter().filter(|(_, _, job)| ended(job)).map(|(_, _, job)| *job).take(limit).collect();
        let all = t.state.mail_waiting.len();
        t.state.mail_waiting.retain(|(_, _, job)| !jobs.contains(job));
        let mut done = all - t.state.mail_waiting.len();
        for domain in t.state.mail_domains.values_mut() {
            let over = |one: &Suspension| one.until.is_some_and(|until| until <= now);
            if domain.suspension.as_ref().is_some_and(over) {
                domain.suspension = None;
                done += 1;
            }
        }
        let nothing_left = |domain: &MailDomainRow| {
            domain.suspension.is_none()
                && domain.pace.learned.is_none()
                && domain.used_to.is_none_or(|used_to| used_to <= now)
        };
        let domains = t.state.mail_domains.iter().filter(|(_, domain)| nothing_left(domain));
        let names: Vec<String> = domains.map(|(name, _)| name.clone()).take(limit).collect();
        for name in &names {
            t.state.mail_domains.remove(name);
        }
        done += names.len();
        t.commit()?;
        Ok(done as u64)
    }
}

fn before(waiting: &MailWaiting, ask: &DomainAsk) -> Before {
    let of_domain = || waiting.iter().filter(|(domain, _, _)| *domain == ask.domain);
    let tenants: BTreeSet<&String> = of_domain().map(|(_, tenant, _)| tenant).collect();
    let own = of_domain().filter(|(_, tenant, job)| *tenant == ask.tenant && *job < ask.job).count() as u64;
    Before { jobs: own.min(u64::from(BEFORE_LOOK)), tenants: tenants.len() as u64 }
}
