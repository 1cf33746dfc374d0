//! Promote: jobs whose time has come become `queued`.

use gristmill_core::id::JobId;
use gristmill_core::job::JobState;

use super::transition::Transition;

/// Makes a job `queued` that waits for a time.
pub(super) fn queue_again(t: &mut Transition<'_>, id: JobId) {
    let now = t.now;
    t.move_job(id, |job| {
        job.state = JobState::Queued;
        job.queued_at = Some(now);
        job.run_at = None;
    });
}
