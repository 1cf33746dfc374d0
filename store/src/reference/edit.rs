//! Edits of a job that waits.

use std::sync::Arc;

use gristmill_core::job::JobState;
use gristmill_core::job_edit::{JobEdit, Waiting};

use super::state::Job;
use super::transition::Transition;
use crate::control::not_edited;
use crate::error::Result;
use crate::{ControlReport, Purpose};

/// Changes a job that waits.
pub(super) fn edit_job(t: &mut Transition<'_>, job: &Job, edit: &JobEdit) -> Result<ControlReport> {
    let id = job.id;
    let was = Waiting {
        state: job.state,
        attempt: job.attempt,
        queue: &job.queue,
        priority: job.priority,
        run_at: job.run_at,
        payload: &job.payload,
        fixed_payload: job.seq.is_some() || (job.kind == "aggregate" && job.batch.is_some()),
    };
    let Some(is) = was.edited(edit, t.now).map_err(|why| not_edited(id, &why))? else {
        return Ok(ControlReport::default());
    };
    let now = t.now;
    let (moved, entered) = (is.state != was.state || is.queue != was.queue, is.priority != was.priority);
    t.state.queues.insert((job.tenant.clone(), is.queue.clone()));
    if let Some(job) = t.state.job_mut(id) {
        // A job that enters a priority or a queue begins to wait there: ageing counts from then.
        if is.priority != job.priority || is.queue != job.queue {
            job.aged_at = Some(now);
        }
        job.queued_at = match (job.state, is.state) {
            (JobState::Queued, JobState::Queued) => job.queued_at,
            (_, JobState::Queued) => Some(now),
            _ => None,
        };
        (job.state, job.queue, job.priority, job.run_at) = (is.state, is.queue, is.priority, is.run_at);
        job.payload = is.payload.unwrap_or_else(|| job.payload.clone());
    }
    if let Some(job) = t.state.jobs.get(&id).map(Arc::clone) {
        if moved {
            t.arrived(&job);
        } else if entered && job.state == JobState::Queued {
            t.ready(Purpose::Dispatch, &job);
        }
    }
    Ok(ControlReport { affected: 1, samples: vec![id.to_string()], ..ControlReport::default() })
}
