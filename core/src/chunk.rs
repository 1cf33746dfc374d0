//! A slice of a batch's items: where it lies in the input, and what became of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::aggregate::Partial;
use crate::inline::{self, InlineError, InlineItem};
pub use crate::slice::Slice;

/// The payload of a job of kind `chunk`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkPayload {
    /// Where the items are.
    pub slice: Slice,
    /// How many items the plan counted there.
    pub items: u64,
    /// The position of the first one in the whole input, counted from 0.
    pub first: u64,
    /// Why its one item is set aside without being processed: it has killed its workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condemned: Option<String>,
}

impl ChunkPayload {
    /// This many items of a slice, starting at a position.
    pub fn new(slice: Slice, items: u64, first: u64) -> Self {
        Self { slice, items, first, condemned: None }
    }

    /// Splits the items into two chunks, the first half and the rest. `None` for fewer than two.
    ///
    /// # Errors
    ///
    /// When items that travel inside cannot be unpacked.
    pub fn halves(&self) -> Result<Option<[Self; 2]>, InlineError> {
        if self.items < 2 {
            return Ok(None);
        }
        let left = self.items / 2;
        if let Slice::Inline { zstd } = &self.slice {
            let items = inline::decode(zstd)?;
            let (first, rest) = items.split_at(items.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            let half = |items: &[InlineItem]| {
                let position = items.first().map_or(self.first, |item| item.position);
                Ok(Self::new(inline::encode(items)?, items.len() as u64, position))
            };
            return Ok(Some([half(first)?, half(rest)?]));
        }
        let (whole, all, skip) = match &self.slice {
            Slice::Part { whole, items, skip } => (whole.clone(), *items, *skip),
            slice => (Box::new(slice.clone()), self.items, 0),
        };
        let part = |from: u64, items: u64| {
            let slice = Slice::Part { whole: whole.clone(), items: all, skip: skip + from };
            Self::new(slice, items, self.first + from)
        };
        Ok(Some([part(0, left), part(left, self.items - left)]))
    }
}

/// What the source looked like when it was planned. A chunk fails if its source has changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFingerprint {
    /// The files in the order in which they are read. Empty for a SQL source and for inline items.
    pub files: Vec<FileFingerprint>,
}

/// The ending of the name of a finished spool, after a dot.
pub const COPY_ENDING: &str = "spool";

impl SourceFingerprint {
    /// Whether any of its files is a spool that was made for the batch.
    pub fn has_copies(&self) -> bool {
        self.files.iter().any(FileFingerprint::is_copy)
    }

    /// How many bytes such spools have.
    pub fn copied_bytes(&self) -> u64 {
        self.files.iter().filter(|file| file.is_copy()).map(|file| file.bytes).sum()
    }
}

impl FileFingerprint {
    /// Whether it is a spool that was made for the batch: its name is an id, and not the name that the user gave.
    pub fn is_copy(&self) -> bool {
        let last = |path: &str| path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        let ours = last(&self.path);
        let id = ours.strip_suffix(COPY_ENDING).and_then(|rest| rest.strip_suffix('.'));
        id.is_some_and(|id| uuid::Uuid::parse_str(id).is_ok()) && ours != last(&self.name)
    }
}

/// What one file looked like when it was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFingerprint {
    /// Absolute path of the bytes to read: the file itself, or the spool of input that was compressed or came from
    /// standard input.
    pub path: String,
    /// The name that the user gave, for messages.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its modification time, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// SHA-256 in hex of the first and the last 64 KiB together.
    pub edges: String,
    /// The names of the columns, where the format has a header.
    pub columns: Vec<String>,
}

/// What became of one chunk: settled in the transaction that completes its job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChunkResult {
    /// Items that passed every stage.
    pub ok: u64,
    /// Items that a transform dropped.
    pub skipped: u64,
    /// Items set aside: the length of `set_aside`.
    pub quarantined: u64,
    /// The chunk's share of the batch's aggregate.
    pub partial: Partial,
    /// The files that it wrote.
    pub parts: Vec<OutputPart>,
    /// The items that failed, each with its reason. They are not part of the result row: the store writes them to the
    /// quarantine.
    #[serde(skip)]
    pub set_aside: Vec<SetAside>,
}

