//! Reading quarantined items back that were exported and mended: a table from a spreadsheet, or JSON lines.
//!
//! The first columns say which item a row is and why it was set aside; the others are its fields. A cell that was not
//! touched keeps the value and the type that the item had; a cell that was touched becomes a text where the item had a
//! text or nothing, and JSON where it had something else.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use gristmill_core::formula::unescape;
use gristmill_core::json;
use gristmill_store::QuarantineView;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::quarantine_table::{ABOUT, ID, cell};
use crate::suggest::suggest;

/// Something that is wrong with what is imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; `None` when it cannot be told.
    pub line: Option<u64>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

fn at(line: u64, message: impl Into<String>) -> Problem {
    Problem { line: Some(line), message: message.into() }
}

/// A table that is read back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sheet {
    columns: Vec<String>,
    rows: Vec<Row>,
    /// Items as a whole, from JSON lines.
    whole: Vec<Whole>,
    /// Whether it began with a byte-order mark, which spreadsheets like to add and no reader needs.
    pub marked: bool,
}

/// An item as a whole, as it was mended.
#[derive(Debug, Clone, PartialEq)]
struct Whole {
    line: u64,
    id: i64,
    item: Value,
}

/// What is read of a line of an export. Everything else in it is for people.
#[derive(Debug, Deserialize)]
struct ExportedLine {
    id: i64,
    #[serde(default, deserialize_with = "json::maybe")]
    item: Option<Value>,
}

/// One row of it.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    line: u64,
    id: i64,
    cells: Vec<String>,
}

impl Sheet {
    /// The numbers of its items, each with its line.
    pub fn ids(&self) -> impl Iterator<Item = (u64, i64)> + '_ {
        let whole = self.whole.iter().map(|whole| (whole.line, whole.id));
        self.rows.iter().map(|row| (row.line, row.id)).chain(whole)
    }
}

/// Reads a table.
///
/// # Errors
///
/// Everything that is wrong, each with its line.
pub fn read(bytes: &[u8], delimiter: u8) -> Result<Sheet, Vec<Problem>> {
    let text = plain_text(bytes).map_err(|problem| vec![problem])?;
    let marked = bytes.starts_with(b"\xEF\xBB\xBF");
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let columns: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(|column| unescape(column).to_owned()).collect(),
        Err(error) => return Err(vec![at(1, format!("the header cannot be read: {error}"))]),
    };
    header_problem(&columns, delimiter).map_or(Ok(()), |problem| Err(vec![problem]))?;
    let place = columns.iter().position(|column| column == ID).unwrap_or(0);
    let (mut rows, mut problems, mut lines) = (Vec::new(), Vec::new(), HashMap::new());
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                problems.push(Problem { line: None, message: format!("it cannot be read any further: {error}") });
                break;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        match one_row(&record, line, columns.len(), place, delimiter) {
            Err(problem) => problems.push(problem),
            Ok(row) => match lines.insert(row.id, line) {
                Some(first) => problems.push(twice(line, row.id, first)),
                None => rows.push(row),
            },
        }
    }
    if problems.is_empty() { Ok(Sheet { columns, rows, whole: Vec::new(), marked }) } else { Err(problems) }
}

fn twice(line: u64, id: i64, first: u64) -> Problem {
    at(line, format!("item {id} stands on line {first} already"))
}

/// Reads JSON lines, as an export writes them: of each `id` and `item` count.
///
/// # Errors
///
/// Everything that is wrong, each with its line.
pub fn read_lines(bytes: &[u8]) -> Result<Sheet, Vec<Problem>> {
    let text = plain_text(bytes).map_err(|problem| vec![problem])?;
    let marked = bytes.starts_with(b"\xEF\xBB\xBF");
    let (mut whole, mut problems, mut lines) = (Vec::new(), Vec::new(), HashMap::new());
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let read = json::read(text.as_bytes()).map_err(|error| error.to_string());
        let read = read.and_then(|value| match value.is_object() {
            true => ExportedLine::deserialize(value).map_err(|error| error.to_string()),
            false => Err("it is no object".to_owned()),
        });
        match read {
            Err(why) => problems.push(at(line, format!("it is no exported item, with `id` and `item`: {why}"))),
            Ok(ExportedLine { id, item }) => match lines.insert(id, line) {
                Some(first) => problems.push(twice(line, id, first)),
                None => whole.push(Whole { line, id, item: item.unwrap_or_default() }),
            },
        }
    }
    let sheet = Sheet { whole, marked, ..Sheet::default() };
    if problems.is_empty() { Ok(sheet) } else { Err(problems) }
}

