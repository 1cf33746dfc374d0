//! Several relays: which of them takes a message, what becomes of it when one fails, and what all workers know of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::backoff;
use gristmill_core::id::JobId;
use gristmill_core::letter::envelope_id;
use gristmill_core::mail_flow::{BreakerState, Candidate, DomainEvent, RelayEvent, Standing, choose, domain_of, pace};
use gristmill_mail::Address;
use gristmill_mail::classify::{Blame, Signal};
use gristmill_mail::transport::{Answer, Outgoing, Report};
use gristmill_store::{DomainAsk, MailFlow, RelayChange, StoreError, StoreHandle, Taken};
use uuid::Uuid;

use super::Letter;
use super::domains::{Came, Domains, STALLED, UnderWay};
use super::server::{self, ONLY, Relay};
use crate::settings::MailSettings;

/// How old may be what is known of relays and domains. So long a worker may go on with a relay that another has given up.
const FRESH: Duration = Duration::from_secs(1);

/// How long a message waits when it is not known for how long.
const WAIT: Duration = Duration::from_secs(30);

/// How long a message waits for a domain that the configuration suspends.
const CONFIGURED_WAIT: Duration = Duration::from_secs(600);

/// The relays of this worker, and the domains that it sends to.
#[derive(Debug)]
pub struct Relays {
    relays: Vec<Relay>,
    /// The messages that each has taken and that are not noted yet.
    took: Vec<AtomicU32>,
    domains: Domains,
    /// Until when each has no place, by its rate or by what it may take today.
    full: Vec<Mutex<Option<tokio::time::Instant>>>,
    seen: Mutex<Option<Arc<Seen>>>,
    /// Whether something has changed what was seen.
    stale: AtomicBool,
    /// Whether the relays were noted as being there.
    known: AtomicBool,
    /// Held by the one that looks.
    looking: tokio::sync::Mutex<()>,
}

/// What all workers know, and when it was read.
#[derive(Debug)]
struct Seen {
    flow: MailFlow,
    at: tokio::time::Instant,
}

impl Seen {
    /// The database's current time.
    fn now(&self) -> Instant {
        self.flow.now + self.at.elapsed()
    }

    fn standing(&self, relay: &Relay) -> Standing {
        let known = self.flow.relays.iter().find(|known| known.name == relay.name);
        known.map_or(Standing::Usable, |known| known.breaker.standing(self.now()))
    }

    fn is_closed(&self, relay: &Relay) -> bool {
        let known = self.flow.relays.iter().find(|known| known.name == relay.name);
        known.is_none_or(|known| known.breaker.state == BreakerState::Closed)
    }
}

/// Which domains a message may be sent to now.
#[derive(Debug, Default)]
pub struct Admission<'a> {
    under_way: Vec<UnderWay<'a>>,
    /// The others: why, and for how long.
    held: BTreeMap<String, (String, Duration)>,
}

impl Admission<'_> {
    /// Why nothing is sent to an address now, and for how long. `None` when something may be.
    pub fn holds(&self, address: &str) -> Option<Answer> {
        let (why, wait) = self.held.get(&domain_of(address))?;
        Some(Answer::Held { why: why.clone(), wait: *wait })
    }

    /// Why nothing is sent to any of the domains, and when one of them may be.
    pub fn holds_all(&self) -> Option<(String, Duration)> {
        if !self.under_way.is_empty() {
            return None;
        }
        self.held.values().min_by_key(|(_, wait)| *wait).cloned()
    }
}

impl Relays {
    /// Prepares for the relays of the settings. Passwords and certificates are read here.
    ///
    /// # Errors
    ///
    /// When a setting makes no sense, or names what cannot be read: a text that names the key.
    pub fn from_settings(settings: &MailSettings) -> Result<Self, String> {
        let relays = server::from_settings(settings)?;
        let connections = relays.iter().map(|relay| relay.connections).sum();
        Ok(Self {
            took: relays.iter().map(|_| AtomicU32::new(0)).collect(),
            full: relays.iter().map(|_| Mutex::default()).collect(),
            domains: Domains::new(settings, connections)?,
            relays,
            seen: Mutex::default(),
            stale: AtomicBool::new(false),
            known: AtomicBool::new(false),
            looking: tokio::sync::Mutex::default(),
        })
    }