/// One file that a chunk wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OutputPart {
    /// Path of the file, relative to the output's folder.
    pub path: String,
    /// How many items are in it.
    pub items: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// One item that failed in a chunk that went on without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetAside {
    /// Its position in the whole input, counted from 0.
    pub position: u64,
    /// The line on which it begins, counted from 1, where the source has lines.
    pub line: Option<u64>,
    /// The stage that refused it: `read`, `validate`, `sanitize`, `parse`, `transform`, `enrich`, `process`, `mail`, `format`.
    pub stage: String,
    /// What is wrong, where, and what would be right. At most 1,000 characters.
    pub reason: String,
    /// The item as it came from the source: an object, or a text when it could not even be read.
    #[serde(deserialize_with = "crate::json::value")]
    pub item: Value,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(items: u64) -> ChunkPayload {
        ChunkPayload::new(Slice::Bytes { file: 0, from: 10, to: 90, line: 4 }, items, 100)
    }

    /// Splits until nothing can be split, and returns where each piece begins and how many items it has.
    fn pieces(payload: &ChunkPayload) -> Vec<(u64, u64)> {
        match payload.halves().expect("whole") {
            None => vec![(payload.first, payload.items)],
            Some(halves) => halves.iter().flat_map(pieces).collect(),
        }
    }

    #[test]
    fn halves_of_halves_have_each_item_once_and_in_its_place() {
        for items in 1..40 {
            let expected: Vec<(u64, u64)> = (100..100 + items).map(|position| (position, 1)).collect();
            assert_eq!(pieces(&bytes(items)), expected);
        }
    }

    #[test]
    fn a_half_names_the_whole_slice_and_never_a_part_of_a_part() {
        let [_, right] = bytes(9).halves().expect("whole").expect("two");
        let [_, right] = right.halves().expect("whole").expect("two");
        let Slice::Part { whole, items, skip } = &right.slice else { panic!("a part: {right:?}") };
        assert_eq!((whole.as_ref(), *items, *skip, right.first, right.items), (&bytes(9).slice, 9, 6, 106, 3));
    }

    #[test]
    fn items_that_travel_inside_are_shared_out() {
        let items: Vec<InlineItem> =
            [3, 7, 9].map(|position| InlineItem { position, line: None, item: json!({ "n": position }) }).into();
        let payload = ChunkPayload::new(inline::encode(&items).expect("packed"), 3, 3);
        let halves = payload.halves().expect("whole").expect("two");
        assert_eq!(halves.each_ref().map(|half| (half.first, half.items)), [(3, 1), (7, 2)]);
        let Slice::Inline { zstd } = &halves[1].slice else { panic!("inside") };
        assert_eq!(inline::decode(zstd).expect("whole"), items[1..]);
    }

    #[test]
    fn a_copy_is_known_from_a_file_of_the_users_own() {
        let fingerprint = |path: &str, name: &str| FileFingerprint {
            path: path.to_owned(),
            name: name.to_owned(),
            bytes: 0,
            modified_ns: 0,
            edges: String::new(),
            columns: Vec::new(),
        };
        let id = uuid::Uuid::from_u128(5);
        assert!(fingerprint(&format!("/a/{id}.spool"), "standard input").is_copy());
        assert!(fingerprint(&format!("/a/{id}.spool"), "data/orders.csv.gz").is_copy());
        assert!(!fingerprint(&format!("/a/{id}.spool"), &format!("data/{id}.spool")).is_copy());
        assert!(!fingerprint("/a/orders.spool", "x").is_copy());
        assert!(!fingerprint("/a/orders.csv", "orders.csv").is_copy());
    }
}
