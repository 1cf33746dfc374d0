//! What several servers share: how much of each rate is used up, and whether what is known of callers still holds. In
//! Redis, where `[cache] redis` names one; otherwise, and while it cannot be reached, each process goes by what it knows
//! itself.
//!
//! Redis holds numbers and one word that changes. A program that can write to it can spend the rates of others, and takes no
//! other identity by it: callers themselves are never read from there.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult, Script};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;

/// How long a request waits for Redis: one that is slower is no use to it.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long Redis is left alone after it gave no answer. After that one request asks again, and all others go on without it
/// until that one knows, so that an outage costs one request in so much time anything.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// How long the word is kept that changes with each revocation: for far longer than anything is known by it.
const WORD_SECONDS: u64 = 86_400;

/// The most characters of a prefix.
const PREFIX_CHARS_MAX: usize = 40;

/// The generic cell rate algorithm of `core/src/limit/gcra.rs`, by the clock of Redis, in one step that nothing comes
/// between. The key holds the microsecond up to which the rate is used. Returns whether one more is allowed, and how many
/// are left, or how many microseconds to wait.
const SPEND: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local used_to = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local room = interval * burst - (used_to - now)
if room < interval then
    return {0, interval - room}
end
used_to = used_to + interval
redis.call('SET', KEYS[1], string.format('%.0f', used_to), 'PX', math.ceil((used_to - now) / 1000) + 1)
return {1, math.floor((room - interval) / interval)}
";

/// `[cache]` in `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// The Redis that several servers share, `redis://` or `rediss://`; empty is none.
    pub redis: String,
    /// What its keys begin with: another one for each installation that shares it.
    pub prefix: String,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { redis: String::new(), prefix: "gristmill".to_owned() }
    }
}

impl CacheSettings {
    /// Returns what is wrong: the setting, what it is and what would be right.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if let Err(wrong) = client(&self.redis) {
            faults.push(("redis", wrong));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.prefix.is_empty() || self.prefix.len() > PREFIX_CHARS_MAX || !self.prefix.chars().all(fits) {
            let wrong = format!("must be 1 to {PREFIX_CHARS_MAX} letters, digits, `-`, `_` and `.`");
            faults.push(("prefix", wrong));
        }
        faults
    }
}

/// The server that a URL names; `None` where it is empty. Nothing is asked of it.
fn client(url: &str) -> Result<Option<Client>, String> {
    if url.is_empty() {
        return Ok(None);
    }
    if !["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err("is no address of Redis; write one such as `redis://127.0.0.1:6379/0`, or `rediss://…`".to_owned());
    }
    // The error may quote the address, which may hold a password.
    Client::open(url).map(Some).map_err(|_| "cannot be read; write one such as `redis://127.0.0.1:6379/0`".to_owned())
}

/// What became of one more of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// It is allowed, and so many more are.
    Allowed {
        /// How many.
        left: u32,
    },
    /// It is not, for so long.
    Wait(Duration),
}

/// What several servers share. Clones are the same.
#[derive(Clone, Default)]
pub struct Shared(Option<Arc<Redis>>);

struct Redis {
    manager: ConnectionManager,
    prefix: String,
    spend: Script,
    /// A Redis that takes no writes, such as a replica or one whose disk is full, may answer all the same.
    reads: Condition,
    writes: Condition,
}

/// What is asked of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

/// Why Redis is of no use just now.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// It gives no answer, to whatever it is asked.
    Silent(String),
    /// It answers, and refuses what it is asked.
    Refused(String),
}

/// Whether Redis answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Answers,
    /// It is left alone until an instant, and then asked by one at a time.
    Away {
        until: Instant,
        asked: bool,
    },
}

/// Whether Redis answers what is asked in one way.
#[derive(Debug)]
struct Condition {
    state: Mutex<State>,
    /// Wakes those who wait for an answer when it becomes known that none comes.
    gone: Notify,
}

/// The right to ask. When it is dropped by the one who asked whether Redis is back, another one may.
#[derive(Debug)]
struct Permit<'a> {
    of: &'a Condition,
    probes: bool,
}

impl Default for Condition {
    fn default() -> Self {
        Self { state: Mutex::new(State::Answers), gone: Notify::new() }
    }
}

