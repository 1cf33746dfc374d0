//! Definitions of batches: list, show. They belong to the tenant of the configuration.

use gristmill_service::documents::DefinitionDocument;

use crate::gate::{Allowed, Answer, ApiError, Caller, Outcome, Path, Routes, perm};

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/definitions", "The batch definitions of the configuration", list).get(
        "/api/v1/definitions/{definition}",
        "A batch definition of the configuration",
        show,
    )
}

fn all(caller: &Caller) -> impl Iterator<Item = DefinitionDocument> {
    let own = caller.tenant() == caller.api().run_context().tenant;
    let known = if own { caller.api().program().definitions() } else { Default::default() };
    known.into_iter().map(|(name, definition)| DefinitionDocument { name, definition })
}

async fn list(caller: Allowed<perm::DefinitionsRead>) -> Outcome<Vec<DefinitionDocument>> {
    Ok(Answer::new(all(&caller).collect()))
}

async fn show(caller: Allowed<perm::DefinitionsRead>, Path(name): Path<String>) -> Outcome<DefinitionDocument> {
    let found = all(&caller).find(|definition| definition.name == name);
    found.map(Answer::new).ok_or_else(|| ApiError::not_found(format!("there is no definition `{name}`")))
}
