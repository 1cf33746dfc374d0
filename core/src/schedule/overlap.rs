//! What a tick does while earlier runs of its schedule are still under way.

/// The most ticks of one schedule that wait for their turn; a further one is skipped.
pub const BUFFERED_MAX: u64 = 1_000;

crate::words! {
    /// What a tick does while an earlier run is under way.
    #[derive(Default)]
    pub enum Overlap {
        /// It does not run, and that is recorded.
        #[default]
        Skip = "skip",
        /// It waits until the earlier run has ended; while one waits, further ones are skipped.
        BufferOne = "buffer_one",
        /// It waits its turn, however many are waiting.
        BufferAll = "buffer_all",
        /// The earlier run is cancelled, and this one runs.
        CancelRunning = "cancel_running",
        /// It runs beside the earlier one.
        Allow = "allow",
    }
}

impl Overlap {
    /// What the next tick does.
    pub fn step(self, busy: Busy) -> Step {
        let Busy { running, buffered } = busy;
        match self {
            Self::Allow => Step::Run,
            Self::CancelRunning if running > 0 => Step::CancelAndRun,
            Self::CancelRunning => Step::Run,
            // A waiting tick has the right to go first.
            Self::Skip | Self::BufferOne | Self::BufferAll if running == 0 && buffered == 0 => Step::Run,
            Self::Skip => Step::Skip,
            Self::BufferOne if buffered == 0 => Step::Buffer,
            Self::BufferOne => Step::Skip,
            Self::BufferAll if buffered < BUFFERED_MAX => Step::Buffer,
            Self::BufferAll => Step::Skip,
        }
    }
}

/// How busy a schedule is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Busy {
    /// Runs that are not final.
    pub running: u64,
    /// Ticks that wait for their turn.
    pub buffered: u64,
}

/// What a tick does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It starts its run.
    Run,
    /// It waits.
    Buffer,
    /// It is recorded as skipped.
    Skip,
    /// The running ones are cancelled first.
    CancelAndRun,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let mut table = String::new();
        for policy in Overlap::ALL {
            let busy = [(0, 0), (1, 0), (0, 1), (1, 1), (1, BUFFERED_MAX)];
            let steps = busy.map(|(running, buffered)| policy.step(Busy { running, buffered }));
            table.push_str(&format!("{policy} {steps:?}\n"));
        }
        assert_eq!(
            table,
            "skip [Run, Skip, Skip, Skip, Skip]\n\
             buffer_one [Run, Buffer, Skip, Skip, Skip]\n\
             buffer_all [Run, Buffer, Buffer, Buffer, Skip]\n\
             cancel_running [Run, CancelAndRun, Run, CancelAndRun, CancelAndRun]\n\
             allow [Run, Run, Run, Run, Run]\n"
        );
    }
}
