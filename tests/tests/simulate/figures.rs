//! What a campaign has done, in one line.

use std::fmt;
use std::ops::AddAssign;

/// Counts over one run or many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) seeds: u64,
    pub(crate) events: u64,
    pub(crate) attempts: u64,
    pub(crate) crashes: u64,
    pub(crate) stalls: u64,
    pub(crate) stops: u64,
    pub(crate) errors: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) poison: u64,
    pub(crate) outages: u64,
    pub(crate) leaps: u64,
    pub(crate) fenced: u64,
    pub(crate) rescued: u64,
    pub(crate) dead: u64,
    pub(crate) control_report: u64,
    pub(crate) virtual_seconds: u64,
    pub(crate) violations: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.events += other.events;
        self.attempts += other.attempts;
        self.crashes += other.crashes;
        self.stalls += other.stalls;
        self.stops += other.stops;
        self.errors += other.errors;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.poison += other.poison;
        self.outages += other.outages;
        self.leaps += other.leaps;
        self.fenced += other.fenced;
        self.rescued += other.rescued;
        self.dead += other.dead;
        self.control_report += other.control_report;
        self.virtual_seconds += other.virtual_seconds;
        self.violations += other.violations;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "simulate: {} seeds, {} violations; {} events, {} attempts, {} crashes, {} stalls, {} graceful stops, \
             {} store errors, {} outages, {} messages lost, {} doubled, {} poison, {} clock leaps, {} fenced, \
             {} rescued, {} dead, {} controlled; {} h of virtual time",
            self.seeds,
            self.violations,
            self.events,
            self.attempts,
            self.crashes,
            self.stalls,
            self.stops,
            self.errors,
            self.outages,
            self.lost,
            self.doubled,
            self.poison,
            self.leaps,
            self.fenced,
            self.rescued,
            self.dead,
            self.control_report,
            self.virtual_seconds / 3_600,
        )
    }
}
