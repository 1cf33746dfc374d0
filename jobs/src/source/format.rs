//! What a definition says about its files, checked once.

use std::time::Duration;

use encoding_rs::Encoding;
use gristmill_core::definition::{Compression, DuplicateColumns, Ragged, SourceSpec};

use super::csv::{self, HeaderNames};
use super::cut::Shape;
use super::error::SourceError;
use super::fixed::{self, Field};

/// The longest record, by default.
pub const RECORD_BYTES_DEFAULT: u64 = 1024 * 1024;

/// The longest record that a definition may ask for.
pub const RECORD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The most lines before a header.
pub(super) const SKIP_LINES_MAX: u64 = 10_000;

/// How the files of a source are written.
#[derive(Debug, Clone)]
pub(super) struct Format {
    pub(super) shape: Shape,
    /// The longest record in bytes.
    pub(super) limit: usize,
    /// `None`: UTF-8, unless a byte-order mark says otherwise.
    pub(super) encoding: Option<&'static Encoding>,
    /// `None`: the first bytes decide.
    pub(super) compression: Option<Compression>,
    /// The columns, where the files have no header.
    pub(super) columns: Option<Vec<String>>,
    pub(super) ragged: Ragged,
    /// The lines before the header.
    pub(super) skip_lines: u64,
    /// What is done to the names in the header.
    pub(super) names: HeaderNames,
    /// The fields of a line of fixed width.
    pub(super) fields: Vec<Field>,
    /// Whether it is a spool of several sources, each of whose lines says where it is from.
    pub(super) gathered: bool,
}

impl Format {
    /// Records of this shape about which nothing else is said.
    pub(super) fn plain(shape: Shape) -> Self {
        Self {
            shape,
            limit: usize::try_from(RECORD_BYTES_DEFAULT).unwrap_or(usize::MAX),
            encoding: None,
            compression: None,
            columns: None,
            ragged: Ragged::default(),
            skip_lines: 0,
            names: HeaderNames::default(),
            fields: Vec::new(),
            gathered: false,
        }
    }
}

/// The families of sources, and what the definition names.
#[derive(Debug)]
pub(super) enum Origin<'a> {
    Files(&'a [String], Format),
    Sql(&'a gristmill_core::definition::SqlSource),
    /// Several in one: see [`gather`](super::gather).
    Gathered,
}

/// Checks a definition's source without looking at any file.
pub(super) fn origin(spec: &SourceSpec) -> Result<Origin<'_>, SourceError> {
    if spec.is_composite() {
        return Ok(Origin::Gathered);
    }
    match (&spec.csv, &spec.jsonl, &spec.fixed, &spec.sql) {
        (Some(csv), None, None, None) => {
            only_for("fixed", &of_fixed(spec))?;
            let shape = csv_shape(spec)?;
            Ok(Origin::Files(csv.as_slice(), format(spec, shape)?))
        }
        (None, Some(jsonl), None, None) => {
            only_for("csv", &of_csv(spec))?;
            only_for("csv and fixed", &of_both(spec))?;
            only_for("fixed", &of_fixed(spec))?;
            Ok(Origin::Files(jsonl.as_slice(), format(spec, Shape::Lines)?))
        }
        (None, None, Some(fixed), None) => {
            only_for("csv", &of_csv(spec))?;
            let shape = Shape::Fixed { comment: comment(spec)? };
            Ok(Origin::Files(fixed.as_slice(), format(spec, shape)?))
        }
        (None, None, None, Some(sql)) => {
            only_for("files", &of_csv(spec))?;
            only_for("files", &of_both(spec))?;
            only_for("files", &of_fixed(spec))?;
            only_for(
                "files",
                &[
                    ("encoding", spec.encoding.is_some()),
                    ("compression", spec.compression.is_some()),
                    ("record_bytes_max", spec.record_bytes_max.is_some()),
                ],
            )?;
            if sql.answer_timeout.is_some_and(|span| span.0 < Duration::from_millis(1)) {
                return Err(setting("`sql.answer_timeout` is 0, in which no database answers; write for example `5m`"));
            }
            Ok(Origin::Sql(sql))
        }
        (None, None, None, None) => {
            Err(setting("it names no input; give one of `csv`, `jsonl`, `fixed`, `sql` and `merge`"))
        }
        _ => Err(setting("it names more than one input; give exactly one of `csv`, `jsonl`, `fixed` and `sql`")),
    }
}

