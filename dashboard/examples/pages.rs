//! Measures how long each page takes over a long history: the median and the 95th percentile, and how large it is.
//!
//! ```text
//! make pages JOBS=2000000 SETUP=sqlite,postgres TIMES=40
//! ```
//!
//! Server and client are one process; each request has a connection of its own, and comes after the one before it. The
//! store is a temporary file, or a schema of its own in the PostgreSQL that `GRISTMILL_TEST_POSTGRES` names. The history is
//! that of the test of what pages cost, with so many jobs besides.

#![expect(clippy::print_stdout, reason = "what it measures is what it prints")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use gristmill_store::Settings;
use gristmill_store::postgres::PostgresStore;
use gristmill_store::sqlite::SqliteStore;
use gristmill_store::testing::TestStore;

#[path = "../tests/api/env.rs"]
#[allow(dead_code, reason = "the API's tests use more of it")]
mod env;
#[path = "../../store/tests/plans/history.rs"]
#[allow(dead_code, reason = "the store's tests use more of it")]
mod history;
#[path = "../tests/cost/past.rs"]
mod past;

/// How often a page is looked at before it is measured.
const WARM: usize = 3;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut args = std::env::args().skip(1);
    let jobs: u32 = args.next().and_then(|text| text.parse().ok()).unwrap_or(2_000_000);
    let setups = args.next().unwrap_or_else(|| "sqlite,postgres".to_owned());
    let times: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(40);
    for setup in setups.split(',') {
        let began = Instant::now();
        let env = made(setup, jobs).await;
        println!("\n{setup}, {jobs} jobs besides, made within {} s", began.elapsed().as_secs());
        println!("{:>8} {:>8} {:>8}  page", "p50 ms", "p95 ms", "KiB");
        measure(&env, times).await;
    }
}

/// A server over a history of that length.
async fn made(setup: &str, jobs: u32) -> env::TestEnv {
    let (home, dialect) = match setup {
        "postgres" => (TestStore::postgres(false).await, &history::POSTGRES),
        _ => (TestStore::sqlite(false).await, &history::SQLITE),
    };
    let statements =
        [history::further(dialect, jobs), history::statements(dialect), past::statements(dialect)].concat();
    for statement in &statements {
        home.tamper(statement).await;
    }
    home.tamper(if setup == "postgres" { "VACUUM ANALYZE" } else { "ANALYZE" }).await;
    let settings = Settings::default();
    if setup == "postgres" {
        let store = PostgresStore::connect(home.url(), &settings, false).await.expect("connected");
        return env::over(home, Arc::new(store)).await;
    }
    let path = home.url().trim_start_matches("sqlite://").to_owned();
    let store = SqliteStore::connect(path.as_ref(), &settings, false).await.expect("opened");
    env::over(home, Arc::new(store)).await
}

async fn measure(env: &env::TestEnv, times: usize) {
    let errors = env.get("/errors").await.text;
    let name = errors.split("href=\"/errors/").nth(1).and_then(|rest| rest.split(['"', '?']).next()).unwrap_or("none");
    let mut all: Vec<(Duration, Duration, usize, String)> = Vec::new();
    for address in past::addresses(name) {
        let (mut took, mut size) = (Vec::new(), 0);
        for round in 0..WARM + times {
            let began = Instant::now();
            let page = env.get(&address).await;
            let elapsed = began.elapsed();
            assert!(page.status == 200 || address == "/limits/none", "{address}: {}", page.status);
            size = page.text.len();
            if round >= WARM {
                took.push(elapsed);
            }
        }
        took.sort_unstable();
        all.push((took[took.len() / 2], took[(took.len() * 95).div_ceil(100) - 1], size, address));
    }
    all.sort_by_key(|(_, p95, ..)| std::cmp::Reverse(*p95));
    let ms = |time: &Duration| time.as_secs_f64() * 1_000.0;
    for (p50, p95, size, address) in &all {
        println!("{:>8.1} {:>8.1} {:>8}  {address}", ms(p50), ms(p95), size / 1_024);
    }
}