fn plain_text(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(at(1, "the file is in UTF-16; save it as `CSV UTF-8`"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        at(
            line as u64,
            "the file is not in UTF-8: the spreadsheet saved it in another encoding; save it as `CSV UTF-8`",
        )
    })
}

fn header_problem(columns: &[String], delimiter: u8) -> Option<Problem> {
    if columns.is_empty() {
        return Some(at(1, "the file is empty"));
    }
    let joined = columns.join("\u{1f}");
    for (other, shown) in [(b';', "';'"), (b',', "','"), (b'\t', "'\\t'")] {
        if other != delimiter && joined.contains(&format!("{ID}{}", char::from(other))) {
            let found = char::from(delimiter);
            return Some(at(
                1,
                format!(
                    "the columns are not separated by `{found}`; say `--delimiter {shown}`, or save the file with `{found}`"
                ),
            ));
        }
    }
    if columns[0].starts_with("sep=") {
        return Some(at(1, "`sep=` is a spreadsheet's own line; delete it"));
    }
    if !columns.iter().any(|column| column == ID) {
        return Some(at(1, format!("there is no column `{ID}`, by which the rows are matched; export again")));
    }
    let twice = columns.iter().enumerate().find(|(at, column)| columns[..*at].contains(column));
    twice.map(|(_, column)| at(1, format!("the column `{column}` is there twice")))
}

fn one_row(record: &csv::StringRecord, line: u64, width: usize, place: usize, delimiter: u8) -> Result<Row, Problem> {
    if record.len() != width {
        let delimiter = char::from(delimiter);
        let message = format!(
            "the row has {} fields, the header has {width}; a `{delimiter}` inside a field needs quotes around it",
            record.len()
        );
        return Err(at(line, message));
    }
    let cells: Vec<String> = record.iter().map(str::to_owned).collect();
    let id = cells[place].trim().parse().map_err(|_| {
        at(
            line,
            format!(
                "`{}` is not the number of a quarantined item, as `{ID}` had it when it was exported",
                cells[place]
            ),
        )
    })?;
    Ok(Row { line, id, cells })
}

/// The result of comparing a table with its items.
#[derive(Debug, Default, PartialEq)]
pub struct Mended {
    /// The replacement for each item that was changed.
    pub changed: BTreeMap<i64, Value>,
    /// The items that were not changed, as they are.
    pub unchanged: BTreeMap<i64, Value>,
}

/// Compares a table with the items as they are. `columns` are those of an export; `source` those of the source itself,
/// which every item that could be read has.
///
/// # Errors
///
/// Everything that is wrong, each with its line.
pub fn mended(
    sheet: &Sheet,
    known: &HashMap<i64, QuarantineView>,
    columns: &[String],
    source: &[String],
) -> Result<Mended, Vec<Problem>> {
    let mut problems = if sheet.columns.is_empty() { Vec::new() } else { column_problems(&sheet.columns, columns) };
    let mut mended = Mended::default();
    if !problems.is_empty() {
        return Err(problems);
    }
    for row in &sheet.rows {
        match open(known, row.line, row.id)
            .and_then(|item| Ok((item, object(row, &sheet.columns, &item.item, source)?)))
        {
            Err(problem) => problems.push(problem),
            Ok((_, Some(object))) => drop(mended.changed.insert(row.id, Value::Object(object))),
            Ok((item, None)) => drop(mended.unchanged.insert(row.id, item.item.clone())),
        }
    }
    for Whole { line, id, item } in &sheet.whole {
        match open(known, *line, *id) {
            Err(problem) => problems.push(problem),
            Ok(before) if before.item == *item => drop(mended.unchanged.insert(*id, item.clone())),
            Ok(_) => drop(mended.changed.insert(*id, item.clone())),
        }
    }
    if problems.is_empty() { Ok(mended) } else { Err(problems) }
}

