//! Why a job is not running, or a batch does not get on, in words; and when to say it.

use std::time::{Duration, Instant};

use chrono::Utc;
use gristmill_store::{PauseView, Wait};

use super::list::describe_pause;
use crate::cli::output::Output;
use crate::exit_code::Result;

/// How long nothing may move before it is asked why, and how often it is asked then.
const STILL: Duration = Duration::from_secs(2);

/// Finds out what is waited for when nothing moves.
#[derive(Debug)]
pub(super) struct Standstill<M> {
    mark: Option<M>,
    /// When something moved, or when it was asked last why nothing does.
    since: Instant,
    waits: Vec<String>,
}

impl<M: PartialEq> Standstill<M> {
    /// Begins with the assumption that everything moves.
    pub(super) fn new() -> Self {
        Self { mark: None, since: Instant::now(), waits: Vec::new() }
    }

    /// Returns what is waited for; nothing while the mark changes.
    ///
    /// # Errors
    ///
    /// Those of the question.
    pub(super) async fn look(
        &mut self,
        mark: M,
        output: &Output,
        why: impl AsyncFnOnce() -> Result<Vec<Wait>>,
    ) -> Result<&[String]> {
        if self.mark.as_ref() != Some(&mark) {
            *self = Self { mark: Some(mark), ..Self::new() };
        } else if self.since.elapsed() >= STILL {
            self.since = Instant::now();
            self.waits = why().await?.iter().map(|wait| describe(wait, output)).collect();
        }
        Ok(&self.waits)
    }
}

/// One of the things that a job waits for, and what can be done about it.
pub(super) fn describe(wait: &Wait, output: &Output) -> String {
    match wait {
        Wait::Time { at } if *at <= Utc::now() => {
            format!("its time has come ({}); a scheduler lets it run", output.time(*at))
        }
        Wait::Time { at } => format!("its time comes {}", output.time(*at)),
        Wait::QueuePaused { queue, pause } => {
            let why = because(pause.as_ref(), output);
            format!("queue `{queue}` is paused{why}; `gristmill queue resume {queue}` lets it go")
        }
        Wait::BatchPaused { batch, pause } => {
            let why = because(pause.as_ref(), output);
            format!("batch {batch} is paused{why}; `gristmill batch resume {batch}` lets it go")
        }
        Wait::Concurrency { limit, running, most } => {
            format!("limit `{limit}` is reached: {running} of {most} run")
        }
        Wait::Rate { limit, next } => {
            format!("limit `{limit}` is reached: the next may begin {}", output.time(*next))
        }
        Wait::NoWorker => "no worker is alive; start one with `gristmill worker run`".to_owned(),
        Wait::NoWorkerForQueue { queue } => format!("no live worker serves queue `{queue}`"),
        Wait::NoWorkerForKind { kind, other_version: false } => format!("no live worker has kind `{kind}`"),
        Wait::NoWorkerForKind { kind, other_version: true } => {
            format!("no live worker reads `{kind}`; some have the kind for other versions of its payload")
        }
        Wait::NoScheduler => "no scheduler is alive; start one with `gristmill scheduler`".to_owned(),
        Wait::NotDispatched => {
            "it is committed, and its message has not been confirmed by the broker yet; the scheduler publishes it"
                .to_owned()
        }
        Wait::Slot { turns: false } => {
            "nothing stands in its way: the next free slot takes it, in the order of its priority".to_owned()
        }
        Wait::Slot { turns: true } => {
            "nothing stands in its way: a free slot takes it when it is its key's turn".to_owned()
        }
    }
}

/// Since when, by whom and why, where that is known.
fn because(pause: Option<&PauseView>, output: &Output) -> String {
    pause.map_or(String::new(), |pause| format!(" ({})", describe_pause(pause, output)))
}
