//! A job with its attempts and what it waits for. A dead letter is a job in state `dead`.

use gristmill_store::{JobView, Wait};
use serde::{Deserialize, Serialize};

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobDocument {
    /// The job itself; its fields are those of the document.
    #[serde(flatten)]
    pub job: JobView,
    /// Everything that it waits for; empty when it runs or is final. Left out where it was not requested, as in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Vec<Wait>>,
}

impl From<&JobView> for JobDocument {
    fn from(job: &JobView) -> Self {
        Self { job: job.clone(), waits: None }
    }
}

impl JobDocument {
    /// The same with what it waits for.
    #[must_use]
    pub fn waiting_for(self, waits: Vec<Wait>) -> Self {
        Self { waits: Some(waits), ..self }
    }
}

/// A job that was waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobOnlyDocument {
    /// The job, as it ended.
    pub job: JobDocument,
}
