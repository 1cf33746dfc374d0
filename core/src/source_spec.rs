//! Where the items of a batch come from, as `source` spells it.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::duration::Span;
use crate::one_or_many::OneOrMany;

/// Where the items come from: exactly one of `csv`, `jsonl`, `fixed`, `sql` and `merge`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Files of separated values with a header: paths, globs, or `-` for standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<OneOrMany>,
    /// Files with one JSON object per line: paths, globs, or `-` for standard input. A line with a number that would
    /// have to be rounded is set aside: write exact decimals as strings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jsonl: Option<OneOrMany>,
    /// Files whose lines have each field at the same place: paths, globs, or `-` for standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<OneOrMany>,
    /// Rows of a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlSource>,
    /// Several sources, one behind the other; each is one of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Vec<SourceSpec>>,
    /// The field in whose order the records of `merge` come: numbers by value, then other texts, then those without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Other sources whose records of the same key are added, one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Vec<JoinSpec>>,
    /// The fields of a line, for `fixed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<FixedField>>,
    /// What a line begins with that is no record; one ASCII character. There is none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What separates fields; one ASCII character. `,` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// What quotes fields; one ASCII character. `"` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// A WHATWG encoding label such as `utf-8`, `windows-1252`, `utf-16le`. UTF-8 by default, unless a byte-order mark
    /// says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// `none`, `gzip`, `zstd`, `xz`, `bzip2` or `zip`; by default the file's first bytes decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The columns' names, for files without a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// How many lines at the beginning of each file, before its header, are no part of the table: 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_lines: Option<u64>,
    /// Whether white space around the names in the header is removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trim_header: bool,
    /// What happens when the header names a column twice: `error` by default, or `rename`: the second `a` becomes `a_2`.
    #[serde(default, skip_serializing_if = "DuplicateColumns::is_error")]
    pub duplicate_columns: DuplicateColumns,
    /// What happens to a row with too few or too many fields: `quarantine` by default, or `error`.
    #[serde(default)]
    pub ragged: Ragged,
    /// The longest line or record, in bytes: 1 MiB by default, 16 MiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_bytes_max: Option<u64>,
}

impl SourceSpec {
    /// Whether it is put together of several.
    pub fn is_composite(&self) -> bool {
        self.merge.is_some() || self.by.is_some() || self.join.is_some()
    }

    /// Does something with itself and with each source within it.
    pub fn each(&mut self, act: &mut dyn FnMut(&mut Self)) {
        act(self);
        for one in self.merge.iter_mut().flatten() {
            one.each(act);
        }
        for join in self.join.iter_mut().flatten() {
            join.with.each(act);
        }
    }
}

impl JoinSpec {
    /// The first file or glob that it names, for messages.
    pub fn name(&self) -> &str {
        let mut files = [&self.with.csv, &self.with.jsonl, &self.with.fixed].into_iter().flatten();
        files.find_map(|files| files.as_slice().first()).map_or("the query", String::as_str)
    }
}

/// A source whose records are added to those of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinSpec {
    /// The other source: one of `csv`, `jsonl`, `fixed` and `sql`.
    pub with: Box<SourceSpec>,
    /// The field whose value is looked for.
    pub on: String,
    /// The other source's field that must equal it; the same name by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The field that gets the found record; by default its fields are merged into the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// What happens to a record for which nothing is found.
    #[serde(default)]
    pub missing: Missing,
}

/// What happens to an item for which a lookup finds nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It goes on without the record.
    #[default]
    Keep,
    /// It is set aside.
    Quarantine,
    /// It is skipped.
    Skip,
}

/// Reads a source, or a list of them, which is `merge`.
///
/// # Errors
///
/// Those of what is read.
pub(crate) fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SourceSpec, D::Error> {
    deserializer.deserialize_any(OneOrSeveral)
}

struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = SourceSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, or a list of tables")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SourceSpec, A::Error> {
        SourceSpec::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<SourceSpec, A::Error> {
        let merge = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(SourceSpec { merge: Some(merge), ..SourceSpec::default() })
    }
}

/// A field of a line of fixed width, in characters. Spaces at both of its ends are no part of the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedField {
    /// Its name.
    pub name: String,
    /// Its first character, counted from 1.
    pub start: u32,
    /// How many characters it has.
    pub width: u32,
}

/// What happens when a header names a column twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicateColumns {
    /// The batch cannot start.
    #[default]
    Error,
    /// The second and all further ones get a number: `a`, `a_2`, `a_3`.
    Rename,
}

impl DuplicateColumns {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_error(&self) -> bool {
        *self == Self::Error
    }
}

/// How a source is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not compressed.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// What `xz` writes.
    Xz,
    /// What `bzip2` writes.
    Bzip2,
    /// An archive with one file.
    Zip,
}

/// What happens to a row whose width differs from the header's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ragged {
    /// The row is set aside and the batch goes on.
    #[default]
    Quarantine,
    /// The batch cannot start.
    Error,
}

/// Rows of a query, cut by ranges of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlSource {
    /// `postgres://…` or `sqlite://…`; or `env:NAME` to read it from the environment, so that the copy of the
    /// definition that each batch keeps holds no password.
    pub url: String,
    /// A `SELECT` without `ORDER BY` and `LIMIT`.
    pub query: String,
    /// A unique column of the query, by which the rows are sorted.
    pub key: String,
    /// The values of the places `{{0}}`, `{{1}}` … in the query, which are sent beside it and never read as SQL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bind: Vec<serde_json::Value>,
    /// How long the database may take for one answer, for the plan or for a chunk: 5 minutes by default. On PostgreSQL it
    /// is the `statement_timeout` as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_timeout: Option<Span>,
}