    /// What all workers know, no older than a second, or what was known last when the store does not answer.
    async fn seen(&self, store: &StoreHandle) -> Option<Arc<Seen>> {
        let known = || self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fresh = |seen: &Arc<Seen>| seen.at.elapsed() < FRESH && !self.stale.load(Ordering::Acquire);
        if let Some(seen) = known().filter(fresh) {
            return Some(seen);
        }
        let _one = self.looking.lock().await;
        let last = known();
        if last.as_ref().is_some_and(fresh) {
            return last;
        }
        self.stale.store(false, Ordering::Release);
        self.note_taken(store).await;
        match store.mail_flow().await {
            Ok(flow) => {
                let seen = Arc::new(Seen { flow, at: tokio::time::Instant::now() });
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&seen));
                Some(seen)
            }
            Err(error) => {
                tracing::debug!(%error, "what is known of the mail relays cannot be read");
                last
            }
        }
    }

    /// What is known is looked up again: something has changed it.
    fn look_again(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// Whether a relay can be asked now, as far as this worker knows.
    fn standing(&self, place: usize, seen: &Seen) -> Standing {
        let full = *self.full[place].lock().unwrap_or_else(PoisonError::into_inner);
        let left = full.and_then(|until| until.checked_duration_since(tokio::time::Instant::now()));
        match (seen.standing(&self.relays[place]), left.filter(|left| !left.is_zero())) {
            (Standing::Usable, Some(left)) => Standing::Paused(Some(seen.now() + left)),
            (standing, _) => standing,
        }
    }

    /// Notes how many messages each relay has taken since the last time; at first, that it is there.
    async fn note_taken(&self, store: &StoreHandle) {
        let first = !self.known.swap(true, Ordering::Relaxed);
        for (relay, took) in self.relays.iter().zip(&self.took) {
            match took.swap(0, Ordering::Relaxed) {
                0 if !first => {}
                0 => self.note(store, relay, &RelayEvent::Known).await,
                count => self.note(store, relay, &RelayEvent::Took(count)).await,
            }
        }
    }

    async fn note(&self, store: &StoreHandle, relay: &Relay, event: &RelayEvent) {
        match store.relay_note(&relay.name, &relay.smtp.server(), event).await {
            Ok(change) => said(&relay.name, &change),
            Err(error) => tracing::debug!(relay = relay.name, %error, "what a mail relay did cannot be noted"),
        }
    }

    /// Finds which of a message's domains may be sent to now. Each of these counts as under way until the admission is
    /// dropped.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn admit(
        &self,
        store: &StoreHandle,
        (tenant, job, snoozes): (&str, JobId, u32),
        domains: &BTreeSet<String>,
    ) -> Result<Admission<'_>, StoreError> {
        let seen = self.seen(store).await;
        let mut admission = Admission::default();
        for domain in domains {
            let rule = self.domains.rule(domain);
            if rule.suspended {
                let why = format!("`mail.domains` suspends {domain}");
                admission.held.insert(domain.clone(), (why, CONFIGURED_WAIT));
                continue;
            }
            let begun = match self.domains.begin(domain).await {
                Ok(begun) => begun,
                Err(wait) => {
                    let what = if wait == STALLED { "does not answer" } else { "has as many messages as it may" };
                    admission.held.insert(domain.clone(), (format!("{domain} {what}"), patient(wait, snoozes)));
                    continue;
                }
            };
            let is_held = |seen: &Arc<Seen>| seen.flow.domains.iter().any(|held| held.name == *domain);
            if rule.rate.is_some() || seen.as_ref().is_some_and(is_held) {
                let (domain_name, tenant, configured) = (domain.clone(), tenant.to_owned(), rule.rate);
                let ask = DomainAsk { domain: domain_name, tenant, job, configured };
                if let Taken::In(wait) = store.domain_take(&ask).await? {
                    let why = format!("{domain} waits for its turn, or is suspended; see `gristmill mail domain list`");
                    admission.held.insert(domain.clone(), (why, wait));
                    continue;
                }
            }
            admission.under_way.push(begun);
        }
        Ok(admission)
    }

    /// How long until a relay may be asked, when none may be now.
    pub async fn all_paused(&self, store: &StoreHandle, snoozes: u32) -> Option<(String, Duration)> {
        let seen = self.seen(store).await?;
        let standings: Vec<Standing> = (0..self.relays.len()).map(|place| self.standing(place, &seen)).collect();
        if !standings.iter().all(|standing| matches!(standing, Standing::Paused(_))) {
            return None;
        }
        Some((NO_RELAY.to_owned(), patient(first_end(&standings, seen.now()), snoozes)))
    }

    /// Hands a message over to the relay whose turn it is, and to the next one where that fails before the final dot.
    pub(super) async fn send<F, R>(&self, store: &StoreHandle, letter: &Letter, before_data: F) -> Report
    where
        F: Fn(Vec<usize>) -> R + Send + Sync,
        R: Future<Output = Result<(), String>> + Send,
    {
        let mut answers: Vec<Option<Answer>> = vec![None; letter.recipients.len()];
        let mut left: Vec<usize> = (0..letter.recipients.len()).collect();
        let mut round = Round { tried: vec![false; self.relays.len()], wait: None };
        let (mut said, mut server) = (Vec::new(), String::new());
        while !left.is_empty() {
            let Some(place) = self.turn(store, &mut round).await else { break };
            let relay = &self.relays[place];
            let recipients: Vec<Address> = left.iter().map(|index| letter.recipients[*index].clone()).collect();
            let outgoing = Outgoing {
                sender: Some(&letter.sender),
                recipients: &recipients,
                bytes: &letter.bytes,
                envelope_id: envelope_id(&letter.message_id),
            };
            let named = |taken: Vec<usize>| before_data(taken.iter().map(|index| left[*index]).collect());
            let report = relay.smtp.send(&outgoing, named).await;
            self.learn(store, place, &recipients, &report.answers).await;
            server = if relay.name == ONLY { report.server } else { format!("{} ({})", relay.name, report.server) };
            if !said.is_empty() {
                said.push(format!("   the next relay: {server}"));
            }
            said.push(report.transcript);
            for (index, answer) in left.iter().zip(report.answers) {
                answers[*index] = Some(answer);
            }
            left.retain(|index| answers[*index].as_ref().is_some_and(Answer::lets_another_try));
        }
        let wait = round.wait.unwrap_or(WAIT);
        let held = || Answer::Held { why: NO_RELAY.to_owned(), wait: spread(wait) };
        let answers = answers.into_iter().map(|answer| answer.unwrap_or_else(held)).collect();
        Report { answers, transcript: said.join("\n"), server }
    }

    /// Chooses the relay whose turn it is, and takes a place of it. `None` when none may be asked.
    async fn turn(&self, store: &StoreHandle, round: &mut Round) -> Option<usize> {
        loop {
            let seen = self.seen(store).await;
            let standing = |place: usize| seen.as_ref().map_or(Standing::Usable, |seen| self.standing(place, seen));
            let candidate = |place: usize| Candidate {
                order: self.relays[place].order,
                weight: self.relays[place].weight,
                available: !round.tried[place] && !matches!(standing(place), Standing::Paused(_)),
            };
            let candidates: Vec<Candidate> = (0..self.relays.len()).map(candidate).collect();
            let Some(place) = choose(&candidates, random()) else {
                let standings: Vec<Standing> = (0..self.relays.len()).map(standing).collect();
                let paused = standings.iter().any(|standing| matches!(standing, Standing::Paused(_)));
                if let Some(seen) = seen.as_ref().filter(|_| paused) {
                    round.waits(first_end(&standings, seen.now()));
                }
                return None;
            };
            round.tried[place] = true;
            let relay = &self.relays[place];
            if !self.has_place(store, place, round).await {
                continue;
            }
            let to_be_tried = seen.as_ref().is_some_and(|seen| seen.standing(relay) == Standing::ToBeTried);
            if !to_be_tried || self.may_try(store, relay).await {
                return Some(place);
            }
        }
    }

    /// Takes a place of a relay that has a rate, or is warmed up.
    async fn has_place(&self, store: &StoreHandle, place: usize, round: &mut Round) -> bool {
        let relay = &self.relays[place];
        if !relay.terms.are_any() {
            return true;
        }
        match store.relay_take(&relay.name, &relay.smtp.server(), &relay.terms).await {
            Ok(Taken::Now) => true,
            Ok(Taken::In(wait)) => {
                round.waits(wait);
                let until = tokio::time::Instant::now() + wait;
                *self.full[place].lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
                false
            }
            Err(error) => {
                tracing::debug!(relay = relay.name, %error, "a mail relay's rate cannot be asked for");
                false
            }
        }
    }

    /// Whether this worker is the one that tries a relay whose pause is over.
    async fn may_try(&self, store: &StoreHandle, relay: &Relay) -> bool {
        self.look_again();
        let asked = store.relay_note(&relay.name, &relay.smtp.server(), &RelayEvent::Probe).await;
        asked.is_ok_and(|change| change.changed())
    }

    /// Notes what the answers say of the relay and of the domains.
    async fn learn(&self, store: &StoreHandle, place: usize, recipients: &[Address], answers: &[Answer]) {
        let relay = &self.relays[place];
        let seen = self.seen(store).await;
        let blamed = |whom: Blame| answers.iter().find(|answer| answer.blame() == whom).map(Answer::masked);
        let event = match (blamed(Blame::Ourselves), blamed(Blame::Relay)) {
            (Some(why), _) => Some(RelayEvent::Fault(why)),
            (None, Some(why)) => Some(RelayEvent::Failed(why)),
            (None, None) if answers.iter().any(|answer| answer.phase().is_some()) => {
                self.took[place].fetch_add(1, Ordering::Relaxed);
                let tried = seen.as_ref().is_none_or(|seen| !seen.is_closed(relay));
                tried.then(|| RelayEvent::Took(self.took[place].swap(0, Ordering::Relaxed)))
            }
            (None, None) => None,
        };
        if let Some(event) = event {
            self.note(store, relay, &event).await;
            self.look_again();
        }
        for (domain, answer) in by_domain(recipients, answers) {
            self.learn_of(store, &domain, answer, seen.as_deref()).await;
        }
    }

    async fn learn_of(&self, store: &StoreHandle, domain: &str, answer: &Answer, seen: Option<&Seen>) {
        let silent = matches!(answer, Answer::Judged { signal: Signal::Silent, .. });
        self.domains.came(domain, if silent { Came::Silent } else { Came::Answered });
        let configured = self.domains.rule(domain).per_minute();
        let event = if answer.blame() == Blame::Domain {
            let seen = self.domains.last_minute(domain);
            tracing::warn!(domain, answer = answer.masked(), "a domain asks to be sent less");
            DomainEvent::SlowDown { said: answer.masked(), seen }
        } else {
            // Its pace rises once a minute: more often there is nothing to say.
            let due = |seen: &Seen| {
                let known = seen.flow.domains.iter().find(|known| known.name == domain);
                let learned_at = known.and_then(|known| known.pace.learned_at);
                learned_at.is_some_and(|at| (seen.now() - at).to_std().unwrap_or_default() >= pace::STEP)
            };
            if answer.accepted().is_none() || !seen.is_some_and(due) {
                return;
            }
            DomainEvent::Took
        };
        match store.domain_note(domain, &event, configured).await {
            Ok(()) => self.look_again(),
            Err(error) => tracing::debug!(domain, %error, "what a domain has answered cannot be noted"),
        }
    }
}

