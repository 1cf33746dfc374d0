//! SQLite: how many instructions of its virtual machine each step takes.

use std::future::Future;
use std::sync::Arc;

use gristmill_store::sqlite::SqliteStore;
use gristmill_store::testing::TestStore;
use gristmill_store::{Settings, StoreHandle};

use crate::history::{self, SQLITE};
use crate::instructions::Instructions;
use crate::operations::{self, Meter};

/// How many thousand instructions a step may take. Reading a backlog of 10,000 jobs takes three hundred.
const THOUSANDS_MAX: i64 = 150;

/// Counts what the connections of a store do, and notes what is too much.
struct Counted {
    instructions: Instructions,
    wrong: Vec<String>,
}

impl Meter for Counted {
    async fn step<T>(&mut self, name: &str, step: impl Future<Output = gristmill_store::Result<T>>) -> T {
        self.instructions.thousands();
        let done = step.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let took = self.instructions.thousands();
        println!("{took:>8} {name}");
        if took > THOUSANDS_MAX {
            self.wrong.push(format!("{name} took {took},000 instructions, {THOUSANDS_MAX},000 at most"));
        }
        done
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_each_step_reads_what_it_needs() {
    let test = TestStore::sqlite(true).await;
    for statement in history::statements(&SQLITE) {
        test.tamper(&statement).await;
    }
    for statistics in ["SELECT 1", "ANALYZE"] {
        test.tamper(statistics).await;
        let path = test.url().trim_start_matches("sqlite://").to_owned();
        let settings = Settings { connections: 1, ..Settings::default() };
        let store = SqliteStore::connect(path.as_ref(), &settings, true).await.expect("opened");
        let mut counted = Counted { instructions: Instructions::of(&store).await, wrong: Vec::new() };
        let store: StoreHandle = Arc::new(store);
        operations::all(&store, &mut counted).await;
        assert!(counted.wrong.is_empty(), "after {statistics}:\n{}", counted.wrong.join("\n"));
    }
}