/// The item of a row, as long as it can be redriven.
fn open(known: &HashMap<i64, QuarantineView>, line: u64, id: i64) -> Result<&QuarantineView, Problem> {
    let missing = || at(line, format!("there is no item {id} in the quarantine of this batch"));
    let item = known.get(&id).ok_or_else(missing)?;
    match item.state.as_str() {
        "open" => Ok(item),
        _ => Err(at(line, format!("item {id} has been redriven already; delete the line"))),
    }
}

fn column_problems(found: &[String], columns: &[String]) -> Vec<Problem> {
    let known = || columns.iter().map(String::as_str);
    let mut problems = Vec::new();
    for column in found.iter().filter(|column| !ABOUT.contains(&column.as_str()) && !columns.contains(column)) {
        let hint = suggest(column, known()).map(|hint| format!(" ({hint})")).unwrap_or_default();
        let message = format!("no item of this batch has a field `{column}`{hint}; columns cannot be renamed or added");
        problems.push(at(1, message));
    }
    for column in columns.iter().filter(|column| !found.contains(column)) {
        problems.push(at(1, format!("the column `{column}` is missing; columns cannot be removed")));
    }
    problems
}

/// The item that a row turns another into; `None` when it is the same.
fn object(
    row: &Row,
    columns: &[String],
    item: &Value,
    source: &[String],
) -> Result<Option<Map<String, Value>>, Problem> {
    let old = item.as_object();
    let mut new = old.cloned().unwrap_or_default();
    let mut changed = false;
    for (column, text) in columns.iter().zip(&row.cells).filter(|(column, _)| !ABOUT.contains(&column.as_str())) {
        let before = old.and_then(|old| old.get(column));
        // Formulas were escaped when the table was exported, or kept if that was asked for.
        let before_text = cell(before);
        if before_text == unescape(text) || before_text == *text {
            continue;
        }
        let text = unescape(text);
        changed = true;
        let after = value(before, text).map_err(|why| at(row.line, format!("column `{column}`: {why}")))?;
        new.insert(column.clone(), after);
    }
    if !changed {
        return Ok(None);
    }
    if old.is_none() {
        // An item that could not be read has no fields; once it is patched it has those of its source, as every row
        // does.
        let mut whole: Map<String, Value> =
            source.iter().map(|column| (column.clone(), Value::String(String::new()))).collect();
        whole.extend(new);
        new = whole;
    }
    Ok(Some(new))
}

/// The meaning of a changed cell, by the value that stood there before.
fn value(before: Option<&Value>, text: &str) -> Result<Value, String> {
    let kind = match before {
        None | Some(Value::String(_)) => return Ok(Value::String(text.to_owned())),
        Some(Value::Null) => {
            return Ok(json::read(text.as_bytes()).unwrap_or_else(|_| Value::String(text.to_owned())));
        }
        Some(Value::Number(_)) => "a number",
        Some(Value::Bool(_)) => "true or false",
        Some(Value::Array(_)) => "a JSON list",
        Some(Value::Object(_)) => "a JSON object",
    };
    json::read(text.as_bytes()).map_err(|_| {
        format!("`{text}` cannot stand where the item had {kind}; write {kind}, or a text in double quotes, or null")
    })
}

#[cfg(test)]
mod tests {
    use gristmill_core::formula::Formulas;
    use gristmill_core::id::BatchId;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::quarantine_table::{columns, row};

    fn item(id: i64, item: Value) -> QuarantineView {
        QuarantineView {
            id,
            batch: BatchId(Uuid::nil()),
            seq: 0,
            generation: 0,
            position: 5,
            line: Some(7),
            stage: "parse".to_owned(),
            reason: "no number, \"x\"".to_owned(),
            item,
            state: "open".to_owned(),
            created_at: gristmill_core::Instant::UNIX_EPOCH,
        }
    }

    fn known(items: &[QuarantineView]) -> HashMap<i64, QuarantineView> {
        items.iter().map(|item| (item.id, item.clone())).collect()
    }

