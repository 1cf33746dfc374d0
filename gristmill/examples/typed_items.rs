//! A batch whose items are processed by a typed, asynchronous handler that shares state and waits for other services.
//!
//! ```sh
//! cargo run --example typed_items                 # writes 200 orders and a configuration into a new folder, and runs the batch
//! cargo run --example typed_items -- FOLDER       # the same in a folder that you name
//! cargo run --example typed_items -- --config FOLDER/gristmill.toml quarantine list   # then it is the whole command line
//! ```
//!
//! It shows: an item decoded as a type of your own, with one order that does not fit set aside with its path; a failure
//! that is tried again and one that is not; an item that is skipped; a parameter of the run; and at most eight items of
//! a chunk under way at once (`concurrency`).

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use gristmill::{App, ItemContext, ItemFailure};
use serde::{Deserialize, Serialize};

/// One row of the input, as the stages before have left it.
#[derive(Debug, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    cents: u64,
    currency: String,
}

/// What replaces it.
#[derive(Debug, Serialize)]
struct Priced {
    id: u64,
    customer: String,
    euro_cents: u64,
    tries: u32,
}

/// What the program shares with its handlers: here another company's service, with a table inside.
#[derive(Debug, Clone)]
struct Rates {
    per_mille: Arc<[(&'static str, u64)]>,
}

impl Rates {
    /// Looks up a rate. In a real program this would be a request.
    async fn of(&self, currency: &str) -> Option<u64> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.per_mille.iter().find(|(name, _)| *name == currency).map(|(_, rate)| *rate)
    }
}

async fn price(order: Order, context: ItemContext) -> Result<Option<Priced>, ItemFailure> {
    // A parameter of the run: `--param only=ada`.
    if context.params()["only"].as_str().is_some_and(|only| only != order.customer) {
        return Ok(None);
    }
    // Every fiftieth order finds the service busy once.
    if order.id.is_multiple_of(50) && context.attempt() == 1 {
        return Err(ItemFailure::retry("the service for rates is busy"));
    }
    let rates = context.state::<Rates>();
    let Some(rate) = rates.of(&order.currency).await else {
        return Err(ItemFailure::permanent(format!("there is no rate for `{}`", order.currency)));
    };
    let euro_cents = order.cents * rate / 1_000;
    Ok(Some(Priced { id: order.id, customer: order.customer, euro_cents, tries: context.attempt() }))
}

const CONFIG: &str = r#"
[store]
url = "sqlite://gristmill.db"

[batch.orders]
description    = "Orders, priced in euros"
source         = { csv = "orders.csv" }
chunk          = 50
failure_budget = 5
parse          = { id = "integer", cents = "integer" }
process        = { rust = "price", item_attempts = 3, concurrency = 8 }
output         = { jsonl = "out" }
aggregate      = { orders = "count", euro_cents = { sum = "euro_cents" }, by_customer = { group = "customer", count = true } }
"#;

/// Writes what the batch needs: orders, of which one is in a currency without a rate, and one is below zero.
fn prepare(folder: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let mut orders = "id,customer,cents,currency\n".to_owned();
    for id in 1..=200u32 {
        let customer = ["ada", "grace", "edsger"][id as usize % 3];
        let (cents, currency) = match id {
            77 => ("1250".to_owned(), "ducats"),
            99 => ("-5".to_owned(), "USD"),
            _ => ((id * 100).to_string(), ["EUR", "USD", "GBP"][id as usize % 3]),
        };
        let _ = writeln!(orders, "{id},{customer},{cents},{currency}");
    }
    std::fs::write(folder.join("orders.csv"), orders)?;
    let config = folder.join("gristmill.toml");
    std::fs::write(&config, CONFIG)?;
    Ok(config)
}

/// Runs this program again, as the command line that it is.
fn gristmill(config: &Path, command: &[&str]) -> Result<(), Box<dyn Error>> {
    let status = Command::new(std::env::current_exe()?).arg("--config").arg(config).args(command).status()?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", command.join(" ")).into()) }
}

fn show(folder: &Path) -> Result<(), Box<dyn Error>> {
    let config = prepare(folder)?;
    gristmill(&config, &["db", "migrate"])?;
    gristmill(&config, &["batch", "run", "orders", "--wait"])?;
    gristmill(&config, &["quarantine", "list"])
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let folder = match args.as_slice() {
        [] => std::env::temp_dir().join(format!("typed-items-{}", std::process::id())),
        [folder] if Path::new(folder).components().count() > 1 || Path::new(folder).is_dir() => PathBuf::from(folder),
        _ => {
            let rates = Rates { per_mille: Arc::from([("EUR", 1_000), ("USD", 900), ("GBP", 1_150)]) };
            return App::new().state(rates).item("price", price).main();
        }
    };
    match show(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("error: {error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}
