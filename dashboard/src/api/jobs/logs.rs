//! What the attempts of a job have said. It may quote what the job contains, and needs the same permission.

use gristmill_core::id::JobId;
use gristmill_service::documents::AttemptLogDocument;
use gristmill_store::LOGS_MAX;

use super::find;
use crate::gate::{Allowed, Answer, Outcome, Parameters, Params, Path, Query, perm};

/// Which logs are wanted.
pub(super) struct Wanted {
    attempt: Option<u32>,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self { attempt: query.one("attempt", "Only of this attempt") }
    }
}

pub(super) async fn list(
    caller: Allowed<perm::ContentsRead>,
    Path(id): Path<JobId>,
    Params(wanted): Params<Wanted>,
) -> Outcome<Vec<AttemptLogDocument>> {
    let job = find(&caller, id).await?;
    Ok(Answer::new(caller.store().logs(caller.tenant(), job.id, wanted.attempt, LOGS_MAX).await?))
}