/// The settings that have a meaning for separated values only, and whether they are given.
fn of_csv(spec: &SourceSpec) -> [(&'static str, bool); 6] {
    [
        ("delimiter", spec.delimiter.is_some()),
        ("quote", spec.quote.is_some()),
        ("columns", spec.columns.is_some()),
        ("ragged", spec.ragged == Ragged::Error),
        ("trim_header", spec.trim_header),
        ("duplicate_columns", spec.duplicate_columns == DuplicateColumns::Rename),
    ]
}

/// Those for lines that need not all be records.
fn of_both(spec: &SourceSpec) -> [(&'static str, bool); 2] {
    [("skip_lines", spec.skip_lines.is_some()), ("comment", spec.comment.is_some())]
}

/// Those for lines of fixed width.
fn of_fixed(spec: &SourceSpec) -> [(&'static str, bool); 1] {
    [("fields", spec.fields.is_some())]
}

/// What is done to the names in the header, which there must be then.
fn header_names(spec: &SourceSpec) -> Result<HeaderNames, SourceError> {
    let names = HeaderNames { trim: spec.trim_header, duplicates: spec.duplicate_columns };
    let asked = names.trim || names.duplicates == DuplicateColumns::Rename;
    if asked && spec.columns.is_some() {
        return Err(setting(
            "`trim_header` and `duplicate_columns` are about a header, and `columns` says that there is none; take one out",
        ));
    }
    Ok(names)
}

fn format(spec: &SourceSpec, shape: Shape) -> Result<Format, SourceError> {
    Ok(Format {
        shape,
        limit: limit(spec)?,
        encoding: encoding(spec)?,
        compression: spec.compression,
        columns: csv::said_columns(spec)?,
        ragged: spec.ragged,
        skip_lines: skip_lines(spec)?,
        names: header_names(spec)?,
        gathered: false,
        fields: if spec.fixed.is_some() { fixed::fields(spec, RECORD_BYTES_MAX)? } else { Vec::new() },
    })
}

fn skip_lines(spec: &SourceSpec) -> Result<u64, SourceError> {
    match spec.skip_lines.unwrap_or(0) {
        lines if lines > SKIP_LINES_MAX => {
            Err(setting(&format!("`skip_lines` = {lines} must be from 0 to {SKIP_LINES_MAX}")))
        }
        lines => Ok(lines),
    }
}

fn csv_shape(spec: &SourceSpec) -> Result<Shape, SourceError> {
    let delimiter = one_ascii("delimiter", spec.delimiter.as_deref(), b',')?;
    let quote = one_ascii("quote", spec.quote.as_deref(), b'"')?;
    if delimiter == quote {
        return Err(setting("`delimiter` and `quote` are the same character; they must differ"));
    }
    let comment = comment(spec)?;
    if comment.is_some_and(|comment| comment == delimiter || comment == quote) {
        return Err(setting("`comment` is the same character as `delimiter` or `quote`; it must be another one"));
    }
    Ok(Shape::Csv { delimiter, quote, comment })
}

fn comment(spec: &SourceSpec) -> Result<Option<u8>, SourceError> {
    spec.comment.as_deref().map(|text| one_ascii("comment", Some(text), b'#')).transpose()
}

fn one_ascii(key: &str, text: Option<&str>, default: u8) -> Result<u8, SourceError> {
    match text.map(str::as_bytes) {
        None => Ok(default),
        Some([byte]) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
        Some(_) => Err(setting(&format!(
            "`{key}` = {:?} must be exactly one ASCII character and no line end, such as {:?}",
            text.unwrap_or_default(),
            char::from(default)
        ))),
    }
}

fn limit(spec: &SourceSpec) -> Result<usize, SourceError> {
    let limit = spec.record_bytes_max.unwrap_or(RECORD_BYTES_DEFAULT);
    match usize::try_from(limit) {
        Ok(size) if (1..=RECORD_BYTES_MAX).contains(&limit) => Ok(size),
        _ => Err(setting(&format!("`record_bytes_max` = {limit} must be from 1 to {RECORD_BYTES_MAX} (16 MiB)"))),
    }
}

fn encoding(spec: &SourceSpec) -> Result<Option<&'static Encoding>, SourceError> {
    let Some(label) = &spec.encoding else { return Ok(None) };
    match Encoding::for_label_no_replacement(label.as_bytes()) {
        Some(encoding) => Ok(Some(encoding)),
        None => Err(setting(&format!(
            "`encoding` = {label:?} is not a WHATWG encoding label; known are `utf-8`, `utf-16le`, `utf-16be`, `windows-1252`, `iso-8859-15`, `shift_jis` and others"
        ))),
    }
}

fn only_for(what: &str, said: &[(&str, bool)]) -> Result<(), SourceError> {
    match said.iter().find(|(_, said)| *said) {
        None => Ok(()),
        Some((key, _)) => Err(setting(&format!("`{key}` has a meaning for {what} only; take it out"))),
    }
}

fn setting(problem: &str) -> SourceError {
    SourceError::Setting(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gristmill_core::definition::OneOrMany;

    fn csv_spec() -> SourceSpec {
        SourceSpec { csv: Some(OneOrMany::One("a.csv".to_owned())), ..SourceSpec::default() }
    }

    fn problem(spec: &SourceSpec) -> String {
        origin(spec).expect_err("it is refused").to_string()
    }

    #[test]
    fn exactly_one_input_must_be_named() {
        assert!(problem(&SourceSpec::default()).contains("names no input"));
        let both = SourceSpec { jsonl: Some(OneOrMany::One("a".to_owned())), ..csv_spec() };
        assert!(problem(&both).contains("more than one input"));
    }

    #[test]
    fn the_limits_of_a_record_are_named() {
        for wrong in [0, RECORD_BYTES_MAX + 1, u64::MAX] {
            let spec = SourceSpec { record_bytes_max: Some(wrong), ..csv_spec() };
            assert!(problem(&spec).contains("from 1 to 16777216"), "{}", problem(&spec));
        }
    }

    #[test]
    fn separators_are_single_ascii_characters_that_differ() {
        for wrong in ["", "ab", "é", "\n", "\r", "\0"] {
            let spec = SourceSpec { delimiter: Some(wrong.to_owned()), ..csv_spec() };
            assert!(problem(&spec).contains("exactly one ASCII character"), "{wrong:?}");
        }
        let same = SourceSpec { quote: Some(",".to_owned()), ..csv_spec() };
        assert!(problem(&same).contains("must differ"));
        let tab = SourceSpec { delimiter: Some("\t".to_owned()), ..csv_spec() };
        assert!(origin(&tab).is_ok());
    }

    #[test]
    fn an_unknown_encoding_is_refused_with_examples() {
        let spec = SourceSpec { encoding: Some("latin-nonsense".to_owned()), ..csv_spec() };
        assert!(problem(&spec).contains("windows-1252"));
        // A label for an encoding that browsers refuse to decode.
        let spec = SourceSpec { encoding: Some("iso-2022-kr".to_owned()), ..csv_spec() };
        assert!(problem(&spec).contains("not a WHATWG encoding label"));
    }

    #[test]
    fn a_comment_is_another_sign_than_those_between_and_around_fields() {
        for (wrong, said) in [(",", "same character"), ("\"", "same character"), ("//", "exactly one ASCII character")]
        {
            let spec = SourceSpec { comment: Some(wrong.to_owned()), ..csv_spec() };
            assert!(problem(&spec).contains(said), "{}", problem(&spec));
        }
        let lines = SourceSpec {
            csv: None,
            jsonl: Some(OneOrMany::One("a".to_owned())),
            comment: Some("#".to_owned()),
            ..csv_spec()
        };
        assert_eq!(problem(&lines), "source: `comment` has a meaning for csv and fixed only; take it out");
    }

    #[test]
    fn a_setting_without_a_meaning_is_refused() {
        let spec = SourceSpec {
            csv: None,
            jsonl: Some(OneOrMany::One("a".to_owned())),
            delimiter: Some(";".to_owned()),
            ..csv_spec()
        };
        assert_eq!(problem(&spec), "source: `delimiter` has a meaning for csv only; take it out");
    }
}
