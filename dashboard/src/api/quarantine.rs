//! Quarantined items: list, show, redrive as they are or patched. Beside it: export and import.

use gristmill_core::access::Permission;
use gristmill_core::definition::CHUNK_ITEMS_MAX;
use gristmill_core::id::BatchId;
use gristmill_core::item_patch::{ItemPatch, Patch};
use gristmill_core::query::{List, Query as Asked};
use gristmill_service::documents::{PatchReportDocument, QuarantineItemDocument};
use gristmill_store::{Page, PatchRedrive, QuarantineFilter, QuarantineWhich};
use serde_json::Value;

use super::jobs::as_of_now;
use super::quarantine_export::export;
use super::quarantine_import::{CHUNK_DEFAULT, import};
use crate::gate::{
    Allowed, Answer, ApiError, Caller, Change, Fields, JsonBody, Object, Outcome, Paging, Parameters, Params, Path,
    Query, Routes, asked, perm,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/quarantine", "Items that were set aside, oldest first", list)
        .get("/api/v1/quarantine/{item}", "One item with its reason", show)
        .get_slowly(
            "/api/v1/batches/{batch}/quarantine/export",
            "The items of a batch as JSON lines or a table",
            export,
        )
        .post_slowly(
            "/api/v1/batches/{batch}/quarantine/import",
            "Run items of a batch once more as they were mended in an export: all of them, or none",
            import,
        )
        .post_slowly(
            "/api/v1/batches/{batch}/quarantine/redrive",
            "Run items of a batch once more, as they are or patched",
            redrive,
        )
}

/// Which items are wanted.
struct Wanted {
    batch: Option<BatchId>,
    open: bool,
    asked: Asked,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            batch: query.one("batch", "Only of this batch"),
            open: query.flag("open", "Only those that were not redriven"),
            asked: asked(query, List::Quarantine),
        }
    }
}

async fn list(
    caller: Allowed<perm::QuarantineRead>,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Outcome<Vec<QuarantineItemDocument>> {
    let (tenant, query) = (caller.tenant().to_owned(), as_of_now(&caller, wanted.asked).await?);
    let filter = QuarantineFilter { tenant, batch: wanted.batch, open_only: wanted.open, query };
    let items = caller.store().quarantine(&filter, &paging.0).await?;
    let next = paging.next(&items, |item| item.id.to_string());
    Ok(Answer::page(items.into_iter().map(|item| shown(&caller, item)).collect(), next))
}

async fn show(caller: Allowed<perm::QuarantineRead>, Path(id): Path<i64>) -> Outcome<QuarantineItemDocument> {
    let filter = QuarantineFilter { tenant: caller.tenant().to_owned(), ..QuarantineFilter::default() };
    let page = Page { after: id.checked_sub(1).map(|before| before.to_string()), limit: 1 };
    let found = caller.store().quarantine(&filter, &page).await?.into_iter().find(|item| item.id == id);
    let missing = || ApiError::not_found(format!("there is no item {id} in the quarantine of `{}`", caller.tenant()));
    found.map(|item| Answer::new(shown(&caller, item))).ok_or_else(missing)
}

/// An item as its caller may see it: what it contains only with `contents:read`. A reason may quote it.
fn shown(caller: &Caller, item: QuarantineItemDocument) -> QuarantineItemDocument {
    match caller.may(Permission::ContentsRead) {
        true => item,
        false => QuarantineItemDocument { item: Value::Null, ..item },
    }
}

/// Which items run again, and how they are changed before.
#[derive(Debug, Clone, PartialEq)]
struct RedriveBody {
    which: QuarantineWhich,
    mend: ItemPatch,
    chunk: u64,
}

impl Fields for RedriveBody {
    const NAME: &'static str = "QuarantineRedriveRequest";
    const EXAMPLE: &'static str =
        r#"{"stage": "parse", "patch": [{"op": "replace", "path": "/quantity", "value": "3"}]}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let which = QuarantineWhich {
            items: object.optional("items", "Only these, by their numbers").unwrap_or_default(),
            stage: object.optional("stage", "Only those that this stage has refused"),
            reason: object.optional("reason", "Only those with this text in the reason"),
            from: object.optional("from", "Only from this position of the input on"),
            to: object.optional("to", "Only up to this position of the input"),
        };
        let patch = object.any("patch", "Change each with this JSON Patch (RFC 6902) before it runs");
        let chunk = object.optional("chunk", "How many items make a chunk; 500 unless said").unwrap_or(CHUNK_DEFAULT);
        if !(1..=CHUNK_ITEMS_MAX).contains(&chunk) {
            object.fault("chunk", format!("must be 1 to {CHUNK_ITEMS_MAX}"));
        }
        let mend = match patch {
            Value::Null => ItemPatch::AsIs,
            patch => match Patch::parse(&patch.to_string()) {
                Ok(patch) => ItemPatch::Patch(patch),
                Err(error) => {
                    object.fault("patch", error);
                    return None;
                }
            },
        };
        Some(Self { which, mend, chunk })
    }
}

async fn redrive(
    caller: Allowed<perm::QuarantineMend>,
    Path(batch): Path<BatchId>,
    Params(change): Params<Change>,
    JsonBody(body): JsonBody<RedriveBody>,
) -> Outcome<PatchReportDocument> {
    let patching = PatchRedrive { batch, which: body.which, mend: body.mend, chunk: body.chunk };
    let report = caller.service().patch_quarantine(&caller.order(&change), &patching).await?;
    let mut document = PatchReportDocument::new(change.dry_run, &report, None);
    if !caller.may(Permission::ContentsRead) {
        document.samples.clear();
    }
    Ok(Answer::new(document))
}
