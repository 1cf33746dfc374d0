//! What is counted over all schedules, and how a failure is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use gristmill_store::failpoint::POINTS;

use crate::plan::Plan;
use crate::run::Outcome;

/// The figures of a level.
#[derive(Debug, Default)]
pub struct Figures {
    /// Schedules that were run.
    pub schedules: u64,
    /// Those of which something was wrong.
    pub violations: u64,
    /// Processes that died by SIGKILL.
    pub killed: u64,
    /// Processes stalled past their lease.
    pub stalled: u64,
    /// Endings that were refused because their job had been taken away.
    pub fenced: u64,
    /// How often each failpoint did its deed.
    pub deeds: BTreeMap<String, u64>,
    /// The failpoints that were passed at all.
    pub passed: BTreeSet<String>,
    level: &'static str,
    longest: Duration,
    total: Duration,
}

impl Figures {
    /// None yet, of this level.
    pub fn of(level: &'static str) -> Self {
        Self { level, ..Self::default() }
    }

    /// Adds a schedule, and gives what must be said about it: nothing when all was right.
    pub fn add(&mut self, outcome: &Outcome) -> Option<String> {
        self.schedules += 1;
        self.killed += outcome.killed;
        self.stalled += outcome.stalled;
        self.fenced += outcome.fenced;
        self.longest = self.longest.max(outcome.took);
        self.total += outcome.took;
        for deed in &outcome.deeds {
            *self.deeds.entry(deed.clone()).or_default() += 1;
        }
        self.passed.extend(outcome.passed.iter().cloned());
        let violation = outcome.violation.as_ref()?;
        self.violations += 1;
        let folder = outcome.folder.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default();
        Some(format!(
            "VIOLATION, seed {seed}: {violation}\n{plan}  files: {folder}\n  again: make faults SCHEDULES=1 SEED={seed} ONLY={level}",
            level = self.level,
            seed = outcome.seed,
            plan = Plan::new(outcome.seed),
        ))
    }

    /// Crash points of servers' stores that nobody has passed. SQLite has its own level.
    pub fn never_passed(&self) -> Vec<&'static str> {
        let ours = POINTS.iter().map(|(name, _)| *name).filter(|name| !name.starts_with("sqlite."));
        ours.filter(|name| !self.passed.contains(*name)).collect()
    }

    /// How often each point did its deed, those of nobody too.
    pub fn points(&self) -> String {
        let ours = POINTS.iter().map(|(name, _)| *name).filter(|name| !name.starts_with("sqlite."));
        let lines = ours.map(|name| format!("  {:>5}  {name}\n", self.deeds.get(name).copied().unwrap_or(0)));
        lines.collect()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deeds: u64 = self.deeds.values().sum();
        let mean = self.total.as_secs_f64() / f64::from(u32::try_from(self.schedules.max(1)).unwrap_or(u32::MAX));
        write!(
            f,
            "{} schedules, {} violations; {} SIGKILL, {} stalls past the lease, {deeds} at {} failpoints, {} stale \
             endings refused; {mean:.1} s each, {:.1} s the longest",
            self.schedules,
            self.violations,
            self.killed,
            self.stalled,
            self.deeds.len(),
            self.fenced,
            self.longest.as_secs_f64()
        )
    }
}
