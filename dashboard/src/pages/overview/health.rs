//! How things are, in one sentence of plain words. Pure: the worst comes first, and what is well is said too.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::pages::parts::icon::Icon;
use crate::pages::parts::number::{counted, duration};
use crate::pages::parts::state::Tone;

/// From then on a queue is behind.
const BEHIND: Duration = Duration::from_secs(5 * 60);

/// What is known.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) now: DateTime<Utc>,
    /// Workers that are alive and run jobs.
    pub(super) workers: usize,
    /// Workers that were lost within the last hour.
    pub(super) lost: usize,
    pub(super) running: u64,
    /// Jobs that could run, on queues that are not paused.
    pub(super) waiting: u64,
    /// Since when the oldest waits, for each queue that is not paused.
    pub(super) behind: Vec<(String, DateTime<Utc>)>,
    /// Jobs that no live worker can run.
    pub(super) unhandled: u64,
    /// Schedules that should have run.
    pub(super) late: usize,
}

/// A sentence, and how it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) tone: Tone,
    pub(super) shape: Icon,
    pub(super) text: String,
}

/// How things are.
pub(super) fn health(facts: &Facts) -> Health {
    let waits = counted(facts.waiting, "job waits", "jobs wait");
    if facts.workers == 0 && facts.waiting > 0 {
        return Health { tone: Tone::Bad, shape: Icon::Dead, text: format!("No worker is alive, and {waits}.") };
    }
    let troubles = troubles(facts);
    if !troubles.is_empty() {
        let text = format!("{}.", troubles.join("; "));
        return Health { tone: Tone::Careful, shape: Icon::Warning, text };
    }
    let oldest = facts.behind.iter().map(|(_, since)| *since).min().map(|since| age(facts, since));
    let (shape, text) = match (facts.workers, facts.running, oldest) {
        (0, ..) => (Icon::Paused, "Nothing waits, and no worker is alive.".to_owned()),
        (_, 0, None) => (Icon::Done, "All is quiet: nothing runs, and nothing waits.".to_owned()),
        (_, running, None) => {
            (Icon::Done, format!("All is well: {}, and nothing waits.", counted(running, "job runs", "jobs run")))
        }
        (_, running, Some(oldest)) => {
            let runs = counted(running, "job runs", "jobs run");
            (Icon::Done, format!("All is well: {runs}, {waits}, the oldest for {}.", duration(oldest)))
        }
    };
    Health { tone: if facts.workers == 0 { Tone::Calm } else { Tone::Good }, shape, text }
}

fn age(facts: &Facts, since: DateTime<Utc>) -> Duration {
    (facts.now - since).to_std().unwrap_or_default()
}

/// What needs a person, the worst first.
fn troubles(facts: &Facts) -> Vec<String> {
    let mut behind: Vec<(Duration, &str)> =
        facts.behind.iter().map(|(name, since)| (age(facts, *since), name.as_str())).collect();
    behind.retain(|(age, _)| *age >= BEHIND);
    behind.sort_unstable_by(|one, other| other.cmp(one));
    let mut troubles = Vec::new();
    if let Some((age, name)) = behind.first() {
        let others = match behind.len() {
            1 => String::new(),
            more => format!(", and {} behind too", counted(more as u64 - 1, "other is", "others are")),
        };
        troubles.push(format!("Queue {name} is {} behind{others}", duration(*age)));
    }
    if facts.unhandled > 0 {
        let jobs = counted(facts.unhandled, "job waits", "jobs wait");
        troubles.push(format!("{jobs} for a worker that has its kind"));
    }
    if facts.lost > 0 {
        troubles.push(counted(facts.lost as u64, "worker was lost", "workers were lost") + " within the last hour");
    }
    if facts.late > 0 {
        troubles.push(counted(facts.late as u64, "schedule is late", "schedules are late"));
    }
    troubles
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn well() -> Facts {
        let now = DateTime::from_timestamp(1_000_000, 0).expect("an instant");
        let behind = vec![("mail".to_owned(), now - TimeDelta::seconds(3))];
        Facts { now, workers: 2, lost: 0, running: 12, waiting: 1_204, behind, unhandled: 0, late: 0 }
    }

    fn said(facts: &Facts) -> String {
        health(facts).text.replace(['\u{a0}', '\u{202f}'], " ")
    }

    #[test]
    fn what_is_well_is_said() {
        assert_eq!(said(&well()), "All is well: 12 jobs run, 1 204 jobs wait, the oldest for 3.0 s.");
        let idle = Facts { running: 0, waiting: 0, behind: Vec::new(), ..well() };
        assert_eq!(said(&idle), "All is quiet: nothing runs, and nothing waits.");
        assert_eq!(said(&Facts { running: 1, ..idle.clone() }), "All is well: 1 job runs, and nothing waits.");
        assert_eq!(health(&Facts { workers: 0, ..idle }).tone, Tone::Calm);
    }

    #[test]
    fn the_worst_comes_first() {
        let dead = Facts { workers: 0, ..well() };
        assert_eq!(said(&dead), "No worker is alive, and 1 204 jobs wait.");
        assert_eq!(health(&dead).tone, Tone::Bad);
        let ago = |minutes| well().now - TimeDelta::minutes(minutes);
        let behind = vec![("a".to_owned(), ago(6)), ("mail".to_owned(), ago(14)), ("b".to_owned(), ago(1))];
        let troubled = Facts { behind, lost: 2, late: 1, unhandled: 3, ..well() };
        assert_eq!(
            said(&troubled),
            "Queue mail is 14 min behind, and 1 other is behind too; 3 jobs wait for a worker that has its kind; \
             2 workers were lost within the last hour; 1 schedule is late."
        );
    }
}
