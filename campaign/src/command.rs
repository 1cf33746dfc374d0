//! The command line of the campaign, and what its levels have in common.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures::StreamExt;
use gristmill_testkit::cargo;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::env::{administer, with_database};
use crate::figures::Figures;
use crate::fleet::{Fleet, Order, SMALL_DISK, Servers, THREE_NODES, WITH_STANDBY};
use crate::nemesis::{BROKER, Blow, Blows, DATABASE, DISK, NODES, STANDBY, rage};
use crate::root;
use crate::run::schedule;
use crate::{disk, recovery, soak, sqlite};

/// What the command was asked for.
#[derive(Debug, Clone)]
struct Asked {
    schedules: u64,
    seed: u64,
    only: Option<String>,
    at_once: usize,
    blows: u64,
}

impl Asked {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self { schedules: 25, seed: 1, only: None, at_once: 6, blows: 0 };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} {value}: write a whole number"));
            match name.as_str() {
                "--schedules" => asked.schedules = number()?,
                "--seed" => asked.seed = number()?,
                "--only" => asked.only = Some(value).filter(|level| !level.is_empty()),
                "--at-once" => asked.at_once = usize::try_from(number()?.max(1)).unwrap_or(1),
                "--blows" => asked.blows = number()?,
                other => {
                    let known = "--schedules, --seed, --only, --at-once and --blows";
                    return Err(format!("there is no {other}; there are {known}"));
                }
            }
        }
        Ok(asked)
    }

    fn wants(&self, level: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == level)
    }

    /// A level that takes servers of its own, or long, is run when it is named.
    fn names(&self, level: &str) -> bool {
        self.only.as_deref() == Some(level)
    }
}

/// Whether the operator wants it to end: the figures of what was done until then are reported.
static ENDED: AtomicBool = AtomicBool::new(false);

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
    runtime.spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            say("no more schedules are begun; what has begun is seen through");
            ENDED.store(true, Ordering::Relaxed);
        }
    });
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
            let servers = Servers { forgets: level == "l3", struck: true, ..servers().await };
            right &= under_blows(&servers, asked, level, name, blows).await;
        }
    }
    right &= on_fleets(asked).await;
    if asked.wants("sqlite") {
        let figures = on_one_file(asked.schedules, asked.seed, asked.at_once).await;
        say(&format!("L4 SQLite from seed {}: {figures}", asked.seed));
        right &= figures.violations == 0;
    }
    if asked.names("recovery") {
        right &=
            reported("recovery", recovery::measure(&servers().await, program(), asked.schedules, asked.seed).await);
    }
    if asked.names("soak") {
        right &= reported("L7", soak::soak(&servers().await, program(), asked.schedules).await);
    }
    right
}

