//! SQLite: how many instructions of its virtual machine a page takes.

use std::sync::Arc;

use gristmill_store::Settings;
use gristmill_store::sqlite::SqliteStore;
use gristmill_store::testing::TestStore;

use crate::counted::{Meter, every_page};
use crate::history::{self, SQLITE};
use crate::instructions::Instructions;
use crate::{env, past};

impl Meter for Instructions {
    // A row takes twenty to sixty: about five thousand rows.
    const MOST: i64 = 150;
    const WHAT: &'static str = "thousand instructions";

    async fn read(&mut self) -> (i64, Option<u64>) {
        (self.thousands(), None)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_no_page_reads_more_than_it_needs() {
    let home = TestStore::sqlite(true).await;
    for statement in history::statements(&SQLITE).iter().chain(&past::statements(&SQLITE)) {
        home.tamper(statement).await;
    }
    let path = home.url().trim_start_matches("sqlite://").to_owned();
    let settings = Settings { connections: 1, ..Settings::default() };
    let store = SqliteStore::connect(path.as_ref(), &settings, true).await.expect("opened");
    let mut meter = Instructions::of(&store).await;
    let env = env::over(home, Arc::new(store)).await;
    every_page(&env, &mut meter).await;
}
