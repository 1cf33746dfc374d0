//! Patching items and packing them into chunks: the same for both stores.

use gristmill_core::chunk::{ChunkPayload, Slice};
use gristmill_core::definition::CHUNK_ITEMS_MAX;
use gristmill_core::inline::{self, InlineItem};
use gristmill_core::job::PAYLOAD_BYTES_MAX;

use crate::error::{Result, StoreError};
use crate::{ItemPatch, KEPT_NAMED_MAX, MendSample, PatchReport};

/// How many samples a report has.
const SAMPLES_MAX: usize = 5;

/// What runs again, what stays, and what is reported about it.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    pub(crate) ids: Vec<i64>,
    pub(crate) items: Vec<InlineItem>,
    pub(crate) report: PatchReport,
}

/// Patches the requested items. They come in the order in which they are to run.
pub(crate) fn mended(found: Vec<(i64, InlineItem)>, mend: &ItemPatch) -> Mended {
    let mut mended = Mended::default();
    for (id, inline) in found {
        match mend.apply(id, &inline.item) {
            Ok(item) => {
                let InlineItem { position, line, item: before } = inline;
                if mended.report.samples.len() < SAMPLES_MAX {
                    mended.report.samples.push(MendSample { id, position, line, before, after: item.clone() });
                }
                mended.ids.push(id);
                mended.items.push(InlineItem { position, line, item });
            }
            Err(why) => {
                mended.report.kept += 1;
                if mended.report.refused.len() < KEPT_NAMED_MAX {
                    mended.report.refused.push((id, why));
                }
            }
        }
    }
    mended.report.redriven = mended.ids.len() as u64;
    mended
}

/// Refuses a size that a chunk may not have.
pub(crate) fn chunk_size(chunk: u64) -> Result<()> {
    if chunk == 0 || chunk > CHUNK_ITEMS_MAX {
        let what = format!("a chunk cannot have {chunk} items; choose 1 to {CHUNK_ITEMS_MAX}");
        return Err(StoreError::Invalid(what));
    }
    Ok(())
}

/// Packs items into payloads of at most `chunk` items, and into more payloads if they do not fit.
pub(crate) fn packed(items: &[InlineItem], chunk: u64) -> Result<Vec<ChunkPayload>> {
    let mut payloads = Vec::new();
    for group in items.chunks(usize::try_from(chunk.max(1)).unwrap_or(usize::MAX)) {
        pack(group, &mut payloads)?;
    }
    Ok(payloads)
}

fn pack(items: &[InlineItem], payloads: &mut Vec<ChunkPayload>) -> Result<()> {
    let Some(first) = items.first() else { return Ok(()) };
    match inline::encode(items) {
        // The rest of the payload is a few hundred bytes.
        Ok(slice) if fits(&slice) || items.len() == 1 => {
            payloads.push(ChunkPayload::new(slice, items.len() as u64, first.position));
            Ok(())
        }
        Err(error) if items.len() == 1 => Err(StoreError::Invalid(error.to_string())),
        Ok(_) | Err(_) => {
            let (left, right) = items.split_at(items.len() / 2);
            pack(left, payloads)?;
            pack(right, payloads)
        }
    }
}

fn fits(slice: &Slice) -> bool {
    match slice {
        Slice::Inline { zstd } => zstd.len() + 1_024 <= PAYLOAD_BYTES_MAX,
        Slice::Bytes { .. } | Slice::Keys { .. } | Slice::Part { .. } => true,
    }
}
