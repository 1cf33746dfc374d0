//! Batches: a table of a result, to be saved for a spreadsheet or put into a text.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use gristmill_core::id::BatchId;
use gristmill_core::result_table::{FIGURES, ResultTable, tables};
use gristmill_core::schema::text;

use super::outputs::merged;
use crate::gate::describe::{Endpoint, Replies, Reply};
use crate::gate::{Allowed, ApiError, Parameters, Params, Path, Query, Result, perm};

const CSV: &str = "text/csv";

const MARKDOWN: &str = "text/markdown";

gristmill_core::words! {
    /// As what a table is sent.
    #[derive(Default)]
    enum As {
        /// Separated values.
        #[default]
        Csv = "csv",
        /// A table in Markdown.
        Markdown = "markdown",
    }
}

/// As what.
#[derive(Debug)]
pub(crate) struct Wanted(As);

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self(query.one("as", "As `csv`, or as `markdown`").unwrap_or_default())
    }
}

/// A table to be saved.
#[derive(Debug)]
pub(crate) struct Saved {
    table: ResultTable,
    form: As,
}

pub(super) async fn table(
    caller: Allowed<perm::ContentsRead>,
    Path((id, name)): Path<(BatchId, String)>,
    Params(wanted): Params<Wanted>,
) -> Result<Saved> {
    let result = merged(&caller, id).await?;
    let table = tables(&result).into_iter().find(|table| table.name == name).ok_or_else(|| {
        let message =
            format!("the result of batch {id} has no table `{name}`: name a measure with groups, or `{FIGURES}`");
        ApiError::not_found(message)
    })?;
    Ok(Saved { table, form: wanted.0 })
}

impl IntoResponse for Saved {
    fn into_response(self) -> Response {
        let (body, media, ending) = match self.form {
            As::Csv => (self.table.csv(), "text/csv; charset=utf-8", "csv"),
            As::Markdown => (self.table.markdown(), "text/markdown; charset=utf-8", "md"),
        };
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // The name of a measure is whatever the definition says.
        let plain = |sign: char| if sign.is_ascii_alphanumeric() || sign == '-' { sign } else { '_' };
        let name: String = self.table.name.chars().map(plain).collect();
        if let Ok(saved) = HeaderValue::try_from(format!("attachment; filename=\"{name}.{ending}\"")) {
            headers.insert(header::CONTENT_DISPOSITION, saved);
        }
        response
    }
}

impl Replies for Result<Saved> {
    fn describe(endpoint: &mut Endpoint) {
        let schema = text("a table: a line with its columns, and one for each row", "country,revenue\nNorway,9.45");
        endpoint.replies.push(Reply { status: 200, media: CSV, schema });
        let schema = text("a table in Markdown", "| country | revenue |\n| --- | ---: |\n| Norway | 9.45 |");
        endpoint.replies.push(Reply { status: 200, media: MARKDOWN, schema });
    }
}
