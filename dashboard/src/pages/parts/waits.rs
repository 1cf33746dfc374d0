//! What a job or a batch waits for, in words, with what can be done about it.

use std::fmt::Write as _;

use gristmill_store::{PauseView, Wait};
use maud::{Markup, html};

use super::icon::{Icon, icon};
use super::time::instant;

/// All that is waited for, one a line.
pub fn waits(waits: &[Wait]) -> Markup {
    html! {
        ul class="waits" {
            @for wait in waits { li { (icon(shape(wait))) span { (wait_text(wait)) } } }
        }
    }
}

fn shape(wait: &Wait) -> Icon {
    match wait {
        Wait::Time { .. } => Icon::Clock,
        Wait::QueuePaused { .. } | Wait::BatchPaused { .. } => Icon::Paused,
        Wait::NoWorker | Wait::NoWorkerForQueue { .. } | Wait::NoWorkerForKind { .. } | Wait::NoScheduler => {
            Icon::Warning
        }
        Wait::NotDispatched | Wait::Slot { .. } | Wait::Concurrency { .. } | Wait::Rate { .. } => Icon::Waiting,
    }
}

/// One of the things that are waited for.
pub fn wait_text(wait: &Wait) -> Markup {
    html! {
        @match wait {
            Wait::Time { at } => { "Its time comes: " (instant(*at)) "." }
            Wait::QueuePaused { queue, pause } => {
                "Queue " code { (queue) } " is paused" (because(pause.as_ref())) "; "
                code { "gristmill queue resume " (queue) } " lets it go."
            }
            Wait::BatchPaused { pause, .. } => { "The batch is paused" (because(pause.as_ref())) "; resume it to let it go." }
            Wait::Concurrency { limit, running, most } => {
                "Limit " code { (limit) } " is reached: " (running) " of " (most) " run."
            }
            Wait::Rate { limit, next } => {
                "Limit " code { (limit) } " is reached: the next may begin " (instant(*next)) "."
            }
            Wait::NoWorker => { "No worker is alive; start one with " code { "gristmill worker run" } "." }
            Wait::NoWorkerForQueue { queue } => { "No live worker serves queue " code { (queue) } "." }
            Wait::NoWorkerForKind { kind, other_version: false } => { "No live worker has kind " code { (kind) } "." }
            Wait::NoWorkerForKind { kind, other_version: true } => {
                "No live worker reads " code { (kind) } "; some have the kind for other versions of its payload."
            }
            Wait::NoScheduler => { "No scheduler is alive; start one with " code { "gristmill scheduler" } "." }
            Wait::NotDispatched => {
                "It is committed, and the broker has not confirmed its message yet; the scheduler publishes it."
            }
            Wait::Slot { turns: false } => {
                "Nothing stands in its way: the next free slot takes it, in the order of its priority."
            }
            Wait::Slot { turns: true } => { "Nothing stands in its way: a free slot takes it when it is its key's turn." }
        }
    }
}

/// By whom and why, where that is known.
pub fn because(pause: Option<&PauseView>) -> String {
    let mut said = String::new();
    if let Some(by) = pause.and_then(|pause| pause.by.as_ref()) {
        let _ = write!(said, " by {by}");
    }
    if let Some(reason) = pause.and_then(|pause| pause.reason.as_ref()) {
        let _ = write!(said, " ({reason})");
    }
    said
}
