//! Recipients' domains: how fast they may be sent to, and how many messages of this worker are under way to each.
//!
//! Rates, suspensions and what was learned hold for all workers, through the store. How many messages are under way is
//! counted by each worker for itself: what it protects are its own connections. A domain begins with half of them, gets
//! one more with each message that is taken, and loses half when its servers do not answer; one connection is always left
//! to others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill_core::limit::gcra::Rate;
use gristmill_core::mail_flow::PerMinute;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::server::rate;
use crate::settings::{DomainSettings, MailSettings};

/// What stands for all domains without an entry of their own.
const ANY: &str = "*";

/// How long a message waits in its worker for one before it to end. Longer would take the worker from others.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a message waits whose domain does not answer.
pub(super) const STALLED: Duration = Duration::from_secs(30);

/// How long a message waits that found too many under way.
pub(super) const CROWDED: Duration = Duration::from_secs(3);

/// The most domains of which it is remembered how they did.
const REMEMBERED_MAX: usize = 10_000;

const MINUTE: Duration = Duration::from_secs(60);

/// What is configured for a domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rule {
    /// How fast, all workers together.
    pub(super) rate: Option<Rate>,
    /// How many messages of this worker may be under way.
    pub(super) connections: Option<u32>,
    /// Nothing is sent there.
    pub(super) suspended: bool,
}

impl Rule {
    /// Its rate as messages in a minute.
    pub(super) fn per_minute(&self) -> Option<PerMinute> {
        let many = MINUTE.as_micros() / u128::from(self.rate?.interval.unsigned_abs().max(1));
        Some(PerMinute::try_from(many).unwrap_or(PerMinute::MAX).max(1))
    }
}

/// What is configured, and what is under way.
#[derive(Debug)]
pub(super) struct Domains {
    rules: BTreeMap<String, Rule>,
    any: Rule,
    /// The most messages under way to one domain.
    most: u32,
    all: Mutex<HashMap<String, Traffic>>,
    ended: Arc<Notify>,
}

/// A domain that messages are, or were, under way to.
#[derive(Debug)]
struct Traffic {
    /// How many may be.
    window: u32,
    /// When each of those that are has begun.
    begun: Vec<Instant>,
    /// The messages of this minute and of the one before.
    minute: (Instant, u32, u32),
}

/// A message that is under way to a domain, until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay<'a> {
    domains: &'a Domains,
    domain: String,
    begun: Instant,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(traffic) = self.domains.all().get_mut(&self.domain)
            && let Some(place) = traffic.begun.iter().position(|begun| *begun == self.begun)
        {
            traffic.begun.swap_remove(place);
        }
        self.domains.ended.notify_waiters();
    }
}

/// What came of a message to a domain, for how many may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Its servers have answered, whatever they said.
    Answered,
    /// They have not.
    Silent,
}

impl Domains {
    /// Reads the settings. `connections` is how many this worker has to all relays.
    ///
    /// # Errors
    ///
    /// When a setting makes no sense: a text that names the key.
    pub(super) fn new(settings: &MailSettings, connections: usize) -> Result<Self, String> {
        let mut rules = BTreeMap::new();
        for (name, settings) in &settings.domains {
            rules.insert(name.clone(), rule(name, settings)?);
        }
        let any = rules.remove(ANY).unwrap_or_default();
        let most = u32::try_from(connections.saturating_sub(1)).unwrap_or(u32::MAX).max(1);
        Ok(Self { rules, any, most, all: Mutex::default(), ended: Arc::default() })
    }

    /// What is configured for a domain.
    pub(super) fn rule(&self, domain: &str) -> Rule {
        self.rules.get(domain).copied().unwrap_or(self.any)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Traffic>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to send to a domain.
    ///
    /// # Errors
    ///
    /// How long to wait, when too many are under way there.
    pub(super) async fn begin(&self, domain: &str) -> Result<UnderWay<'_>, Duration> {
        let until = Instant::now() + PATIENCE;
        loop {
            let ended = self.ended.notified();
            let mut ended = std::pin::pin!(ended);
            // From here on no end is missed.
            ended.as_mut().enable();
            match self.try_begin(domain, Instant::now()) {
                Ok(begun) => return Ok(begun),
                Err(stalled) if stalled => return Err(STALLED),
                Err(_) => {}
            }
            if tokio::time::timeout_at(until, ended).await.is_err() {
                return Err(CROWDED);
            }
        }
    }

