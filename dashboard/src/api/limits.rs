//! Limits: list, show, set, drop. They apply to the jobs of all tenants.

use gristmill_core::id::is_name;
use gristmill_service::documents::{LimitDocument, ReportDocument, WouldSetLimitDocument};
use gristmill_store::LimitSpec;

use super::rehearsable::Rehearsable;
use crate::gate::{
    Allowed, Answer, ApiError, Caller, Change, Fields, JsonBody, Object, Outcome, Overseer, Params, Path, Routes, perm,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/limits", "Every limit, with what runs under it", list)
        .get("/api/v1/limits/{limit}", "A limit, with what runs under it", show)
        .put("/api/v1/limits/{limit}", "Create a limit, or change one that was created so", set)
        .delete("/api/v1/limits/{limit}", "Drop a limit that was created so", remove)
}

/// A limit as its caller may see it: what other tenants run is theirs.
pub(crate) fn shown(caller: &Caller, limit: LimitDocument) -> LimitDocument {
    let uses = limit.uses.into_iter().filter(|used| caller.principal.installation || used.tenant == caller.tenant());
    LimitDocument { uses: uses.collect(), ..limit }
}

async fn list(caller: Allowed<perm::LimitsRead>) -> Outcome<Vec<LimitDocument>> {
    let limits = caller.whole_store().limits().await?;
    Ok(Answer::new(limits.into_iter().map(|limit| shown(&caller, limit)).collect()))
}

async fn show(caller: Allowed<perm::LimitsRead>, Path(name): Path<String>) -> Outcome<LimitDocument> {
    let found = caller.whole_store().limits().await?.into_iter().find(|limit| limit.name == name);
    found.map(|limit| Answer::new(shown(&caller, limit))).ok_or_else(|| missing(&name))
}

fn missing(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no limit `{name}`"))
}

/// What a limit allows.
#[derive(Debug, Clone, PartialEq)]
struct LimitBody(LimitSpec);

impl Fields for LimitBody {
    const NAME: &'static str = "LimitRequest";
    const EXAMPLE: &'static str = r#"{"queues": ["crm"], "per_key": true, "concurrency": 5, "rate": 100, "per": "1m"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let queues: Vec<String> =
            object.optional("queues", "Jobs on these queues, all of them together").unwrap_or_default();
        let kinds: Vec<String> =
            object.optional("kinds", "Jobs of these kinds, all of them together").unwrap_or_default();
        for (field, names) in [("queues", &queues), ("kinds", &kinds)] {
            if let Some(odd) = names.iter().find(|name| !is_name(name)) {
                object.fault(field, format!("`{odd}` cannot be a name: 1 to 100 letters, digits, `-` and `_`"));
            }
        }
        let spec = LimitSpec {
            queues: queues.into_iter().collect(),
            kinds: kinds.into_iter().collect(),
            per_key: object.optional("per_key", "Whether it applies to each key separately").unwrap_or(false),
            concurrency: object.optional("concurrency", "How many may run at once"),
            rate: object.optional("rate", "How many may begin in each period"),
            per: object.optional("per", "The period of `rate`; a second unless said"),
            burst: object.optional("burst", "How many may begin at one moment after a quiet time; 1 unless said"),
        };
        if let Err(wrong) = spec.check() {
            object.fault(wrong.key, wrong.message);
            return None;
        }
        Some(Self(spec))
    }
}

async fn set(
    caller: Overseer<perm::LimitsChange>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
    JsonBody(LimitBody(spec)): JsonBody<LimitBody>,
) -> Outcome<Rehearsable<LimitDocument, WouldSetLimitDocument>> {
    if !is_name(&name) {
        return Err(ApiError::not_found(format!("`{name}` cannot be the name of a limit")));
    }
    let would = WouldSetLimitDocument::new(&name, &spec);
    let limit = caller.service().set_limit(&caller.order(&change), &name, spec).await?;
    Ok(Answer::new(limit.map_or(Rehearsable::Would(would), Rehearsable::Done)))
}

async fn remove(
    caller: Overseer<perm::LimitsChange>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().drop_limit(&caller.order(&change), &name).await?;
    if report.affected == 0 {
        return Err(missing(&name));
    }
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}
