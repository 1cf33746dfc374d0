//! What several servers share: how much of each rate is used up, and whether what is known of callers still holds. In
//! Redis, where `[cache] redis` names one; otherwise, and while it cannot be reached, each process goes by what it knows
//! itself.
//!
//! Redis holds numbers and one word that changes. A program that can write to it can spend the rates of others, and takes no
//! other identity by it: callers themselves are never read from there.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult, Script};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uuid::Uuid;

/// How long a request waits for Redis: one that is slower is no use to it.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long Redis is left alone after it gave no answer, so that an outage costs few requests anything.
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
    /// Until when it is left alone.
    away: Mutex<Option<Instant>>,
    /// Whether it was said that it cannot be reached.
    said: AtomicBool,
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
        Ok(Self(Some(Arc::new(Redis { manager, prefix, spend, away: Mutex::default(), said: AtomicBool::new(false) }))))
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
        let (allowed, number): (u8, u64) = redis.ask(call.invoke_async(&mut connection)).await?;
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
        let word: Option<String> = redis.ask(get.query_async(&mut connection)).await?;
        Some(word.unwrap_or_default())
    }

    /// Changes the word: no server goes by what it knows of callers any more.
    pub async fn change_word(&self) {
        let Some(redis) = self.0.as_deref() else { return };
        let mut connection = redis.manager.clone();
        // Never a word that there was before, whatever Redis has forgotten in between.
        let mut set = redis::cmd("SET");
        set.arg(redis.key("callers", "word")).arg(Uuid::new_v4().to_string()).arg("EX").arg(WORD_SECONDS);
        let _: Option<()> = redis.ask(set.query_async(&mut connection)).await;
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

    /// Asks, unless it is left alone.
    async fn ask<T>(&self, asked: impl Future<Output = RedisResult<T>>) -> Option<T> {
        if self.away.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let why = match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => {
                self.is_back();
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it gives no answer".to_owned(),
        };
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + LEFT_ALONE);
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                why,
                "the Redis of [cache] cannot be used: until it can, each server counts rates by itself, and learns within \
                 seconds that a session was revoked at another"
            );
        }
        None
    }

    fn is_back(&self) {
        if self.said.load(Ordering::Relaxed) && self.said.swap(false, Ordering::Relaxed) {
            *self.away.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::info!("the Redis of [cache] can be used again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