impl Condition {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether Redis may be asked at an instant: by everyone while it answers, and by one who finds out whether it does
    /// again.
    fn permit(&self, now: Instant) -> Option<Permit<'_>> {
        let mut state = self.state();
        match &mut *state {
            State::Answers => Some(Permit { of: self, probes: false }),
            State::Away { until, asked } if *until <= now && !*asked => {
                *asked = true;
                Some(Permit { of: self, probes: true })
            }
            State::Away { .. } => None,
        }
    }

    /// It has answered. Returns whether it had not before.
    fn answers(&self) -> bool {
        let mut state = self.state();
        std::mem::replace(&mut *state, State::Answers) != State::Answers
    }

    /// It is left alone from now on. Returns whether it had answered before.
    fn is_away(&self, now: Instant) -> bool {
        let before = std::mem::replace(&mut *self.state(), State::Away { until: now + LEFT_ALONE, asked: false });
        self.gone.notify_waiters();
        before == State::Answers
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probes
            && let State::Away { asked, .. } = &mut *self.of.state()
        {
            *asked = false;
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.0.as_ref().map(|redis| redis.prefix.as_str())).finish()
    }
}

impl Shared {
    /// What the settings name. Nothing is asked of Redis yet: a server starts without it.
    ///
    /// # Errors
    ///
    /// What is wrong with the address.
    pub fn new(settings: &CacheSettings) -> Result<Self, String> {
        let Some(client) = client(&settings.redis)? else { return Ok(Self::default()) };
        if settings.redis.starts_with("rediss://") {
            gristmill_jobs::one_tls_provider();
        }
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let manager = ConnectionManager::new_lazy_with_config(client, config).map_err(|error| error.to_string())?;
        let (prefix, spend) = (settings.prefix.clone(), Script::new(SPEND));
        let (reads, writes) = (Condition::default(), Condition::default());
        Ok(Self(Some(Arc::new(Redis { manager, prefix, spend, reads, writes }))))
    }

    /// Whether there is anything to share with.
    pub fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// Spends one of a rate of `count` in a time, for one key. `None` where nothing is shared just now.
    pub async fn spend(&self, key: &str, count: u32, period: Duration) -> Option<Spent> {
        let redis = self.0.as_deref()?;
        let interval = (period.as_micros() / u128::from(count.max(1))).max(1);
        let mut connection = redis.manager.clone();
        let mut call = redis.spend.key(redis.key("rate", key));
        call.arg(u64::try_from(interval).unwrap_or(u64::MAX)).arg(count);
        let (allowed, number): (u8, u64) = redis.ask(Way::Write, call.invoke_async(&mut connection)).await?;
        Some(match allowed {
            1 => Spent::Allowed { left: u32::try_from(number).unwrap_or(u32::MAX) },
            _ => Spent::Wait(Duration::from_micros(number)),
        })
    }

    /// The word by which what is known of callers holds; it changes with each revocation, whichever server makes it. `None`
    /// where nothing is shared just now.
    pub async fn word(&self) -> Option<String> {
        let redis = self.0.as_deref()?;
        let mut connection = redis.manager.clone();
        let mut get = redis::cmd("GET");
        get.arg(redis.key("callers", "word"));
        let word: Option<String> = redis.ask(Way::Read, get.query_async(&mut connection)).await?;
        Some(word.unwrap_or_default())
    }

    /// Changes the word: no server goes by what it knows of callers any more.
    pub async fn change_word(&self) {
        let Some(redis) = self.0.as_deref() else { return };
        let mut connection = redis.manager.clone();
        // Never a word that there was before, whatever Redis has forgotten in between.
        let mut set = redis::cmd("SET");
        set.arg(redis.key("callers", "word")).arg(Uuid::new_v4().to_string()).arg("EX").arg(WORD_SECONDS);
        let _: Option<()> = redis.ask(Way::Write, set.query_async(&mut connection)).await;
    }

    /// Whether Redis answers, for the doctor: with its version.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub async fn look(&self) -> Result<Option<String>, String> {
        let Some(redis) = self.0.as_deref() else { return Ok(None) };
        let mut connection = redis.manager.clone();
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let said: RedisResult<String> = match timeout(PATIENCE * 8, info.query_async(&mut connection)).await {
            Ok(said) => said,
            Err(_) => return Err("gives no answer".to_owned()),
        };
        let said = said.map_err(|error| error.to_string())?;
        let version = said.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(Some(version.unwrap_or("of an unknown version").trim().to_owned()))
    }
}

impl Redis {
    fn key(&self, what: &str, name: &str) -> String {
        format!("{}:{what}:{name}", self.prefix)
    }

    fn condition(&self, way: Way) -> &Condition {
        match way {
            Way::Read => &self.reads,
            Way::Write => &self.writes,
        }
    }

