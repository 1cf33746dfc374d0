//! Which step of an operation is asked for, and what is asked for when one of its jobs is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill_core::id::OperationId;
use gristmill_core::operation::{STEP_ITEMS_MAX, STEP_JOBS_MAX};

use crate::error::{Result, StoreError};

/// Which step is asked for.
#[derive(Debug, Clone)]
pub(crate) struct StepAsk {
    pub(crate) id: OperationId,
    /// How many it changes at most.
    pub(crate) most: u32,
    /// How long idempotency keys are kept.
    pub(crate) keys: Duration,
    /// What it selects is refused, for this reason: nothing else happens to it.
    pub(crate) refused: Option<String>,
    /// Whether what it has selected is one: a batch, or items of one batch. A refusal is then of all of it.
    one: Arc<AtomicBool>,
}

impl StepAsk {
    /// A step of the usual size.
    pub(crate) fn new(id: OperationId, keys: Duration) -> Self {
        Self { id, most: STEP_ITEMS_MAX, keys, refused: None, one: Arc::default() }
    }

    /// What the step has selected is one.
    pub(crate) fn is_of_one(&self) {
        self.one.store(true, Ordering::Relaxed);
    }

    /// What is asked for next when one job has made a whole group fail: half of it, until the job stands alone, and
    /// then that it is refused.
    pub(crate) fn after_refusal(&self, error: StoreError) -> Result<Self> {
        let (one, most) = (self.one.load(Ordering::Relaxed), self.most.min(STEP_JOBS_MAX));
        match error {
            StoreError::Conflict(_) if most > 1 && !one => Ok(Self { most: most / 2, ..self.clone() }),
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
            sizes.push(ask.most);
            ask = ask.after_refusal(conflict()).expect("goes on");
        }
        assert_eq!(sizes, [5_000, 250, 125, 62, 31, 15, 7, 3, 1]);
        assert_eq!(ask.refused.as_deref(), Some("its key is held"));
        assert!(ask.after_refusal(conflict()).is_err(), "not for ever");
        let batch = StepAsk::new(OperationId(Uuid::nil()), Duration::ZERO);
        batch.is_of_one();
        let next = batch.after_refusal(conflict()).expect("goes on");
        assert_eq!((next.most, next.refused.as_deref()), (5_000, Some("its key is held")), "all of it at once");
        assert!(StepAsk { most: 4, ..ask }.after_refusal(StoreError::Full("no room".to_owned())).is_err());
    }
}
