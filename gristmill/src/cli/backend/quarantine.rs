//! Quarantined items: list, show, redrive, import.

use gristmill_client::http::{Call, Upload};
use gristmill_core::id::BatchId;
use gristmill_service::Order;
use gristmill_service::control::quarantine_import::{Import, ImportError, Imported};
use gristmill_service::documents::PatchReportDocument;
use gristmill_service::quarantine_sheet::{Problem, read, read_lines};
use gristmill_store::{
    ItemPatch, Page, Patch, PatchRedrive, PatchReport, QuarantineFilter, QuarantineView, QuarantineWhich,
};
use serde_json::{Value, json};

use super::{Backend, asked, paged, part};
use crate::exit_code::{CommandError, Exit, Result};

/// As what items are exported and imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum As {
    /// One JSON object a line
    #[default]
    Jsonl,
    /// A table, one column for each field
    Csv,
}

/// How items are imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct How {
    /// As what.
    pub(crate) format: As,
    /// What separates the columns of a table.
    pub(crate) delimiter: u8,
    /// Whether those that were not changed are redriven as well.
    pub(crate) also_unchanged: bool,
    /// How many items make a chunk.
    pub(crate) chunk: u64,
}

/// A JSON Patch, as it is carried out here and as it is sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mending {
    /// As it is carried out.
    pub(crate) patch: Patch,
    /// As it was written.
    pub(crate) written: Value,
}

impl Backend<'_> {
    /// A page of items.
    pub(crate) async fn quarantine(&self, filter: &QuarantineFilter, page: &Page) -> Result<Vec<QuarantineView>> {
        match self {
            Self::Store(local) => Ok(local.store().quarantine(filter, page).await?),
            Self::Server(server) => {
                let call = Call::get(&["quarantine"]).maybe("batch", filter.batch).flag("open", filter.open_only);
                let call = asked(call, &filter.query);
                server.look(&paged(call, page)).await
            }
        }
    }

    /// An item by its number, whatever its batch; `None` when there is none.
    pub(crate) async fn quarantined(&self, number: i64) -> Result<Option<QuarantineView>> {
        let server = match self {
            Self::Store(local) => {
                let tenant = local.tenant().to_owned();
                let filter = QuarantineFilter { tenant, ..QuarantineFilter::default() };
                let page = Page { after: number.checked_sub(1).map(|before| before.to_string()), limit: 1 };
                let items = local.store().quarantine(&filter, &page).await?;
                return Ok(items.into_iter().find(|item| item.id == number));
            }
            Self::Server(server) => server,
        };
        match server.look(&Call::get(&["quarantine", &part(number)])).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.exit == Exit::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs items of a batch once more, as they are or patched.
    pub(crate) async fn redrive_quarantine(
        &self,
        order: &Order,
        batch: BatchId,
        which: QuarantineWhich,
        mending: Option<Mending>,
        chunk: u64,
    ) -> Result<PatchReport> {
        match (self, mending) {
            (Self::Store(local), None) => Ok(local.service.redrive_quarantine(order, batch, which, chunk).await?),
            (Self::Store(local), Some(Mending { patch, .. })) => {
                let patching = PatchRedrive { batch, which, mend: ItemPatch::Patch(patch), chunk };
                Ok(local.service.patch_quarantine(order, &patching).await?)
            }
            (Self::Server(server), mending) => {
                let QuarantineWhich { items, stage, reason, from, to } = which;
                let patch = mending.map(|mending| mending.written);
                let body = json!({
                    "items": items, "stage": stage, "reason": reason, "from": from, "to": to, "patch": patch, "chunk": chunk,
                });
                let call = Call::post(&["batches", &part(batch), "quarantine", "redrive"]).body(&body);
                let report: PatchReportDocument = server.change(call, order).await?;
                Ok(report.into())
            }
        }
    }

    /// Runs items once more as they were mended; `wrong` makes an error of everything that is wrong with them.
    pub(crate) async fn import_quarantine(
        &self,
        order: &Order,
        batch: BatchId,
        how: How,
        bytes: Vec<u8>,
        wrong: impl Fn(Vec<Problem>) -> CommandError + Send,
    ) -> Result<Imported> {
        let How { format, delimiter, also_unchanged, chunk } = how;
        let local = match self {
            Self::Store(local) => local,
            Self::Server(server) => {
                let call = Call::post(&["batches", &part(batch), "quarantine", "import"]).param("chunk", chunk);
                let call = call.flag("also_unchanged", also_unchanged);
                let is_table = format == As::Csv;
                let call = if is_table { call.param("delimiter", char::from(delimiter)) } else { call };
                let media = if is_table { "text/csv" } else { "application/x-ndjson" };
                let upload = Upload::bytes(std::io::Cursor::new(bytes)).of(media);
                let document: PatchReportDocument = server.upload(call, order, upload).await?;
                let (unchanged, meanwhile) = (document.unchanged.unwrap_or(0), document.meanwhile.unwrap_or(0));
                return Ok(Imported { report: document.into(), unchanged, meanwhile });
            }
        };
        let sheet = if format == As::Csv { read(&bytes, delimiter) } else { read_lines(&bytes) };
        let import = Import { batch, sheet: sheet.map_err(&wrong)?, also_unchanged, chunk };
        local.service.import_quarantine(order, import).await.map_err(|error| match error {
            ImportError::Problems(problems) => wrong(problems),
            ImportError::Store(error) => error.into(),
        })
    }
}
