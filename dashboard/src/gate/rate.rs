//! How many requests an address, a token and a tenant may send: the generic cell rate algorithm, counted in this process, or
//! in the Redis that several servers share.
//!
//! The fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) say with each answer what is
//! left of the tightest limit.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota as Cells, RateLimiter};
use gristmill_core::access::{Principal, Subject};
use gristmill_service::shared::{Shared, Spent};
use gristmill_telemetry::peer_network;
use uuid::Uuid;

use super::error::{ApiError, ErrorCode, Result};
use super::settings::{Quota, Rate, ServeSettings};

/// After so many requests what has been quiet for long is forgotten.
const TIDY_EVERY: u32 = 4_096;

/// The limits of a server.
#[derive(Debug)]
pub struct Rates {
    addresses: Limit<IpAddr>,
    tokens: Limit<Uuid>,
    tenants: Limit<String>,
    quotas: Mutex<BTreeMap<String, Arc<OfTenant>>>,
    shared: Shared,
}

/// The limit of a tenant with a quota of requests.
#[derive(Debug)]
struct OfTenant {
    per_minute: u32,
    limit: Limit<String>,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    name: &'static str,
    quota: Quota,
    remaining: u32,
}

impl Rates {
    /// The limits that the settings name, counted with the other servers that share something.
    pub fn new(settings: &ServeSettings, shared: Shared) -> Self {
        Self {
            addresses: Limit::new("address", settings.rate_per_address),
            tokens: Limit::new("token", settings.rate_per_token),
            tenants: Limit::new("tenant", settings.rate_per_tenant),
            quotas: Mutex::default(),
            shared,
        }
    }

    /// Counts a request of an address. Those of this machine are not counted.
    ///
    /// # Errors
    ///
    /// 429 with the time to wait.
    pub async fn of_address(&self, address: IpAddr) -> Result<Option<Left>> {
        if address.is_loopback() {
            return Ok(None);
        }
        self.addresses.count(&peer_network(address), &self.shared).await
    }

    /// Counts a request of a caller, for its token, its tenant, and the quota of requests in a minute that the tenant may
    /// have, and returns what is left of the tightest limit.
    ///
    /// # Errors
    ///
    /// 429 with the time to wait.
    pub async fn of_caller(&self, caller: &Principal, per_minute: Option<u32>) -> Result<Option<Left>> {
        let token = match caller.subject {
            Subject::Token { token, .. } => self.tokens.count(&token.0, &self.shared).await?,
            Subject::User(user) => self.tokens.count(&user.0, &self.shared).await?,
            Subject::Anyone => None,
        };
        let tenant = tighter(token, self.tenants.count(&caller.tenant, &self.shared).await?);
        Ok(match per_minute {
            None => tenant,
            Some(per_minute) => tighter(tenant, self.of_quota(&caller.tenant, per_minute).await?),
        })
    }

    /// Counts a request for the quota of a tenant. Another quota than before begins with a whole minute.
    async fn of_quota(&self, tenant: &str, per_minute: u32) -> Result<Option<Left>> {
        let Some(count) = NonZeroU32::new(per_minute) else {
            let message = format!("the quota `requests_per_minute` of `{tenant}` is 0: it may send none");
            return Err(ApiError::new(ErrorCode::RateLimited, message));
        };
        let fresh = || {
            let rate = Rate(Some(Quota { count, period: Duration::from_secs(60) }));
            Arc::new(OfTenant { per_minute, limit: Limit::new("quota", rate) })
        };
        let of_tenant = {
            let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
            let known = quotas.entry(tenant.to_owned()).or_insert_with(fresh);
            if known.per_minute != per_minute {
                *known = fresh();
            }
            Arc::clone(known)
        };
        // Another quota is another key.
        of_tenant.limit.count(&format!("{tenant}:{per_minute}"), &self.shared).await
    }
}

/// The one of which less is left.
pub fn tighter(one: Option<Left>, other: Option<Left>) -> Option<Left> {
    one.into_iter().chain(other).min_by_key(|left| left.remaining)
}

impl Left {
    /// The fields of an answer.
    pub fn headers(self) -> HeaderMap {
        let Self { name, quota: Quota { count, period }, remaining } = self;
        let (window, full) = (period.as_secs().max(1), period.as_secs_f64());
        let missing = count.get().saturating_sub(remaining);
        let reset = (f64::from(missing) * full / f64::from(count.get())).ceil();
        let fields = [
            ("ratelimit-policy", format!("\"{name}\";q={count};w={window}")),
            ("ratelimit", format!("\"{name}\";r={remaining};t={reset}")),
        ];
        let field = |(name, text): (&'static str, String)| {
            Some((HeaderName::from_static(name), HeaderValue::try_from(text).ok()?))
        };
        fields.into_iter().filter_map(field).collect()
    }
}

type Cell<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// One limit, for each key by itself.
struct Limit<K: Hash + Eq + Clone> {
    name: &'static str,
    cells: Option<(Quota, Cell<K>)>,
    counted: AtomicU32,
}

