//! Every page looked at, with what each has cost.

use crate::env::TestEnv;
use crate::past::addresses;

/// How often a page may ask the store.
const READINGS_MAX: u32 = 12;

/// How many statements that may take.
const STATEMENTS_MAX: u64 = 12;

/// Says how much the database has read since it was last asked.
pub(crate) trait Meter {
    /// How much a page may read, by this measure, and what it counts.
    const MOST: i64;
    /// What is counted.
    const WHAT: &'static str;

    /// How much was read since the last time, and how many statements were sent, where that is known.
    async fn read(&mut self) -> (i64, Option<u64>);
}

/// The short name of an error on the page of errors.
async fn fingerprint(env: &TestEnv) -> String {
    let page = env.get("/errors").await;
    let link = page.text.split("href=\"/errors/").nth(1).unwrap_or_else(|| panic!("an error: {page:?}"));
    link.split(['"', '?']).next().expect("a name").to_owned()
}

/// Looks at every page.
///
/// # Panics
///
/// When a page asks or reads too much.
pub(crate) async fn every_page<M: Meter>(env: &TestEnv, meter: &mut M) {
    let mut wrong = Vec::new();
    for address in addresses(&fingerprint(env).await) {
        meter.read().await;
        let page = env.get(&address).await;
        let (read, statements) = meter.read().await;
        // No trigger or limit is in the configuration of these tests.
        assert!(page.status == 200 || address == "/limits/none", "{address}: {page:?}");
        let cost = page.header("x-cost").unwrap_or("0 0 -").to_owned();
        let readings: u32 = cost.split(' ').next().expect("a number").parse().expect("a number");
        println!("{readings:>3} readings {statements:>5?} statements {read:>8} {} {address}", M::WHAT);
        if readings > READINGS_MAX || statements.is_some_and(|sent| sent > STATEMENTS_MAX) {
            wrong.push(format!(
                "{address} asked {readings} times, with {statements:?} statements: {READINGS_MAX} and {STATEMENTS_MAX} at most"
            ));
        }
        if read > M::MOST {
            wrong.push(format!("{address} read {read} {}, {} at most", M::WHAT, M::MOST));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