/// Levels whose servers are started for them.
async fn on_fleets(asked: &Asked) -> bool {
    let levels: [(&'static str, &str, Order, &[Blow]); 3] = [
        ("disk", "L4 PostgreSQL on a disk that is full now and then", SMALL_DISK, DISK),
        ("standby", "L4 PostgreSQL, failover to a synchronous standby", WITH_STANDBY, STANDBY),
        ("nodes", "L3 three nodes", THREE_NODES, NODES),
    ];
    let mut right = true;
    for (level, name, order, blows) in levels {
        if !asked.names(level) {
            continue;
        }
        let fleet = match Fleet::start(order).await {
            Ok(fleet) => Arc::new(fleet),
            Err(wrong) => {
                say(&format!("{name}: NOT DONE, {wrong}"));
                right = false;
                continue;
            }
        };
        let (postgres, amqp) = given();
        let (postgres, amqp) = fleet.addresses(postgres, amqp);
        // RabbitMQ may lose a queue that was just declared when one of its nodes is stalled or parted then.
        let forgets = level == "nodes";
        let given = servers_at(postgres, amqp).await;
        let servers = Servers { fleet: Some(Arc::clone(&fleet)), struck: true, forgets, ..given };
        right &= under_blows(&servers, asked, level, name, blows).await;
        if let Err(wrong) = fleet.stop().await {
            say(&format!("{name}: {wrong}"));
        }
    }
    if asked.names("disk") {
        let runs = asked.schedules.div_ceil(5).max(asked.blows.div_ceil(disk::TIMES));
        right &= reported("L4 SQLite on a full disk", disk::runs(program(), runs, asked.seed).await);
    }
    right
}

/// Says what came of something: whether it was right.
fn reported(what: &str, came: Result<String, String>) -> bool {
    let right = came.is_ok();
    match came {
        Ok(figures) => say(&format!("{what}: {figures}")),
        Err(wrong) => say(&format!("{what}: VIOLATION OR NOT DONE, {wrong}")),
    }
    right
}

/// L4 on SQLite: so many runs, from this seed on, some of them at once. They need no server.
pub async fn on_one_file(runs: u64, seed: u64, at_once: usize) -> sqlite::Figures {
    let binary = program();
    let runs = (seed..seed + runs).map(|seed| async move { sqlite::run(binary, seed).await });
    let mut figures = sqlite::Figures::default();
    let mut outcomes = futures::stream::iter(runs).buffer_unordered(at_once);
    while let Some(outcome) = outcomes.next().await {
        figures.add(&outcome).iter().for_each(|wrong| say(wrong));
    }
    figures
}

/// Schedules while a server is struck again and again: as many as were asked for, and more until each blow was dealt
/// as often as was asked for.
async fn under_blows(servers: &Servers, asked: &Asked, level: &'static str, name: &str, kinds: &[Blow]) -> bool {
    let (stop, blows) = (CancellationToken::new(), Blows::of(kinds));
    let rage = async {
        let dealt = rage(servers, kinds, asked.seed, &blows, &stop).await;
        stop.cancel();
        dealt
    };
    let runs = async {
        let enough = |schedules| schedules >= asked.schedules && (blows.each(asked.blows) || stop.is_cancelled());
        let figures = several(servers, level, asked, enough).await;
        stop.cancel();
        figures
    };
    let (figures, dealt) = tokio::join!(runs, rage);
    administer(&servers.postgres, &format!("DROP DATABASE IF EXISTS {}", servers.template)).await;
    say(&format!("{name} from seed {}: {blows}; {figures}", asked.seed));
    if let Err(wrong) = &dealt {
        say(&format!("{name}: BROKEN OFF, {wrong}"));
    }
    dealt.is_ok() && figures.violations == 0
}

/// L2: so many schedules, from this seed on, some of them at once.
///
/// # Panics
///
/// When the servers do not answer.
pub async fn processes(schedules: u64, seed: u64, at_once: usize) -> Figures {
    let servers = servers().await;
    let asked = Asked { schedules, seed, only: None, at_once, blows: 0 };
    let figures = several(&servers, "l2", &asked, |begun| begun >= schedules).await;
    administer(&servers.postgres, &format!("DROP DATABASE IF EXISTS {}", servers.template)).await;
    figures
}

/// Schedules until it is enough, which is asked with how many have been begun.
async fn several(servers: &Servers, level: &'static str, asked: &Asked, enough: impl Fn(u64) -> bool) -> Figures {
    let seeds = (asked.seed..)
        .zip(0..)
        .take_while(|(_, begun)| !ENDED.load(Ordering::Relaxed) && !enough(*begun))
        .map(|(seed, _)| seed);
    let runs = seeds.map(|seed| {
        let servers = servers.clone();
        async move { (seed, tokio::spawn(async move { schedule(&servers, program(), seed).await }).await) }
    });
    let mut figures = Figures::of(level);
    let mut outcomes = std::pin::pin!(futures::stream::iter(runs).buffer_unordered(asked.at_once));
    while let Some((seed, outcome)) = outcomes.next().await {
        match outcome {
            Ok(outcome) => figures.add(&outcome).iter().for_each(|wrong| say(wrong)),
            Err(error) => {
                figures.schedules += 1;
                figures.violations += 1;
                say(&format!("VIOLATION, seed {seed}: the harness ended: {error}"));
            }
        }
        if figures.schedules.is_multiple_of(50) {
            say(&format!("so far: {figures}"));
        }
    }
    figures
}

/// The servers of the tests.
fn given() -> (String, String) {
    let given = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("set {name}, or use `make faults`"));
    (given("GRISTMILL_TEST_POSTGRES"), given("GRISTMILL_TEST_AMQP"))
}

async fn servers() -> Servers {
    let (postgres, amqp) = given();
    servers_at(postgres, amqp).await
}

/// Servers, and a database with the schema to copy from.
async fn servers_at(postgres: String, amqp: String) -> Servers {
    let template = format!("gristmill_template_{}", Uuid::new_v4().simple());
    administer(&postgres, &format!("CREATE DATABASE {template}")).await;
    let migrated = Command::new(program())
        .args(["--store", &with_database(&postgres, &template), "db", "migrate"])
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the program starts");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    Servers { postgres, amqp, template, calm: Arc::default(), forgets: false, struck: false, fleet: None }
}

/// The program with failpoints: built from the workspace, or the one that `GRISTMILL_CAMPAIGN_PROGRAM` names.
pub fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("GRISTMILL_CAMPAIGN_PROGRAM") {
            return PathBuf::from(given);
        }
        let (feature, name) = ("gristmill-campaign/failpoints", "gristmill-failpoints");
        // With a test beside it, so that every dependency has the features that it has in `cargo test` and is not
        // compiled a second time.
        let built = cargo()
            .args(["build", "--quiet", "--workspace", "--features", feature, "--bin", name, "--test", "tidy"])
            .current_dir(root())
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the program does not build");
        let this = std::env::current_exe().expect("this program has a path");
        let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
        beside.expect("it lies beside this program, or one folder above a test")
    })
}