    /// Asks, unless it is left alone. No request waits for longer than until one knows that no answer comes.
    async fn ask<T>(&self, way: Way, asked: impl Future<Output = RedisResult<T>>) -> Option<T> {
        let condition = self.condition(way);
        let gone = condition.gone.notified();
        tokio::pin!(gone);
        // From here on it is heard, so that none falls between the look and the wait.
        gone.as_mut().enable();
        let permit = condition.permit(Instant::now())?;
        let answered = tokio::select! {
            biased;
            answered = timeout(PATIENCE, asked) => answered,
            () = gone => return None,
        };
        let trouble = match answered {
            Ok(Ok(answer)) => {
                self.is_back(way);
                return Some(answer);
            }
            Ok(Err(error)) if error.code().is_some() => Trouble::Refused(error.to_string()),
            Ok(Err(error)) => Trouble::Silent(error.to_string()),
            Err(_) => Trouble::Silent("it gives no answer".to_owned()),
        };
        self.is_away(way, &trouble);
        drop(permit);
        None
    }

    /// One that gives no answer gives none to anything.
    fn is_away(&self, way: Way, trouble: &Trouble) {
        let (of, why): (&[Way], _) = match trouble {
            Trouble::Silent(why) => (&[Way::Read, Way::Write], why),
            Trouble::Refused(why) => (std::slice::from_ref(&way), why),
        };
        let now = Instant::now();
        for way in of {
            if self.condition(*way).is_away(now) {
                tracing::warn!(why, "the Redis of [cache] cannot be used: until it can, {}", way.without());
            }
        }
    }

    fn is_back(&self, way: Way) {
        if self.condition(way).answers() {
            tracing::info!("the Redis of [cache] can be used again for {}", way.uses());
        }
    }
}

impl Way {
    /// What is done while Redis cannot be asked in this way.
    fn without(self) -> &'static str {
        match self {
            Self::Read => "each server learns within seconds, and not at once, that a session was revoked at another",
            Self::Write => "each server counts rates by itself, and tells no other at once what it revokes",
        }
    }

    fn uses(self) -> &'static str {
        match self {
            Self::Read => "learning of what others revoke",
            Self::Write => "counting rates, and for what is revoked here",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_asks_whether_it_is_back() {
        let (condition, begun) = (Condition::default(), Instant::now());
        let (first, second) = (condition.permit(begun), condition.permit(begun));
        assert!(first.is_some() && second.is_some(), "all ask while it answers");
        assert!(condition.is_away(begun), "it had answered");
        assert!(!condition.is_away(begun), "that is known already");
        drop((first, second));
        assert!(condition.permit(begun + LEFT_ALONE / 2).is_none(), "it is left alone");
        let later = begun + LEFT_ALONE;
        let prober = condition.permit(later);
        assert!(prober.is_some());
        for _ in 0..100 {
            assert!(condition.permit(later).is_none(), "all others go on without it");
        }
        drop(prober);
        let heir = condition.permit(later).expect("whose request was given up leaves its place to another");
        assert!(!condition.is_away(later));
        drop(heir);
        assert!(condition.permit(later + LEFT_ALONE / 2).is_none(), "from the last answer on");
        let last = condition.permit(later + LEFT_ALONE).expect("one asks again");
        assert!(condition.answers() && !condition.answers());
        drop(last);
        assert!(condition.permit(later).is_some() && condition.permit(later).is_some(), "it answers");
    }

    #[test]
    fn an_address_that_is_none_of_redis_is_refused_and_not_quoted() {
        for (url, right) in
            [("", true), ("redis://127.0.0.1:6379/0", true), ("rediss://:secret@cache.example.com", true)]
        {
            let settings = CacheSettings { redis: url.to_owned(), ..CacheSettings::default() };
            assert_eq!(settings.faults().is_empty(), right, "{url}");
        }
        for url in ["http://:hunter2@a", "cache.example.com", "redis://:hunter2@[::", "redis://:hunter2@host:port"] {
            let faults = CacheSettings { redis: url.to_owned(), ..CacheSettings::default() }.faults();
            assert!(!faults.is_empty() && !faults[0].1.contains("hunter2"), "{url}: {faults:?}");
        }
        for prefix in ["", "a b", "a:b", &"x".repeat(41)] {
            let settings = CacheSettings { prefix: prefix.to_owned(), ..CacheSettings::default() };
            assert_eq!(settings.faults().len(), 1, "{prefix}");
        }
    }

    #[tokio::test]
    async fn without_redis_nothing_is_shared() {
        let shared = Shared::default();
        assert!(!shared.is_shared());
        assert_eq!(shared.spend("a", 1, Duration::from_secs(1)).await, None);
        assert_eq!(shared.word().await, None);
        shared.change_word().await;
        assert_eq!(shared.look().await, Ok(None));
    }
}