    fn exported(items: &[QuarantineView], columns: &[String], delimiter: u8) -> String {
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
        writer.write_record(ABOUT.iter().copied().chain(columns.iter().map(String::as_str))).expect("written");
        for item in items {
            writer.write_record(row(item, columns)).expect("written");
        }
        String::from_utf8(writer.into_inner().expect("flushed")).expect("UTF-8")
    }

    fn said(problems: &[Problem]) -> String {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn lines_come_back_by_their_numbers_and_everything_wrong_is_named() {
        let items = [item(1, json!({ "a": "x" })), item(2, json!("raw")), item(3, json!({ "n": 1.50 }))];
        let text = "\u{feff}{\"id\":1,\"item\":{\"a\":\"y\"},\"reason\":\"no\"}\n\n{\"id\":2,\"item\":\"raw\"}\n{\"id\":3,\"item\":{\"n\":1.50}}";
        let sheet = read_lines(text.as_bytes()).expect("readable");
        assert!(sheet.marked && sheet.ids().eq([(1, 1), (3, 2), (4, 3)]));
        let found = mended(&sheet, &known(&items), &[], &[]).expect("fine");
        assert_eq!((found.changed, found.unchanged.len()), (BTreeMap::from([(1, json!({ "a": "y" }))]), 2));
        let wrong =
            "{\"id\":1,\"item\":1}\n{\"id\":\n{\"item\":1}\n[]\n{\"id\":1,\"item\":2}\n{\"id\":9e999,\"item\":1}";
        let problems = read_lines(wrong.as_bytes()).expect_err("refused");
        assert_eq!(
            problems.iter().map(|problem| problem.line).collect::<Vec<_>>(),
            [2, 3, 4, 5, 6].map(Some),
            "{problems:?}"
        );
        let strange = read_lines(b"{\"id\":7,\"item\":1}").expect("readable");
        assert!(
            said(&mended(&strange, &known(&items), &[], &[]).expect_err("refused"))
                .starts_with("line 1: there is no item 7")
        );
    }

    fn wrong(text: &str) -> String {
        said(&read(text.as_bytes(), b',').expect_err("refused"))
    }

    #[test]
    fn what_was_not_touched_comes_back_as_it_was() {
        let items = [
            item(1, json!({ "a": "x,\n\"y\"", "n": 1.50, "z": null, "l": [1, "b"], "e": "" })),
            item(2, json!({ "a": "z" })),
            item(3, json!("a raw line")),
        ];
        let columns = columns(&[], items.iter().map(|item| &item.item)).expect("columns");
        assert_eq!(columns, ["a", "n", "z", "l", "e"]);
        let sheet = read(exported(&items, &columns, b',').as_bytes(), b',').expect("readable");
        let mended = mended(&sheet, &known(&items), &columns, &[]).expect("fine");
        assert_eq!((mended.changed.len(), mended.unchanged.len()), (0, 3));
    }

    #[test]
    fn formulas_come_back_as_they_were_whether_they_were_escaped_or_not() {
        let items = [item(1, json!({ "=a": "=1+1", "b": "'=x", "c": "-5" })), item(2, json!({ "c": "x" }))];
        let columns = columns(&[], items.iter().map(|item| &item.item)).expect("columns");
        for formulas in [Formulas::Escape, Formulas::Keep] {
            let mut writer = csv::Writer::from_writer(Vec::new());
            let header = ABOUT.iter().copied().chain(columns.iter().map(String::as_str));
            let rows = items.iter().map(|item| row(item, &columns));
            for cells in std::iter::once(header.map(str::to_owned).collect()).chain(rows) {
                writer
                    .write_record(cells.iter().map(|cell: &String| formulas.cell(cell).into_owned()))
                    .expect("written");
            }
            let text = String::from_utf8(writer.into_inner().expect("flushed")).expect("UTF-8");
            let same = mended(&read(text.as_bytes(), b',').expect("readable"), &known(&items), &columns, &[]);
            assert_eq!(same.expect("fine").changed.len(), 0, "{text}");
            let text = text.replace(",-5\n", ",'=2\n");
            let other = mended(&read(text.as_bytes(), b',').expect("readable"), &known(&items), &columns, &[]);
            assert_eq!(other.expect("fine").changed[&1]["c"], "=2");
        }
    }

    #[test]
    fn a_changed_cell_has_the_type_that_stood_there() {
        let items = [item(1, json!({ "a": "1", "n": 1, "b": true }))];
        let columns = ["a", "n", "b"].map(str::to_owned);
        let text = exported(&items, &columns, b',').replace("1,1,true", "2,3,false");
        let sheet = read(text.as_bytes(), b',').expect("readable");
        let mended = mended(&sheet, &known(&items), &columns, &[]).expect("fine");
        assert_eq!(mended.changed[&1], json!({ "a": "2", "n": 3, "b": false }));
        let text = text.replace("2,3,false", "2,three,false");
        let sheet = read(text.as_bytes(), b',').expect("readable");
        let problems = super::mended(&sheet, &known(&items), &columns, &[]).expect_err("refused");
        assert!(said(&problems).starts_with("line 2: column `n`: `three`"), "{problems:?}");
    }

    #[test]
    fn what_could_not_be_read_is_mended_by_filling_its_fields() {
        let items = [item(1, json!("x;y"))];
        let source = ["a", "b"].map(str::to_owned);
        let text = exported(&items, &source, b',').replace("x;y,,", "x;y,new,");
        let sheet = read(text.as_bytes(), b',').expect("readable");
        let mended = mended(&sheet, &known(&items), &source, &source).expect("fine");
        assert_eq!(mended.changed[&1], json!({ "a": "new", "b": "" }));
    }

    #[test]
    fn a_byte_order_mark_is_taken_off_and_other_encodings_are_named() {
        assert!(read("\u{feff}quarantine_id,a\n1,x\n".as_bytes(), b',').expect("readable").marked);
        let utf16: Vec<u8> = "\u{feff}quarantine_id".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(said(&read(&utf16, b',').expect_err("refused")).contains("UTF-16"));
        assert!(said(&read(b"quarantine_id,a\n1,caf\xe9\n", b',').expect_err("refused")).starts_with("line 2: "));
    }

    #[test]
    fn what_a_spreadsheet_does_to_a_table_is_named_with_its_line() {
        assert!(wrong("quarantine_id;a\n1;x\n").contains("--delimiter ';'"));
        assert!(wrong("quarantine_id\ta\n1\tx\n").contains("--delimiter '\\t'"));
        assert!(wrong("sep=,\nquarantine_id,a\n").contains("sep="));
        assert!(wrong("").contains("empty"));
        assert!(wrong("id,a\n1,x\n").contains("no column `quarantine_id`"));
        assert!(wrong("quarantine_id,a,a\n1,x,y\n").contains("`a` is there twice"));
        let problems = wrong("quarantine_id,a\n1,x\n1.2E+03,y\n2,x,y\n1,again\n");
        assert_eq!(
            problems.lines().map(|line| &line[..8]).collect::<Vec<_>>(),
            ["line 3: ", "line 4: ", "line 5: "],
            "{problems}"
        );
        assert!(problems.contains("item 1 stands on line 2 already"), "{problems}");
    }

    #[test]
    fn columns_and_items_that_do_not_belong_here_are_named() {
        let mut redriven = item(2, json!({ "Quantity": "x" }));
        redriven.state = "redriven".to_owned();
        let items = [item(1, json!({ "Quantity": "x" })), redriven];
        let columns = ["Quantity".to_owned()];
        let problems = |text: &str| {
            let sheet = read(text.as_bytes(), b',').expect("readable");
            said(&mended(&sheet, &known(&items), &columns, &[]).expect_err("refused"))
        };
        let renamed = problems("quarantine_id,Quantty\n1,x\n");
        assert!(renamed.contains("did you mean `Quantity`?") && renamed.contains("`Quantity` is missing"), "{renamed}");
        let strange = problems("quarantine_id,Quantity\n2,x\n9,y\n");
        assert!(strange.contains("line 2: item 2 has been redriven already"), "{strange}");
        assert!(strange.contains("line 3: there is no item 9"), "{strange}");
    }

    #[test]
    fn a_field_with_one_of_our_names_is_refused() {
        let items = [json!({ "quarantine_id": 1 })];
        assert!(columns(&[], items.iter()).expect_err("refused").contains("JSON lines"));
    }
}
