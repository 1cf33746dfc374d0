//! States: a shape, a word and a colour, so that none of them has to be told by its colour alone.

use gristmill_core::batch::BatchState;
use gristmill_core::job::JobState;
use maud::{Markup, html};

use super::icon::{Icon, icon};

/// How a state is meant: which of the few colours it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing to do: done, complete, alive.
    Good,
    /// Under way.
    Active,
    /// It waits.
    Calm,
    /// A person should look.
    Careful,
    /// It failed.
    Bad,
    /// It was called off.
    Off,
}

impl Tone {
    /// Its class.
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Active => "active",
            Self::Calm => "calm",
            Self::Careful => "careful",
            Self::Bad => "bad",
            Self::Off => "off",
        }
    }
}

/// A state by its shape, its word and its colour.
pub fn state(shape: Icon, word: &str, tone: Tone) -> Markup {
    html! { span class={ "state " (tone.class()) } { (icon(shape)) span { (word) } } }
}

/// How a job's state looks.
pub fn job_look(state: JobState) -> (Icon, Tone) {
    match state {
        JobState::Scheduled => (Icon::Clock, Tone::Calm),
        JobState::Queued => (Icon::Waiting, Tone::Calm),
        JobState::Running => (Icon::Running, Tone::Active),
        JobState::Retry => (Icon::Again, Tone::Careful),
        JobState::Done => (Icon::Done, Tone::Good),
        JobState::Dead => (Icon::Dead, Tone::Bad),
        JobState::Cancelled => (Icon::Cancelled, Tone::Off),
    }
}

/// The state of a job.
pub fn job(of: JobState) -> Markup {
    let (shape, tone) = job_look(of);
    state(shape, of.as_str(), tone)
}

/// The state of a batch, and whether it is paused.
pub fn batch(of: BatchState, paused: bool) -> Markup {
    let (shape, tone) = match of {
        BatchState::Open => (Icon::Clock, Tone::Active),
        BatchState::Sealed => (Icon::Running, Tone::Active),
        BatchState::Aggregating => (Icon::Merge, Tone::Active),
        BatchState::Complete => (Icon::Done, Tone::Good),
        BatchState::Halted => (Icon::Warning, Tone::Bad),
        BatchState::Cancelled => (Icon::Cancelled, Tone::Off),
    };
    html! {
        (state(shape, of.as_str(), tone))
        @if paused { " " (state(Icon::Paused, "paused", Tone::Careful)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_states_of_a_job_look_the_same() {
        for one in JobState::ALL {
            for other in JobState::ALL.into_iter().filter(|other| *other != one) {
                assert_ne!(job_look(one).0, job_look(other).0, "{one} and {other} have one shape");
            }
        }
    }
}