/// Checks `[mail.domains]`.
///
/// # Errors
///
/// What is wrong with it: a text that names the key.
pub fn check_domains(settings: &MailSettings) -> Result<(), String> {
    Domains::new(settings, settings.connections).map(drop)
}

/// Which relays were tried for a message, and how long the others have to wait.
struct Round {
    tried: Vec<bool>,
    wait: Option<Duration>,
}

impl Round {
    fn waits(&mut self, wait: Duration) {
        self.wait = Some(self.wait.map_or(wait, |known| known.min(wait)));
    }
}

const NO_RELAY: &str = "no mail relay can be used now; see `gristmill mail relay list`";

/// The answer that says the most of each domain: one that asks for less, before one that refuses, before one that takes.
/// What is answered to the whole message speaks of a domain only when it has no other.
fn by_domain<'a>(recipients: &[Address], answers: &'a [Answer]) -> BTreeMap<String, &'a Answer> {
    let domains: BTreeSet<String> = recipients.iter().map(|one| domain_of(one.as_ref())).collect();
    let mut found: BTreeMap<String, &Answer> = BTreeMap::new();
    for (recipient, answer) in recipients.iter().zip(answers) {
        let of_all = !matches!(answer, Answer::Judged { phase: gristmill_mail::classify::Phase::Rcpt, .. });
        let asked = answer.phase().is_some() && matches!(answer.blame(), Blame::Nobody | Blame::Domain);
        if !asked || (of_all && domains.len() > 1 && answer.accepted().is_none()) {
            continue;
        }
        let known = found.entry(domain_of(recipient.as_ref())).or_insert(answer);
        if answer.blame() == Blame::Domain {
            *known = answer;
        }
    }
    found
}