impl<K: Hash + Eq + Clone> Debug for Limit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone + Display> Limit<K> {
    fn new(name: &'static str, rate: Rate) -> Self {
        let cells = rate.0.and_then(|quota| {
            let one = quota.period.checked_div(quota.count.get())?.max(Duration::from_nanos(1));
            let cells = Cells::with_period(one)?.allow_burst(quota.count);
            Some((quota, RateLimiter::hashmap(cells).with_middleware::<StateInformationMiddleware>()))
        });
        Self { name, cells, counted: AtomicU32::new(0) }
    }

    async fn count(&self, key: &K, shared: &Shared) -> Result<Option<Left>> {
        let Some((quota, cells)) = &self.cells else { return Ok(None) };
        let Quota { count, period } = *quota;
        let shared = match shared.is_shared() {
            true => shared.spend(&format!("{}:{key}", self.name), count.get(), period).await,
            false => None,
        };
        match shared {
            Some(Spent::Allowed { left }) => Ok(Some(Left { name: self.name, quota: *quota, remaining: left })),
            Some(Spent::Wait(wait)) => Err(self.refused(*quota, wait)),
            None => self.count_here(key, *quota, cells),
        }
    }

    /// Counts in this process alone.
    fn count_here(&self, key: &K, quota: Quota, cells: &Cell<K>) -> Result<Option<Left>> {
        if self.counted.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            cells.retain_recent();
            cells.shrink_to_fit();
        }
        match cells.check_key(key) {
            Ok(state) => Ok(Some(Left { name: self.name, quota, remaining: state.remaining_burst_capacity() })),
            Err(not_until) => Err(self.refused(quota, not_until.wait_time_from(DefaultClock::default().now()))),
        }
    }

    fn refused(&self, quota: Quota, wait: Duration) -> ApiError {
        let message = format!("too many requests of this {}: {} are allowed", self.name, Rate(Some(quota)));
        let retry_after = Some(wait.max(Duration::from_secs(1)));
        ApiError { retry_after, ..ApiError::new(ErrorCode::RateLimited, message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(rate: &str) -> Rates {
        let rate = rate.parse().expect("a rate");
        Rates::new(&ServeSettings { rate_per_address: rate, ..ServeSettings::default() }, Shared::default())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn each_address_has_its_burst_and_then_waits() {
        let rates = rates("3/1h");
        for left in [2, 1, 0] {
            let known = rates.of_address(ip("192.0.2.1")).await.expect("allowed").expect("counted");
            assert_eq!(known.remaining, left);
        }
        let refused = rates.of_address(ip("::ffff:192.0.2.1")).await.expect_err("the same in another spelling");
        assert_eq!(refused.code, ErrorCode::RateLimited);
        let wait = refused.retry_after.expect("a time");
        assert!(wait > Duration::from_secs(1_100) && wait <= Duration::from_secs(1_200), "{wait:?}");
        rates.of_address(ip("192.0.2.2")).await.expect("another address");
        assert_eq!(rates.of_address(ip("127.0.0.1")).await.expect("this machine"), None);
    }

    #[tokio::test]
    async fn a_tenant_has_its_own_quota_until_that_changes_and_no_other_tenant_feels_it() {
        let rates = rates("1000/1s");
        let of = async |tenant: &str, per_minute| {
            let caller = Principal {
                subject: Subject::Anyone,
                name: "ada".to_owned(),
                tenant: tenant.to_owned(),
                role: gristmill_core::access::Role::Viewer,
                scopes: None,
                installation: false,
            };
            rates.of_caller(&caller, per_minute).await
        };
        for left in [1, 0] {
            assert_eq!(of("north", Some(2)).await.expect("allowed").expect("counted").remaining, left);
        }
        let refused = of("north", Some(2)).await.expect_err("the third");
        assert!(refused.code == ErrorCode::RateLimited && refused.message.contains("quota"), "{}", refused.message);
        of("south", Some(2)).await.expect("another tenant");
        of("north", Some(3)).await.expect("another quota");
        assert_eq!(of("north", Some(0)).await.expect_err("none at all").retry_after, None);
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_caller() {
        let rates = rates("1/1h");
        rates.of_address(ip("2001:db8:0:1::1")).await.expect("allowed");
        rates.of_address(ip("2001:db8:0:1:ffff::1")).await.expect_err("the same network");
    }

    #[test]
    fn the_fields_say_what_is_left_and_when_all_is_back() {
        let quota = Quota { count: 60.try_into().expect("some"), period: Duration::from_secs(60) };
        let headers = Left { name: "token", quota, remaining: 45 }.headers();
        assert_eq!(headers["ratelimit-policy"], "\"token\";q=60;w=60");
        assert_eq!(headers["ratelimit"], "\"token\";r=45;t=15");
    }

    #[tokio::test]
    async fn what_was_quiet_for_long_is_forgotten() {
        let rates = rates("1000/1ms");
        for number in 0..TIDY_EVERY * 4 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(0xC000_0000 + number));
            rates.of_address(address).await.expect("allowed");
        }
        let (_, cells) = rates.addresses.cells.as_ref().expect("a limit");
        assert!(cells.len() < TIDY_EVERY as usize * 3, "{}", cells.len());
    }
}
