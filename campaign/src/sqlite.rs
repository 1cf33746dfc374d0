//! L4 on SQLite: one program on one file, killed before and after each of its writes, and at any instant.
//!
//! A run plans a batch, grinds it and sends its email in one process, `batch run --wait`, with everything that a person
//! has on one machine. It is killed at the place that its seed names: before or after the n-th transaction that changes
//! the file, for n = 1, 2, 3 …, or at a random instant, which mostly falls into a write. The file as it lies there must
//! be whole. Then `dev` takes over, and is killed at a write of its own in some runs; the client insists on its batch;
//! when all is quiet the oracle looks.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use crate::oracle_sqlite;
use crate::plan::Crash;
use crate::run::PATIENCE;
use crate::sqlite_env::{BREATH, SqliteEnv};
use gristmill_testkit::Random;

/// The first write at which a batch of this size, with its email, has always ended is about this one.
const WRITES: u64 = 34;

/// Rows of a batch: so many that the writes above are made.
const ROWS: u64 = 66;

/// A whole run takes about so many milliseconds, or a little more.
const RUN_MS: u64 = 1_200;

/// Where a run is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Everything of the n-th write is written, nothing is committed.
    Before(u64),
    /// It is committed, and nobody has heard it.
    After(u64),
    /// So many milliseconds after its start.
    At(u64),
}

impl When {
    /// That of a seed: the seeds walk through the writes, before, after, and one instant for each.
    fn of(seed: u64) -> Self {
        let nth = 1 + (seed / 3) % WRITES;
        match seed % 3 {
            0 => Self::Before(nth),
            1 => Self::After(nth),
            _ => Self::At(Random::new(seed).between(1, RUN_MS)),
        }
    }

    fn failpoint(self) -> Option<Crash> {
        match self {
            Self::Before(nth) => Some(Crash { point: "sqlite.before_commit", nth, stall: false }),
            Self::After(nth) => Some(Crash { point: "sqlite.committed", nth, stall: false }),
            Self::At(_) => None,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    seed: u64,
    when: When,
    /// How many processes were killed: none when the run had ended before.
    killed: u64,
    /// Nothing, or what must not be.
    violation: Option<String>,
    folder: Option<PathBuf>,
    took: Duration,
}

/// The figures of the level.
#[derive(Debug, Default)]
pub struct Figures {
    runs: u64,
    /// Those of which something was wrong.
    pub violations: u64,
    killed: u64,
    before: u64,
    after: u64,
    at: u64,
    outlived: u64,
    longest: Duration,
}

impl Figures {
    /// Adds a run, and gives what must be said about it.
    pub fn add(&mut self, outcome: &Outcome) -> Option<String> {
        self.runs += 1;
        self.killed += outcome.killed;
        let sort = match (outcome.killed, outcome.when) {
            (0, _) => &mut self.outlived,
            (_, When::Before(_)) => &mut self.before,
            (_, When::After(_)) => &mut self.after,
            (_, When::At(_)) => &mut self.at,
        };
        *sort += 1;
        self.longest = self.longest.max(outcome.took);
        let violation = outcome.violation.as_ref()?;
        self.violations += 1;
        let folder = outcome.folder.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default();
        let Outcome { seed, when, .. } = outcome;
        Some(format!(
            "VIOLATION, seed {seed}, killed {when:?}: {violation}\n  files: {folder}\n  again: make faults SCHEDULES=1 \
             SEED={seed} ONLY=sqlite"
        ))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, violations, killed, before, after, at, outlived, .. } = self;
        write!(
            f,
            "{runs} runs, {violations} violations; {killed} SIGKILL: {before} runs before the commit of a write, {after} \
             after it, {at} at an instant; {outlived} had ended before; {:.1} s the longest",
            self.longest.as_secs_f64()
        )
    }
}

/// Runs a seed.
pub async fn run(binary: &Path, seed: u64) -> Outcome {
    let (began, when) = (Instant::now(), When::of(seed));
    let env = SqliteEnv::new(binary, &std::env::temp_dir(), seed, ROWS, 30).await;
    let mut killed = 0;
    let violation = play(&env, seed, when, &mut killed).await.err();
    let mut outcome = Outcome { seed, when, killed, violation, folder: None, took: began.elapsed() };
    if outcome.violation.is_some() {
        outcome.folder = Some(env.folder.keep());
    }
    outcome
}

async fn play(env: &SqliteEnv, seed: u64, when: When, killed: &mut u64) -> Result<(), String> {
    let arguments = ["batch", "run", "work-0", "--idempotency-key", "work-0-0", "--wait", "--work", "always"];
    let mut victim =
        env.program.command(&arguments, when.failpoint().as_ref(), "victim.log").spawn().expect("the program starts");
    if let When::At(ms) = when {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        // It may have ended by itself.
        let _ = victim.start_kill();
    }
    let ended = ended(&mut victim).await?;
    count(ended, killed);
    if !ended.success() && ended.signal() != Some(Signal::KILL.as_raw()) {
        return Err(format!("it was to be killed, and ended with {ended}; see victim.log"));
    }
    env.sound().await?;
    heirs(env, seed, killed).await?;
    oracle_sqlite::judge(env).await
}

/// Somebody starts it again, as often as it takes.
async fn heirs(env: &SqliteEnv, seed: u64, killed: &mut u64) -> Result<(), String> {
    let mut random = Random::new(seed ^ 0x0f0f);
    let again = random.percent(40).then(|| Crash {
        point: if random.percent(50) { "sqlite.before_commit" } else { "sqlite.committed" },
        nth: random.between(1, 12),
        stall: false,
    });
    let start =
        |failpoint: Option<&Crash>| env.program.command(&["dev"], failpoint, "heir.log").spawn().expect("it starts");
    let mut heir = start(again.as_ref());
    let began = Instant::now();
    let client = env.insist();
    tokio::pin!(client);
    let mut confirmed = false;
    loop {
        tokio::select! {
            started = &mut client, if !confirmed => {
                started?;
                confirmed = true;
            }
            () = tokio::time::sleep(BREATH) => {}
        }
        if let Ok(Some(status)) = heir.try_wait() {
            count(status, killed);
            env.sound().await?;
            heir = start(None);
        }
        let left = if confirmed { env.unfinished().await } else { Err("the batch is not confirmed".to_owned()) };
        if left.as_ref().is_ok_and(|left| left.is_empty()) {
            break;
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("it does not come to rest: {left:?}"));
        }
    }
    signal(&heir, Signal::TERM);
    let status = ended(&mut heir).await?;
    count(status, killed);
    // It may have been about to be killed at a write of its own.
    let right = status.success() || status.signal().is_some() || status.code() == Some(143);
    if right { Ok(()) } else { Err(format!("its graceful stop ended with {status}")) }
}

fn count(status: ExitStatus, killed: &mut u64) {
    *killed += u64::from(status.signal() == Some(Signal::KILL.as_raw()));
}

async fn ended(child: &mut Child) -> Result<ExitStatus, String> {
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    ended.map_err(|_| "a process does not end".to_owned())?.map_err(|error| error.to_string())
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        // One that has ended needs none.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_seeds_in_a_row_walk_through_every_write_on_both_sides() {
        let places: Vec<When> = (1..=3 * WRITES).map(When::of).collect();
        for nth in 1..=WRITES {
            assert!(places.contains(&When::Before(nth)) && places.contains(&When::After(nth)), "{nth}");
        }
    }
}
