//! Which step of an operation is asked for, and what is asked for when one of its jobs is refused.

use std::time::Duration;

use gristmill_core::id::OperationId;
use gristmill_core::operation::STEP_JOBS_MAX;

use crate::error::{Result, StoreError};

/// Which step is asked for.
#[derive(Debug, Clone)]
pub(crate) struct StepAsk {
    pub(crate) id: OperationId,
    /// How many jobs it changes at most.
    pub(crate) jobs: u32,
    /// How long idempotency keys are kept.
    pub(crate) keys: Duration,
    /// Its jobs are refused, for this reason: nothing else happens to them.
    pub(crate) refused: Option<String>,
}

impl StepAsk {
    /// A step of the usual size.
    pub(crate) fn new(id: OperationId, keys: Duration) -> Self {
        Self { id, jobs: STEP_JOBS_MAX, keys, refused: None }
    }

    /// What is asked for next when one job has made a whole group fail: half of it, until the job stands alone, and
    /// then that it is refused.
    pub(crate) fn after_refusal(&self, error: StoreError) -> Result<Self> {
        match error {
            StoreError::Conflict(_) if self.jobs > 1 => Ok(Self { jobs: self.jobs / 2, ..self.clone() }),
            StoreError::Conflict(why) if self.refused.is_none() => Ok(Self { refused: Some(why), ..self.clone() }),
            error => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_refusal_halves_the_group_until_one_job_stands_alone_and_is_refused() {
        let conflict = || StoreError::Conflict("its key is held".to_owned());
        let mut ask = StepAsk::new(OperationId(Uuid::nil()), Duration::ZERO);
        let mut sizes = Vec::new();
        while ask.refused.is_none() {
            sizes.push(ask.jobs);
            ask = ask.after_refusal(conflict()).expect("goes on");
        }
        assert_eq!(sizes, [500, 250, 125, 62, 31, 15, 7, 3, 1]);
        assert_eq!(ask.refused.as_deref(), Some("its key is held"));
        assert!(ask.after_refusal(conflict()).is_err(), "not for ever");
        assert!(StepAsk { jobs: 4, ..ask }.after_refusal(StoreError::Full("no room".to_owned())).is_err());
    }
}
