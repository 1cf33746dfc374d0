//! The command line of the campaign, and what its levels have in common.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::figures::Figures;
use super::ground::{Servers, administer, with_database};
use super::nemesis::{BROKER, Blow, DATABASE, rage};
use super::run::schedule;
use crate::root;

/// What the command was asked for.
#[derive(Debug, Clone)]
struct Asked {
    schedules: u64,
    seed: u64,
    only: Option<String>,
    at_once: usize,
}

impl Asked {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self { schedules: 25, seed: 1, only: None, at_once: 6 };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} {value}: write a whole number"));
            match name.as_str() {
                "--schedules" => asked.schedules = number()?,
                "--seed" => asked.seed = number()?,
                "--only" => asked.only = Some(value).filter(|level| !level.is_empty()),
                "--at-once" => asked.at_once = usize::try_from(number()?.max(1)).unwrap_or(1),
                other => {
                    return Err(format!("there is no {other}; there are --schedules, --seed, --only and --at-once"));
                }
            }
        }
        Ok(asked)
    }

    fn wants(&self, level: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == level)
    }
}

/// A line for people. Nobody reads it when it cannot be written.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Runs what the arguments ask for: success when nothing was wrong.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let asked = match Asked::read(arguments) {
        Ok(asked) => asked,
        Err(wrong) => {
            say(&format!("faults: {wrong}"));
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let right = runtime.block_on(levels(&asked));
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn levels(asked: &Asked) -> bool {
    let mut right = true;
    if asked.wants("l2") {
        let figures = processes(asked.schedules, asked.seed, asked.at_once).await;
        say(&figures.points());
        say(&format!("L2 processes from seed {}: {figures}", asked.seed));
        right &= figures.violations == 0;
    }
    for (level, name, blows) in [("l3", "L3 broker", BROKER), ("l4", "L4 PostgreSQL", DATABASE)] {
        if asked.wants(level) {
            right &= under_blows(asked, level, name, blows).await;
        }
    }
    right
}

/// Schedules while a server is struck again and again.
async fn under_blows(asked: &Asked, level: &'static str, name: &str, kinds: &[Blow]) -> bool {
    let servers = Servers { forgets: level == "l3", ..servers().await };
    let stop = CancellationToken::new();
    let rage = async { rage(&servers, kinds, asked.seed, &stop).await };
    let runs = async {
        let figures = several(&servers, level, asked.schedules, asked.seed, asked.at_once).await;
        stop.cancel();
        figures
    };
    let (figures, blows) = tokio::join!(runs, rage);
    administer(&servers.postgres, &format!("DROP DATABASE IF EXISTS {}", servers.template)).await;
    let dealt = blows.is_ok();
    match blows {
        Ok(blows) => say(&format!("{name} from seed {}: {blows}; {figures}", asked.seed)),
        Err(wrong) => say(&format!("{name}: NOT DONE, {wrong}")),
    }
    dealt && figures.violations == 0
}

/// L2: so many schedules, from this seed on, some of them at once.
///
/// # Panics
///
/// When the servers do not answer.
pub async fn processes(schedules: u64, seed: u64, at_once: usize) -> Figures {
    let servers = servers().await;
    let figures = several(&servers, "l2", schedules, seed, at_once).await;
    administer(&servers.postgres, &format!("DROP DATABASE IF EXISTS {}", servers.template)).await;
    figures
}

async fn several(servers: &Servers, level: &'static str, schedules: u64, seed: u64, at_once: usize) -> Figures {
    let runs = (seed..seed + schedules).map(|seed| {
        let servers = servers.clone();
        async move { (seed, tokio::spawn(async move { schedule(&servers, program(), seed).await }).await) }
    });
    let mut figures = Figures::of(level);
    let mut outcomes = futures::stream::iter(runs).buffer_unordered(at_once);
    while let Some((seed, outcome)) = outcomes.next().await {
        match outcome {
            Ok(outcome) => figures.add(&outcome).iter().for_each(|wrong| say(wrong)),
            Err(error) => {
                figures.schedules += 1;
                figures.violations += 1;
                say(&format!("VIOLATION, seed {seed}: the harness ended: {error}"));
            }
        }
        if figures.schedules.is_multiple_of(50) && figures.schedules < schedules {
            say(&format!("so far: {figures}"));
        }
    }
    figures
}

/// The servers of the tests, and a database with the schema to copy from.
async fn servers() -> Servers {
    let given = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("set {name}, or use `make faults`"));
    let (postgres, amqp) = (given("GRISTMILL_TEST_POSTGRES"), given("GRISTMILL_TEST_AMQP"));
    let template = format!("gristmill_template_{}", Uuid::new_v4().simple());
    administer(&postgres, &format!("CREATE DATABASE {template}")).await;
    let migrated = Command::new(program())
        .args(["--store", &with_database(&postgres, &template), "db", "migrate"])
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the program starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    Servers { postgres, amqp, template, calm: Arc::default(), forgets: false }
}

/// The program with crash points: built from the workspace, or the one that `GRISTMILL_CAMPAIGN_PROGRAM` names.
pub fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("GRISTMILL_CAMPAIGN_PROGRAM") {
            return PathBuf::from(given);
        }
        let (feature, name) = ("gristmill-tests/crash-points", "gristmill-crash-points");
        // With a test beside it, so that every dependency has the features that it has in `cargo test` and is not
        // compiled a second time.
        let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--workspace", "--features", feature, "--bin", name, "--test", "house"])
            .current_dir(root())
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the program does not build");
        let this = std::env::current_exe().expect("this program has a path");
        let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
        beside.expect("it lies beside this program, or one folder above a test")
    })
}
