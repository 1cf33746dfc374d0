//! Crash points: named places at which a process of the fault campaign kills or stalls itself.
//!
//! They exist only with the feature `failpoint-points`; without it [`point`] and [`of_step`] are empty. They are in
//! this crate because the core is pure and every crate but the broker's knows the store; the broker reports its own
//! points by a hook.
//!
//! | variable | meaning |
//! |---|---|
//! | `GRISTMILL_KILL=NAME[:N]` | SIGKILL to itself at the Nth passage of that point, the first by default |
//! | `GRISTMILL_STALL=NAME[:N]` | SIGSTOP to itself there; SIGCONT lets it continue |
//! | `GRISTMILL_KILL_LOG=FILE` | a line `pass NAME` at each point's first passage, `kill NAME` or `stall NAME` when it happens |

/// Every point, with what has happened there and what has not. The numbers are the rows of the table of crash points.
pub const POINTS: &[(&str, &str)] = &[
    ("create_batch.before_commit", "1: the batch is inserted, nothing is committed"),
    ("create_batch.committed", "2: the batch exists, whoever asked has not heard it"),
    ("enqueue.before_commit", "1: jobs are inserted, nothing is committed"),
    ("enqueue.committed", "2, 3: jobs exist, nobody has heard it, nothing is published"),
    ("add_chunks.before_commit", "1: chunks are inserted, nothing is committed"),
    ("add_chunks.committed", "3: chunks exist, their ids are in the outbox alone"),
    ("seal.before_commit", "1: the batch is still open"),
    ("seal.committed", "3: the batch is sealed, its aggregate perhaps fired and not published"),
    ("publish.sending", "4: some ids of a group are with the broker, others not, no confirm is in"),
    ("publish.confirmed", "4: the broker has all ids, the outbox still holds them"),
    ("outbox_take.committed", "4: the relay holds rows that it has not published"),
    ("claim.before_commit", "7: jobs are claimed in a transaction that never commits"),
    ("claim.committed", "8: jobs run under this worker, their messages are not acknowledged"),
    ("chunk.read", "9: in the middle of a chunk's work"),
    ("chunk.halving", "9: a program or a service has failed at a group of items, and is asked for its halves"),
    ("row.refused", "10: the row that a table refuses is found, nothing is written down"),
    ("part.written", "9: an output file is written under its temporary name"),
    ("attempt.ended", "10: the work is done, nothing is written down"),
    ("complete.before_commit", "10: inside the completing transaction"),
    ("complete.committed", "11: it is committed, the completer has not heard it"),
    ("fan_in.committed", "12: the last chunk's commit has fired an aggregate that is not published"),
    ("manifest.written", "13: the manifest is written under its temporary name"),
    ("aggregate.before_commit", "13: the result is merged, the manifest in place, the batch not ended"),
    ("aggregate.committed", "13: the batch has ended, its effects exist and are not published"),
    ("rescue.before_commit", "16: a worker's jobs are taken back in a transaction that never commits"),
    ("rescue.committed", "16: they are queued again, and in the outbox alone"),
    ("promote.before_commit", "16: jobs whose time has come are still waiting"),
    ("promote.committed", "16: they are queued, and in the outbox alone"),
    ("watch.linked", "17: a watched file has its new name, and its old one still"),
    ("watch.leaving", "17: its old name is out of everybody's way, and not removed"),
    ("watch.moved", "17: it lies where it is worked on, the ledger does not know it"),
    ("note.before_commit", "17: its row is inserted, nothing is committed"),
    ("note.committed", "17: its row exists, its run is not started"),
    ("fire.before_commit", "17: its run is inserted, nothing is committed"),
    ("fire.committed", "17: its batch exists, nothing of it is planned"),
    ("email.sending", "18: it is committed that the message may have been sent; the data has not begun"),
    ("email.accepted", "18: the server has taken the message, nobody has written it down"),
    ("sqlite.before_commit", "SQLite, any transition: everything is written, nothing is committed"),
    ("sqlite.committed", "SQLite, any transition: committed, nobody has heard it"),
];

/// Marks that this point is passed.
#[inline]
pub fn point(name: &str) {
    #[cfg(feature = "failpoints")]
    armed::passed(name);
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

/// The point of a transition: `duties::rescue` and `committed` make `rescue.committed`.
#[inline]
pub(crate) fn of_step(step: &str, when: &str) {
    #[cfg(feature = "failpoints")]
    armed::passed(&format!("{}.{when}", step.rsplit(':').next().unwrap_or(step).trim()));
    #[cfg(not(feature = "failpoints"))]
    let _ = (step, when);
}

#[cfg(feature = "failpoints")]
mod armed {
    //! What the environment asks for, and how it is done.

    use std::collections::HashSet;
    use std::fs::File;
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, OnceLock, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    struct Plan {
        word: &'static str,
        signal: Signal,
        name: String,
        nth: u64,
        passages: AtomicU64,
    }

    #[derive(Default)]
    struct Plans {
        plans: Vec<Plan>,
        log: Option<File>,
        passed: Mutex<HashSet<String>>,
    }

    fn plan(variable: &str, word: &'static str, signal: Signal) -> Option<Plan> {
        let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
        let (name, nth) = text.split_once(':').unwrap_or((&text, "1"));
        let nth = nth.parse().unwrap_or(1);
        Some(Plan { word, signal, name: name.to_owned(), nth, passages: AtomicU64::new(0) })
    }

    fn plans() -> &'static Plans {
        static PLANS: OnceLock<Plans> = OnceLock::new();
        PLANS.get_or_init(|| {
            let kill = plan("GRISTMILL_KILL", "kill", Signal::KILL);
            let stall = plan("GRISTMILL_STALL", "stall", Signal::STOP);
            let log = std::env::var_os("GRISTMILL_KILL_LOG")
                .and_then(|path| File::options().append(true).create(true).open(path).ok());
            Plans { plans: kill.into_iter().chain(stall).collect(), log, passed: Mutex::default() }
        })
    }

    impl Plans {
        /// One write for each line, so that lines of several processes do not mix.
        fn note(&self, word: &str, name: &str) {
            if let Some(mut log) = self.log.as_ref() {
                // The campaign notices a missing line when it counts; there is nothing better to do here.
                let _ = log.write_all(format!("{word} {name}\n").as_bytes());
            }
        }
    }

    pub(super) fn passed(name: &str) {
        let all = plans();
        if all.log.is_some() && all.passed.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned()) {
            all.note("pass", name);
        }
        for plan in all.plans.iter().filter(|plan| plan.name == name) {
            if plan.passages.fetch_add(1, Ordering::SeqCst) + 1 != plan.nth {
                continue;
            }
            all.note(plan.word, name);
            // A process may always signal itself.
            let _ = kill_process(getpid(), plan.signal);
            while plan.signal == Signal::KILL {
                // The signal ends every thread before long; this one does nothing more until then.
                std::thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::POINTS;

    #[test]
    fn every_crash_point_has_one_name_and_says_what_it_means() {
        let mut names: Vec<&str> = POINTS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), POINTS.len());
        assert!(POINTS.iter().all(|(name, meaning)| name.contains('.') && meaning.contains(": ")));
    }
}
