//! The items of a batch, to be kept or mended elsewhere: JSON lines, or a table for a spreadsheet.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use gristmill_core::formula::Formulas;
use gristmill_core::id::BatchId;
use gristmill_core::schema::text;
use gristmill_service::quarantine_table::{ABOUT, columns, row};
use gristmill_store::{Page, QuarantineFilter, QuarantineView, StoreHandle};

use super::batches::find as find_batch;
use super::lines::{Exported, Lines};
use crate::gate::describe::{Endpoint, NDJSON, Replies, Reply};
use crate::gate::{Allowed, ApiError, Parameters, Params, Path, Query, Result, perm};

/// A table.
pub(super) const CSV: &str = "text/csv";

/// How many items are read at a time.
const PAGE_ROWS: u32 = 1_000;

/// The most columns of a table: those of spreadsheets end somewhere too.
const COLUMNS_MAX: usize = 2_000;

gristmill_core::words! {
    /// As what items are exported.
    #[derive(Default)]
    enum As {
        /// One JSON object a line.
        #[default]
        Jsonl = "jsonl",
        /// A table.
        Csv = "csv",
    }
}

/// Which items, and as what.
#[derive(Debug)]
pub(crate) struct Wanted {
    form: As,
    all: bool,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        let form = query.one("as", "As `jsonl`, or as `csv`").unwrap_or_default();
        Self { form, all: query.flag("all", "Also those that were redriven already") }
    }
}

/// A file to be saved.
#[derive(Debug)]
pub(crate) struct File {
    body: Response,
    name: String,
}

impl IntoResponse for File {
    fn into_response(self) -> Response {
        let mut response = self.body;
        let saved = format!("attachment; filename=\"{}\"", self.name);
        // The name is made of ids.
        if let Ok(saved) = HeaderValue::try_from(saved) {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, saved);
        }
        response
    }
}

impl Replies for Result<File> {
    fn describe(endpoint: &mut Endpoint) {
        let schema = endpoint.schema::<Exported>();
        endpoint.replies.push(Reply { status: 200, media: NDJSON, schema });
        let schema = text("a table: what an item is, why it was set aside, and its fields", "quarantine_id,id,shop");
        endpoint.replies.push(Reply { status: 200, media: CSV, schema });
    }
}

pub(crate) async fn export(
    caller: Allowed<perm::ContentsRead>,
    Path(batch): Path<BatchId>,
    Params(wanted): Params<Wanted>,
) -> Result<File> {
    find_batch(&caller, batch).await?;
    let filter = QuarantineFilter {
        tenant: caller.tenant().to_owned(),
        batch: Some(batch),
        open_only: !wanted.all,
        ..QuarantineFilter::default()
    };
    let store = caller.store().clone();
    let body = match wanted.form {
        As::Jsonl => Lines::of_quarantine(store, filter).into_response(),
        As::Csv => table(store, filter, batch).await?,
    };
    Ok(File { body, name: format!("quarantine-{batch}.{}", wanted.form) })
}

/// A table has its columns in its first line: the items are read once for them, and once more while they are sent.
async fn table(store: StoreHandle, filter: QuarantineFilter, batch: BatchId) -> Result<Response> {
    let columns = all_columns(&store, &filter, batch).await?;
    let header = line(ABOUT.iter().copied().chain(columns.iter().map(String::as_str)));
    let first = Some((Page { after: None, limit: PAGE_ROWS }, Some(header.map_err(ApiError::internal)?)));
    let rows = stream::try_unfold(first, move |next| {
        let (store, filter, columns) = (store.clone(), filter.clone(), columns.clone());
        async move {
            let Some((page, header)) = next else { return Ok::<_, std::io::Error>(None) };
            let items = store.quarantine(&filter, &page).await.map_err(std::io::Error::other)?;
            let last = items.last().filter(|_| items.len() == PAGE_ROWS as usize);
            let after = last.map(|item| (Page { after: Some(item.id.to_string()), ..page }, None));
            let mut text = header.unwrap_or_default();
            for item in &items {
                text.push_str(&line(row(item, &columns).iter().map(String::as_str)).map_err(std::io::Error::other)?);
            }
            Ok(Some((Bytes::from(text), after)))
        }
    });
    let mut response = Response::new(Body::from_stream(rows));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The columns of the source, then every field that an item has.
async fn all_columns(store: &StoreHandle, filter: &QuarantineFilter, batch: BatchId) -> Result<Vec<String>> {
    let plan = store.batch_plan(batch).await?;
    let files = plan.into_iter().flat_map(|plan| plan.fingerprint.files).take(1);
    let mut found: Vec<String> = files.flat_map(|file| file.columns).collect();
    let mut page = Page { after: None, limit: PAGE_ROWS };
    loop {
        let items: Vec<QuarantineView> = store.quarantine(filter, &page).await?;
        found = columns(&found, items.iter().map(|item| &item.item)).map_err(ApiError::conflict)?;
        if found.len() > COLUMNS_MAX {
            return Err(ApiError::conflict(format!(
                "the items have more than {COLUMNS_MAX} fields; export JSON lines"
            )));
        }
        match items.last().filter(|_| items.len() == PAGE_ROWS as usize) {
            Some(last) => page.after = Some(last.id.to_string()),
            None => return Ok(found),
        }
    }
}

/// A line of a table. What a spreadsheet would compute is kept a text.
fn line<'a>(cells: impl Iterator<Item = &'a str>) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(cells.map(|cell| Formulas::Escape.cell(cell).into_owned()))
        .map_err(|error| error.to_string())?;
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_neither_a_formula_nor_two_cells() {
        assert_eq!(
            line(["=1+1", "a,b", "x\"y", "-5.00"].into_iter()),
            Ok("'=1+1,\"a,b\",\"x\"\"y\",-5.00\n".to_owned())
        );
    }
}