    /// An error says whether those that are under way seem to be stuck.
    fn try_begin(&self, domain: &str, now: Instant) -> Result<UnderWay<'_>, bool> {
        let mut all = self.all();
        if all.len() >= REMEMBERED_MAX && !all.contains_key(domain) {
            all.retain(|_, traffic| !traffic.begun.is_empty());
        }
        let first = (self.most.saturating_add(1) / 2).max(1);
        let traffic = all.entry(domain.to_owned()).or_insert_with(|| Traffic {
            window: first,
            begun: Vec::new(),
            minute: (now, 0, 0),
        });
        let window = self.rule(domain).connections.map_or(traffic.window, |most| traffic.window.min(most)).max(1);
        if traffic.begun.len() >= usize::try_from(window).unwrap_or(usize::MAX) {
            let stuck = traffic.begun.iter().all(|begun| now.saturating_duration_since(*begun) > PATIENCE);
            return Err(stuck);
        }
        // Each has an instant of its own: by it its end finds it.
        let mut begun = now;
        while traffic.begun.contains(&begun) {
            begun += Duration::from_nanos(1);
        }
        traffic.begun.push(begun);
        traffic.count(now);
        Ok(UnderWay { domains: self, domain: domain.to_owned(), begun })
    }

    /// Notes what came of a message.
    pub(super) fn came(&self, domain: &str, what: Came) {
        if let Some(traffic) = self.all().get_mut(domain) {
            traffic.window = match what {
                Came::Answered => traffic.window.saturating_add(1).min(self.most),
                Came::Silent => (traffic.window / 2).max(1),
            };
        }
    }

    /// How many messages of this worker went there in the last minute.
    pub(super) fn last_minute(&self, domain: &str) -> PerMinute {
        self.all().get(domain).map_or(0, |traffic| traffic.minute.1.max(traffic.minute.2))
    }
}

impl Traffic {
    fn count(&mut self, now: Instant) {
        let (since, this, _) = self.minute;
        self.minute = match now.saturating_duration_since(since) {
            age if age < MINUTE => (since, this.saturating_add(1), self.minute.2),
            age if age < 2 * MINUTE => (now, 1, this),
            _ => (now, 1, 0),
        };
    }
}

fn rule(name: &str, settings: &DomainSettings) -> Result<Rule, String> {
    let section = format!("mail.domains.{name:?}");
    let odd = |c: char| c.is_whitespace() || c.is_control() || c.is_ascii_uppercase() || c == '@';
    if name.is_empty() || name.contains(odd) || (name.contains('*') && name != ANY) {
        return Err(format!(
            "`{section}`: a domain is written in lower case, such as `example.com`, or `*` for all others"
        ));
    }
    if settings.connections == Some(0) {
        return Err(format!("`{section}.connections` must be 1 or more; `suspended = true` sends nothing there"));
    }
    let rate = rate(&section, settings.rate, settings.per.0, settings.burst)?;
    Ok(Rule { rate, connections: settings.connections, suspended: settings.suspended })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(connections: usize) -> Domains {
        Domains::new(&MailSettings::default(), connections).expect("made")
    }

    #[tokio::test(start_paused = true)]
    async fn a_domain_that_does_not_answer_leaves_a_connection_to_others() {
        let domains = domains(4);
        let mut stuck =
            vec![domains.begin("slow.example").await.expect("one"), domains.begin("slow.example").await.expect("two")];
        assert_eq!(domains.begin("slow.example").await.err(), Some(CROWDED), "half of what there is");
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(domains.begin("slow.example").await.err(), Some(STALLED), "and they do not come back");
        domains.begin("quick.example").await.expect("another domain");
        domains.came("slow.example", Came::Silent);
        stuck.pop();
        assert!(domains.begin("slow.example").await.is_err(), "one is enough for it now");
        stuck.pop();
        domains.begin("slow.example").await.expect("one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_domain_that_answers_gets_all_but_one() {
        let domains = domains(4);
        for _ in 0..9 {
            domains.came("quick.example", Came::Answered);
            drop(domains.begin("quick.example").await.expect("begun"));
        }
        let mut under_way = Vec::new();
        while let Ok(one) = domains.begin("quick.example").await {
            under_way.push(one);
        }
        assert_eq!(under_way.len(), 3);
        assert_eq!(domains.last_minute("quick.example"), 12);
        tokio::time::advance(MINUTE).await;
        under_way.clear();
        drop(domains.begin("quick.example").await);
        assert_eq!(domains.last_minute("quick.example"), 12, "of the minute before");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_when_one_before_it_ends() {
        let domains = domains(1);
        let first = domains.begin("a.example").await.expect("the first");
        let (second, ()) = tokio::join!(domains.begin("a.example"), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            drop(first);
        });
        second.expect("the second");
    }

    #[test]
    fn an_entry_of_its_own_goes_before_that_for_all_and_what_makes_no_sense_is_refused() {
        let with = |name: &str, domain: DomainSettings| MailSettings {
            domains: BTreeMap::from([
                (name.to_owned(), domain),
                (ANY.to_owned(), DomainSettings { connections: Some(7), ..DomainSettings::default() }),
            ]),
            ..MailSettings::default()
        };
        let slow = DomainSettings { rate: Some(30), ..DomainSettings::default() };
        let domains = Domains::new(&with("slow.example", slow.clone()), 4).expect("made");
        assert_eq!(domains.rule("slow.example").per_minute(), Some(30));
        assert_eq!(domains.rule("other.example"), Rule { connections: Some(7), ..Rule::default() });
        let none = DomainSettings { connections: Some(0), ..DomainSettings::default() };
        let fast = DomainSettings { rate: Some(0), ..DomainSettings::default() };
        for (name, domain, names) in
            [("Slow.example", slow, "lower case"), ("a.example", none, "connections"), ("a.example", fast, "`rate`")]
        {
            let error = Domains::new(&with(name, domain), 4).expect_err(names);
            assert!(error.contains(names), "{error}");
        }
    }
}
