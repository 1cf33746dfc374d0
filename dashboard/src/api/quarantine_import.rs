//! Quarantined items that were mended in an export run again: all of them, or, when anything is wrong, none.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use gristmill_core::access::Permission;
use gristmill_core::definition::CHUNK_ITEMS_MAX;
use gristmill_core::id::BatchId;
use gristmill_core::schema::text;
use gristmill_service::control::quarantine_import::{Import, ImportError, Imported};
use gristmill_service::documents::PatchReportDocument;
use gristmill_service::quarantine_sheet::{Problem, read, read_lines};

use super::quarantine_export::CSV;
use crate::gate::body::check_media;
use crate::gate::describe::{Argument, BodyShape, Endpoint, NDJSON};
use crate::gate::{
    Allowed, Answer, Api, ApiError, Change, Fault, Outcome, Parameters, Params, Path, Query, Result, limits, perm,
};

/// How many items make a chunk when the request does not say.
pub(super) const CHUNK_DEFAULT: u64 = 500;

/// The longest import: it is compared as a whole with the items as they are.
const IMPORT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most problems that are said at once.
const PROBLEMS_MAX: usize = 100;

/// How it is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    also_unchanged: bool,
    chunk: u64,
    delimiter: u8,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        let also_unchanged = query.flag("also_unchanged", "Also those that were not changed");
        let chunk = query.one("chunk", "How many items make a chunk; 500 unless said").unwrap_or(CHUNK_DEFAULT);
        if !(1..=CHUNK_ITEMS_MAX).contains(&chunk) {
            query.fault("chunk", format!("must be 1 to {CHUNK_ITEMS_MAX}"));
        }
        let about = "What separates the columns of a table, where that is not a comma: one character";
        let delimiter: Option<String> = query.one("delimiter", about);
        let delimiter = match delimiter.as_deref().map(str::as_bytes) {
            None => b',',
            Some([one]) if one.is_ascii() && !b"\"\r\n".contains(one) => *one,
            Some(_) => {
                query.fault("delimiter", "must be one character, such as `;`");
                b','
            }
        };
        Self { also_unchanged, chunk, delimiter }
    }
}

/// What is imported, as it came.
#[derive(Debug)]
pub(super) struct Mended {
    bytes: Bytes,
    is_table: bool,
}

impl FromRequest<Api> for Mended {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self> {
        let is_table = check_media(request.headers(), &[NDJSON, CSV])? == CSV;
        Ok(Self { bytes: limits::whole(request.into_body(), IMPORT_BYTES_MAX, api.stall()).await?, is_table })
    }
}

impl Argument for Mended {
    fn describe(endpoint: &mut Endpoint) {
        let about = "items as an export writes them, one JSON object a line: `id` and `item` count";
        let schema = text(about, "{\"id\": 17, \"item\": {\"quantity\": \"3\"}}");
        endpoint.bodies.push(BodyShape { media: NDJSON, schema, optional: false });
        let schema = text(
            "a table as an export writes it; `quarantine_id` says which item a row is",
            "quarantine_id,quantity\n17,3\n",
        );
        endpoint.bodies.push(BodyShape { media: CSV, schema, optional: false });
    }
}

pub(super) async fn import(
    caller: Allowed<perm::QuarantineMend>,
    Path(batch): Path<BatchId>,
    Params((change, wanted)): Params<(Change, Wanted)>,
    Mended { bytes, is_table }: Mended,
) -> Outcome<PatchReportDocument> {
    // Before anything of it is read: there may be no such batch.
    super::batches::find(&caller, batch).await?;
    let Wanted { also_unchanged, chunk, delimiter } = wanted;
    let sheet = if is_table { read(&bytes, delimiter) } else { read_lines(&bytes) };
    let sheet = sheet.map_err(wrong)?;
    let import = Import { batch, sheet, also_unchanged, chunk };
    let imported = caller.service().import_quarantine(&caller.order(&change), import).await;
    let Imported { report, unchanged, meanwhile } = imported.map_err(|error| match error {
        ImportError::Problems(problems) => wrong(problems),
        ImportError::Store(error) => error.into(),
    })?;
    let mut document = PatchReportDocument::new(change.dry_run, &report, Some(unchanged));
    document.meanwhile = Some(meanwhile);
    if !caller.may(Permission::ContentsRead) {
        document.samples.clear();
    }
    Ok(Answer::new(document))
}

/// Everything that is wrong with what is imported: nothing has changed.
fn wrong(problems: Vec<Problem>) -> ApiError {
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    let fault = |Problem { line, message }: Problem| {
        Fault::new(line.map_or_else(String::new, |line| format!("line {line}")), message)
    };
    let error = ApiError::invalid(problems.into_iter().take(PROBLEMS_MAX).map(fault).collect());
    let hint = "nothing was changed; mend it and import it again";
    error.hint(if more > 0 { format!("{hint} ({more} more are not shown)") } else { hint.to_owned() })
}
