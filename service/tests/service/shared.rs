//! What several servers share: rates that are counted over all of them, and sessions that end at all of them at once; and
//! what they do while Redis is away.

use std::time::{Duration, Instant};

use futures::future::join_all;
use gristmill_core::access::Role;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_service::accounts::{Accounts, Secret};
use gristmill_service::shared::{CacheSettings, Shared, Spent};
use gristmill_store::accounts::{Recognition, WhichSessions};
use gristmill_store::testing::eventually;
use gristmill_testkit::proxy::{Break, Proxy, Way};
use uuid::Uuid;

use crate::env::{databases, order, sqlite_env};
use crate::people::{PASSWORD, accounts, add, login};

/// A Redis of the tests. Nothing is skipped silently.
fn redis() -> String {
    std::env::var("GRISTMILL_TEST_REDIS")
        .expect("GRISTMILL_TEST_REDIS names a Redis: scripts/servers start; eval \"$(scripts/servers env)\"")
}

/// What each test has for itself.
fn prefix() -> String {
    format!("test-{}", Uuid::now_v7().simple())
}

fn shared(url: &str, prefix: &str) -> Shared {
    Shared::new(&CacheSettings { redis: url.to_owned(), prefix: prefix.to_owned() }).expect("an address of Redis")
}

/// Redis behind a proxy that can be cut.
async fn behind() -> (Proxy, String) {
    let url = redis();
    let address = url.trim_start_matches("redis://").split('/').next().expect("an address").to_owned();
    let proxy = Proxy::start(&address).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    (proxy, url)
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_counted_over_all_servers_and_exactly() {
    let prefix = prefix();
    let servers: Vec<Shared> = (0..4).map(|_| shared(&redis(), &prefix)).collect();
    let asked = (0..200).map(|number| servers[number % 4].spend("token:a", 50, HOUR));
    let spent = join_all(asked).await;
    assert!(spent.iter().all(Option::is_some), "Redis answers");
    let allowed: Vec<u32> = spent
        .iter()
        .filter_map(|spent| match spent {
            Some(Spent::Allowed { left }) => Some(*left),
            Some(Spent::Wait(_)) | None => None,
        })
        .collect();
    assert_eq!(allowed.len(), 50, "no more than the burst, however many ask at once");
    let mut each: Vec<u32> = allowed;
    each.sort_unstable();
    assert_eq!(each, (0..50).collect::<Vec<_>>(), "each of them another one");
    let Some(Spent::Wait(wait)) = servers[0].spend("token:a", 50, HOUR).await else { panic!("it is used up") };
    assert!(wait > Duration::from_secs(60) && wait <= Duration::from_secs(72), "{wait:?}");
    assert_eq!(servers[1].spend("token:b", 50, HOUR).await, Some(Spent::Allowed { left: 49 }), "another key");
    let other = shared(&redis(), &format!("{prefix}-other"));
    assert_eq!(other.spend("token:a", 50, HOUR).await, Some(Spent::Allowed { left: 49 }), "another installation");
}

#[tokio::test]
async fn what_is_used_up_comes_back_evenly() {
    let shared = shared(&redis(), &prefix());
    let (count, period) = (10, Duration::from_millis(500));
    for left in (0..10).rev() {
        let spent = shared.spend("a", count, period).await.expect("Redis answers");
        assert!(matches!(spent, Spent::Allowed { left: found } if found >= left), "{left}: {spent:?}");
    }
    let begun = Instant::now();
    eventually("one more", async || {
        matches!(shared.spend("a", count, period).await, Some(Spent::Allowed { .. })).then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

async fn takes(accounts: &Accounts, session: &Secret) -> bool {
    let asked = accounts.recognizer().session(session, Some(DEFAULT_TENANT)).await.expect("asked");
    matches!(asked, Some(Recognition::Known(_)))
}

#[tokio::test]
async fn a_session_that_one_server_ends_is_over_at_all_of_them_at_once() {
    for env in databases().await {
        let prefix = prefix();
        let server = || accounts(&env).sharing(shared(&redis(), &prefix));
        let (here, there, alone) = (server(), server(), accounts(&env));
        let ada = add(&here, &order(), "ada", Some(Role::Admin)).await;
        let logged_in = here.log_in(&order(), &login("ada", PASSWORD, "192.0.2.1")).await.expect("logged in");
        for server in [&here, &there, &alone] {
            assert!(takes(server, &logged_in.secret).await);
        }
        here.end_sessions(&order(), ada, WhichSessions::AllBut(None)).await.expect("ended");
        assert!(!takes(&there, &logged_in.secret).await, "at once");
        assert!(takes(&alone, &logged_in.secret).await, "one that shares nothing learns of it within seconds");
    }
}

#[tokio::test]
async fn while_redis_is_away_each_server_goes_on_by_itself_and_comes_back() {
    let env = sqlite_env().await;
    let (proxy, url) = behind().await;
    let prefix = prefix();
    let accounts = accounts(&env).sharing(shared(&url, &prefix));
    add(&accounts, &order(), "ada", Some(Role::Admin)).await;
    let logged_in = accounts.log_in(&order(), &login("ada", PASSWORD, "192.0.2.1")).await.expect("logged in");
    let shared = accounts.shared();
    assert_eq!(shared.spend("a", 5, HOUR).await, Some(Spent::Allowed { left: 4 }));
    proxy.shut();
    proxy.cut(Break::Reset);
    assert_eq!(shared.spend("a", 5, HOUR).await, None, "nothing is shared");
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(shared.spend("a", 5, HOUR).await, None);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "an outage costs few requests anything: {:?}", begun.elapsed());
    assert!(takes(&accounts, &logged_in.secret).await, "who is logged in stays so");
    assert!(shared.look().await.is_err(), "the doctor says so");
    proxy.heal();
    let spent = eventually("Redis is used again", async || shared.spend("a", 5, HOUR).await).await;
    assert_eq!(spent, Spent::Allowed { left: 3 }, "and knows what was counted before");
    assert!(shared.look().await.expect("it answers").is_some_and(|version| version.contains('.')));
}

#[tokio::test]
async fn a_redis_that_is_not_there_keeps_no_request_waiting() {
    let port = gristmill_testkit::http::closed_port().await;
    let shared = shared(&format!("redis://127.0.0.1:{port}"), &prefix());
    let begun = Instant::now();
    assert_eq!(shared.spend("a", 5, HOUR).await, None);
    assert_eq!(shared.word().await, None);
    shared.change_word().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let why = shared.look().await.expect_err("it is not there");
    assert!(!why.is_empty());
}

/// How many of so many requests at once have waited, and how many were answered.
async fn at_once(shared: &Shared, requests: usize) -> (usize, usize) {
    let asked = (0..requests).map(async |number: usize| {
        let begun = Instant::now();
        let answered = match number % 2 {
            0 => shared.spend("a", 1_000_000, HOUR).await.is_some(),
            _ => shared.word().await.is_some(),
        };
        (begun.elapsed() > Duration::from_millis(150), answered)
    });
    let seen = join_all(asked).await;
    (seen.iter().filter(|(waited, _)| *waited).count(), seen.iter().filter(|(_, answered)| *answered).count())
}

#[tokio::test]
async fn a_redis_that_hangs_keeps_one_request_waiting_now_and_then() {
    let (proxy, url) = behind().await;
    let shared = shared(&url, &prefix());
    assert_eq!(at_once(&shared, 20).await, (0, 20));
    proxy.set(Way::Stalled);
    let begun = Instant::now();
    assert_eq!(at_once(&shared, 100).await.1, 0, "nothing is shared");
    assert!(begun.elapsed() < Duration::from_secs(1), "all go on when the first knows: {:?}", begun.elapsed());
    let (mut waited, mut most) = (0, 0);
    while begun.elapsed() < Duration::from_secs(4) {
        let (now, answered) = at_once(&shared, 100).await;
        (waited, most) = (waited + now, most.max(now));
        assert_eq!(answered, 0);
        tokio::task::yield_now().await;
    }
    assert!(most <= 2, "{most} requests waited at the same time, of which one may ask to read and one to write");
    assert!((1..=8).contains(&waited), "{waited} requests waited in all");
    proxy.heal();
    eventually("it is asked again", async || (at_once(&shared, 20).await.1 == 20).then_some(())).await;
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_read_all_the_same() {
    let admin = redis::Client::open(redis()).expect("an address");
    let mut admin = admin.get_multiplexed_async_connection().await.expect("a connection");
    let (user, prefix) = (prefix(), prefix());
    let allowed = ["reset", "on", ">secret", "~*", "+@all", "-@write", "-eval", "-evalsha", "-script"];
    let mut made = redis::cmd("ACL");
    made.arg("SETUSER").arg(&user).arg(&allowed);
    let () = made.query_async(&mut admin).await.expect("a user who only reads");
    shared(&redis(), &prefix).change_word().await;
    let reader = shared(&redis().replace("redis://", &format!("redis://{user}:secret@")), &prefix);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(reader.spend("a", 5, HOUR).await, None, "it refuses to count");
        reader.change_word().await;
        assert!(reader.word().await.is_some_and(|word| !word.is_empty()), "and says what it knows");
    }
    let mut gone = redis::cmd("ACL");
    let () = gone.arg("DELUSER").arg(&user).query_async(&mut admin).await.expect("removed");
}