/// When the first of the pauses ends.
fn first_end(standings: &[Standing], now: Instant) -> Duration {
    let left = |standing: &Standing| match standing {
        Standing::Paused(Some(until)) => Some((*until - now).to_std().unwrap_or_default()),
        Standing::Paused(None) => Some(CONFIGURED_WAIT),
        Standing::Usable | Standing::ToBeTried => None,
    };
    standings.iter().filter_map(left).min().unwrap_or(WAIT)
}

/// A wait that grows with how often its job has come for nothing: of many that wait for the same, few come at a time.
fn patient(wait: Duration, snoozes: u32) -> Duration {
    spread(wait.max(backoff::MAIL_TURN.wait(snoozes.saturating_add(1), 1.0)))
}

/// A wait and up to a quarter more, so that not all come back at once.
fn spread(wait: Duration) -> Duration {
    wait.max(Duration::from_secs(1)).mul_f64(1.0 + random() / 4.0)
}

fn random() -> f64 {
    let [a, b, c, d, ..] = Uuid::new_v4().into_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

/// Says it once, where it changes whether a relay is used.
fn said(relay: &str, change: &RelayChange) {
    let why = change.is.why.as_deref().unwrap_or_default();
    match (change.was.state, change.is.state) {
        (was, is) if was == is => {}
        (_, BreakerState::Open) if change.is.fault => {
            tracing::error!(
                relay,
                why,
                "the mail relay does not let us in; no mail is given up, and it is left alone; mend the settings, then `gristmill mail relay resume`"
            );
        }
        (_, BreakerState::Open) => {
            tracing::warn!(relay, why, "the mail relay fails and is left alone for a while");
        }
        (_, BreakerState::Closed) => tracing::info!(relay, "the mail relay works again"),
        (_, BreakerState::HalfOpen) => tracing::info!(relay, "the mail relay is tried with one message"),
        (_, BreakerState::Suspended) => {}
    }
}
