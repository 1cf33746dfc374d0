//! The rounds of a run, and what they leave: a table and `target/bench.json`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use crate::fault::Result;
use crate::machine::Machine;
use crate::metric::{Contestant, Metric, Row, Setup};
use crate::options::Options;
use crate::own::contest::Own;
use crate::own::idle::{Idlers, watch};
use crate::peer::{Peer, VERSION};
use crate::raw::contest::Raw;
use crate::report::Report;
use crate::size::Size;
use crate::stand::Ground;
use crate::table::{number, table};

/// Where the document goes unless `BENCH_JSON` says otherwise.
const DOCUMENT: &str = "target/bench.json";

fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Shows how far a run is; it belongs to no result.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "bench: {text}");
}

/// Runs what the variables ask for: success when nothing went wrong, whatever was reached.
pub fn main() -> ExitCode {
    let options = match Options::read(|name| std::env::var(name).ok()) {
        Ok(options) => options,
        Err(wrong) => {
            note(&wrong);
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            note(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(options)) {
        Ok(report) if report.failures.is_empty() => ExitCode::SUCCESS,
        Ok(report) => {
            report.failures.iter().for_each(|failure| note(&format!("FAILED: {failure}")));
            ExitCode::FAILURE
        }
        Err(error) => {
            note(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn ground() -> Result<Ground> {
    let given = |name: &str| std::env::var(name).map_err(|_| format!("set {name}, or run `make bench`"));
    let beside = std::env::current_exe()?;
    let program = |name: &str| beside.with_file_name(name);
    let usual = PathBuf::from("/var/tmp");
    let folder = if usual.is_dir() { usual } else { std::env::temp_dir() };
    Ok(Ground {
        postgres: given("GRISTMILL_TEST_POSTGRES")?,
        amqp: given("GRISTMILL_TEST_AMQP")?,
        folder: std::env::var_os("BENCH_FOLDER").map_or(folder, PathBuf::from),
        program: program("gristmill-bench-worker"),
        peer: Some(program("gristmill-bench-peer")).filter(|peer| peer.exists()),
    })
}

/// Everything that a run works with.
struct Contest {
    ground: Ground,
    raw: Raw,
    own: Own,
    report: Report,
    size: Size,
}

async fn run(options: Options) -> Result<Report> {
    let (ground, began_at) = (ground()?, chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
    let mut machine = Machine::here(&ground.folder);
    let raw = Raw::new(&ground).await?;
    machine.servers = servers(&ground, &raw).await?;
    say(&heading(&machine, &options));
    let own = Own::new(&ground, options.history);
    let (size, report) = (Size::of(options.jobs), Report::new(began_at, machine, options));
    let mut contest = Contest { ground, raw, own, report, size };
    for round in 0..contest.report.options.rounds {
        contest.round(round).await;
    }
    let Contest { raw, own, mut report, .. } = contest;
    report.compare();
    say(&table(&report));
    say("Median (smallest–largest) of the rounds; ratios are medians of the ratios within each round.");
    let path = std::env::var_os("BENCH_JSON").map_or_else(|| PathBuf::from(DOCUMENT), PathBuf::from);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, serde_json::to_string_pretty(&report)?)?;
    note(&format!("{} has it all", path.display()));
    raw.clear().await?;
    own.clear().await?;
    Ok(report)
}

impl Contest {
    async fn round(&mut self, round: usize) {
        let Options { rows, setups, rounds, .. } = self.report.options.clone();
        for row in rows {
            let begin = Instant::now();
            if row == Row::Idle {
                if let Err(error) = self.idle(round, &setups).await {
                    self.failed(round, row, None, Contestant::Gristmill, &error.to_string());
                }
            } else {
                for setup in &setups {
                    self.compete(round, row, *setup).await;
                }
            }
            let seconds = number(begin.elapsed().as_secs_f64());
            note(&format!("round {} of {rounds}: {} took {seconds} s", round + 1, row.name()));
        }
    }

    /// All contestants, one right after the other; each round another one begins.
    async fn compete(&mut self, round: usize, row: Row, setup: Setup) {
        let mut order = Contestant::ALL;
        order.rotate_left(round % Contestant::ALL.len());
        for contestant in order {
            let measured = match contestant {
                Contestant::Raw => self.raw.measure(row, setup, self.size).await,
                Contestant::Gristmill => self.own.measure(row, setup, self.size).await,
                Contestant::Peer => match Peer::new(&self.ground) {
                    Some(peer) => peer.measure(row, setup, self.size).await,
                    None => Ok(Vec::new()),
                },
            };
            match measured {
                Ok(figures) => figures.into_iter().for_each(|(metric, value)| {
                    self.add(round, metric, setup, contestant, value);
                }),
                Err(error) => self.failed(round, row, Some(setup), contestant, &error.to_string()),
            }
        }
    }

    async fn idle(&mut self, round: usize, setups: &[Setup]) -> Result<()> {
        let (mut stands, mut idlers) = (Vec::new(), Vec::new());
        for setup in setups {
            let stand = self.own.take(*setup).await?;
            idlers.push(Idlers::start(&stand).await?);
            stands.push(stand);
        }
        let seconds = Duration::from_secs(u64::from(self.report.options.idle_s));
        for (setup, metric, value) in watch(idlers, seconds).await? {
            self.add(round, metric, setup, Contestant::Gristmill, value);
        }
        for stand in stands {
            self.own.give_back(stand).await?;
        }
        Ok(())
    }

    fn add(&mut self, round: usize, metric: Metric, setup: Setup, contestant: Contestant, value: f64) {
        let (title, unit) = (metric.title(), metric.unit());
        note(&format!("{title} on {}, {}: {} {unit}", setup.name(), contestant.name(), number(value)));
        self.report.add(round, metric, setup, contestant, value);
    }

    fn failed(&mut self, round: usize, row: Row, setup: Option<Setup>, contestant: Contestant, error: &str) {
        let on = setup.map_or("", Setup::name);
        let failure = format!("round {}, {} {on}, {}: {error}", round + 1, row.name(), contestant.name());
        note(&format!("FAILED: {failure}"));
        self.report.failures.push(failure);
    }
}

/// The servers' versions and what durability rests on.
///
/// # Errors
///
/// When a server does not answer, or is not durable.
async fn servers(ground: &Ground, raw: &Raw) -> Result<std::collections::BTreeMap<String, String>> {
    let mut facts = std::collections::BTreeMap::new();
    let mut connection = PgConnection::connect(&ground.postgres).await?;
    for setting in
        ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size"]
    {
        let statement = sqlx::AssertSqlSafe(format!("SHOW {setting}"));
        let value: String = sqlx::query_scalar(statement).fetch_one(&mut connection).await?;
        if ["fsync", "synchronous_commit"].contains(&setting) && value != "on" {
            return Err(format!("PostgreSQL has {setting} = {value}: what it commits does not last").into());
        }
        facts.insert(format!("postgres {setting}"), value);
    }
    connection.close().await?;
    facts.insert("rabbitmq".to_owned(), std::env::var("BENCH_RABBITMQ").unwrap_or_else(|_| "unknown".to_owned()));
    facts.insert("sqlite".to_owned(), raw.sqlite_durability().await?);
    let peer = if ground.peer.is_some() { VERSION } else { "not built" };
    facts.insert("peer".to_owned(), peer.to_owned());
    Ok(facts)
}

fn heading(machine: &Machine, options: &Options) -> String {
    let Machine { cores, cpu, memory_mb, os, file_system, rustc, commit, servers } = machine;
    let facts: Vec<String> = servers.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let Options { rounds, jobs, history, .. } = options;
    format!(
        "{cores} cores of {cpu}, {memory_mb} MB, {os}, SQLite on {file_system}; {rustc}; Gristmill {commit}\n{}\n\
         {rounds} rounds, {jobs} jobs, {history} finished jobs before\n",
        facts.join("; ")
    )
}
