//! A batch's result as tables: for people, spreadsheets and mails.
//!
//! Everything is told from the result alone, so that it can be shown where the definition is not at hand.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::aggregate::Number;
use crate::formula;

/// The name of the table of all measures that have just one value; followed by a number where a measure with a table of its
/// own is called so.
pub const FIGURES: &str = "figures";

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultTable {
    /// The measure that it is of, or [`FIGURES`].
    pub name: String,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its rows, each with a cell for each column.
    pub rows: Vec<Vec<Value>>,
}

/// All tables of a result: first the measures that have just one value, then one for each of the others.
pub fn tables(result: &Value) -> Vec<ResultTable> {
    let measures = || result.as_object().into_iter().flatten();
    let rows: Vec<Vec<Value>> = measures()
        .filter(|(_, value)| is_cell(value))
        .map(|(name, value)| vec![name.clone().into(), value.clone()])
        .collect();
    let others: Vec<ResultTable> =
        measures().filter(|(_, value)| !is_cell(value)).map(|(name, value)| table(name, value)).collect();
    let name = free(FIGURES, |name| others.iter().any(|table| table.name == name));
    let columns = ["measure", "value"].map(str::to_owned).to_vec();
    let figures = (!rows.is_empty()).then_some(ResultTable { name, columns, rows });
    figures.into_iter().chain(others).collect()
}

/// The name, or with the first number behind it that makes it another than those that are taken.
fn free(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2_u32..).map(|number| format!("{name} {number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

/// Whether a value is one cell: an estimate and a number that is not known are objects, too.
pub fn is_cell(value: &Value) -> bool {
    match value {
        Value::Object(object) => note(object).is_some(),
        Value::Array(_) => false,
        _ => true,
    }
}

/// What an estimate says.
fn note(object: &Map<String, Value>) -> Option<String> {
    match object.iter().next() {
        Some((word, value)) if object.len() == 1 && !value.is_object() => match word.as_str() {
            "about" => Some(format!("about {}", cell(value))),
            "more_than" => Some(format!("more than {}", cell(value))),
            _ => None,
        },
        _ => None,
    }
}

fn table(name: &str, value: &Value) -> ResultTable {
    let mut made = Rows::default();
    match value {
        Value::Array(items) => items.iter().for_each(|item| made.add(&[], item)),
        _ => made.descend(value, &mut Vec::new()),
    }
    made.table(name)
}

/// Rows in the making.
#[derive(Default)]
struct Rows {
    /// How many keys a row has at most. They have no names here.
    depth: usize,
    /// The names of the fields.
    fields: Vec<String>,
    /// The place of each name.
    places: HashMap<String, usize>,
    /// The keys and the fields of each row.
    rows: Vec<(Vec<Value>, Vec<Value>)>,
}

impl Rows {
    /// Groups within groups, down to the ones with values in them.
    fn descend(&mut self, value: &Value, above: &mut Vec<Value>) {
        let Value::Object(groups) = value else { return };
        for (key, value) in groups {
            above.push(key.clone().into());
            match value {
                Value::Object(inner) if !is_cell(value) && inner.values().all(is_cell) => self.add(above, value),
                Value::Object(_) if !is_cell(value) => self.descend(value, above),
                value => self.add(above, value),
            }
            above.pop();
        }
    }

    /// Adds a row: the keys of its group, and its fields or its only value.
    fn add(&mut self, above: &[Value], item: &Value) {
        let plain;
        let fields = match item {
            Value::Object(fields) if !is_cell(item) => fields,
            value => {
                plain = Map::from_iter([("value".to_owned(), value.clone())]);
                &plain
            }
        };
        let mut row = vec![Value::Null; self.fields.len()];
        for (name, value) in fields {
            let place = self.places.get(name).copied().unwrap_or_else(|| {
                self.fields.push(name.clone());
                self.places.insert(name.clone(), self.fields.len() - 1);
                row.push(Value::Null);
                self.fields.len() - 1
            });
            row[place] = value.clone();
        }
        self.depth = self.depth.max(above.len());
        self.rows.push((above.to_vec(), row));
    }

    fn table(self, name: &str) -> ResultTable {
        let Self { depth, fields, places, rows } = self;
        let mut columns: Vec<String> = Vec::with_capacity(depth + fields.len());
        for _ in 0..depth {
            let key = free("group", |name| places.contains_key(name) || columns.iter().any(|column| column == name));
            columns.push(key);
        }
        columns.extend(fields);
        let rows = rows.into_iter().map(|(mut row, fields)| {
            row.resize(depth, Value::Null);
            row.extend(fields);
            row.resize(columns.len(), Value::Null);
            row
        });
        let rows = rows.collect();
        ResultTable { name: name.to_owned(), columns, rows }
    }
}

/// The text of a cell.
pub fn cell(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        Value::Object(object) => Cow::Owned(note(object).unwrap_or_else(|| value.to_string())),
        other => Cow::Owned(other.to_string()),
    }
}

impl ResultTable {
    /// As separated values. A cell that a spreadsheet would compute has a quote before it.
    pub fn csv(&self) -> String {
        let mut text = String::new();
        let mut line = |cells: Vec<Cow<'_, str>>| {
            let quoted: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
            text.push_str(&quoted.join(","));
            text.push('\n');
        };
        line(self.columns.iter().map(|name| Cow::Borrowed(name.as_str())).collect());
        self.rows.iter().for_each(|row| line(row.iter().map(cell).collect()));
        text
    }

    /// As a table in Markdown, with numbers to the right.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let marks = (0..self.columns.len()).map(|place| if self.is_numeric(place) { "---:" } else { "---" }.to_owned());
        let mut text = line(self.columns.iter().map(|name| markdown_text(name)).collect()) + &line(marks.collect());
        for row in &self.rows {
            text.push_str(&line(row.iter().map(|value| markdown_text(&cell(value))).collect()));
        }
        text
    }

    /// Whether a column has numbers only.
    pub fn is_numeric(&self, place: usize) -> bool {
        let number = |value: &Value| match value {
            Value::Null | Value::Number(_) => true,
            Value::String(text) => Number::of_text(text).is_some(),
            Value::Object(object) => note(object).is_some(),
            _ => false,
        };
        let mut cells = self.rows.iter().filter_map(|row| row.get(place));
        cells.clone().any(|value| !value.is_null()) && cells.all(number)
    }
}

fn csv_cell(text: &str) -> String {
    let text = formula::escape(text);
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into_owned() }
}

/// A text that Markdown shows as it is, in one line: nothing in it becomes a link, an image, mark-up, HTML or another cell.
pub fn markdown_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut before = None;
    for (at, sign) in text.char_indices() {
        let rest = &text[at + sign.len_utf8()..];
        match sign {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '\n' | '\r' => shown.push(' '),
            sign => {
                if is_markup(before, sign, rest) {
                    shown.push('\\');
                }
                shown.push(sign);
            }
        }
        before = Some(sign);
    }
    shown
}

/// Whether a sign means something there. An address becomes a link where it begins, and an underscore within a word nothing.
fn is_markup(before: Option<char>, sign: char, rest: &str) -> bool {
    let inside = |sign: Option<char>| sign.is_some_and(char::is_alphanumeric);
    match sign {
        '\\' | '|' | '`' | '*' | '[' | ']' | '~' | '$' => true,
        '!' => rest.starts_with('['),
        '_' => !(inside(before) && inside(rest.chars().next())),
        ':' => rest.starts_with("//"),
        '.' => matches!(before, Some('w' | 'W')),
        '#' | '+' | '-' => before.is_none() && rest.starts_with(' '),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result() -> Value {
        json!({
            "rows": 6, "revenue": "9.45", "kinds": { "about": 123_000 }, "ids": { "more_than": 100_000 },
            "by_country": { "UK": "5", "France": "4.45" },
            "best": [{ "value": "x", "count": 3 }],
            "table": [
                { "country": "UK", "month": null, "n": 2, "sum": "-5" },
                { "country": "a|b, \"c\"", "month": "=1+1", "n": 4, "sum": { "about": "14.45" } },
            ],
            "nested": { "UK": { "01": { "n": 1, "s": "2" }, "02": { "n": 3, "s": "4" } } },
            "none": [],
        })
    }

    fn one(name: &str) -> ResultTable {
        tables(&result()).into_iter().find(|table| table.name == name).expect(name)
    }

    #[test]
    fn every_form_of_a_measure_is_a_table() {
        let names: Vec<_> = tables(&result()).into_iter().map(|table| table.name).collect();
        assert_eq!(names, ["figures", "by_country", "best", "table", "nested", "none"]);
        assert_eq!(
            one("figures").csv(),
            "measure,value\nrows,6\nrevenue,9.45\nkinds,about 123000\nids,more than 100000\n"
        );
        assert_eq!(one("by_country").csv(), "group,value\nUK,5\nFrance,4.45\n");
        assert_eq!(one("best").csv(), "value,count\nx,3\n");
        assert_eq!(one("nested").csv(), "group,group 2,n,s\nUK,01,1,2\nUK,02,3,4\n");
        assert_eq!((one("none").rows.len(), one("none").columns.len()), (0, 0));
    }

    #[test]
    fn no_cell_breaks_its_table_or_is_computed() {
        assert_eq!(one("table").csv(), "country,month,n,sum\nUK,,2,-5\n\"a|b, \"\"c\"\"\",'=1+1,4,about 14.45\n");
        assert_eq!(
            one("table").markdown(),
            "| country | month | n | sum |\n| --- | --- | ---: | ---: |\n| UK |  | 2 | -5 |\n| a\\|b, \"c\" | =1+1 | 4 | about 14.45 |\n"
        );
    }

    #[test]
    fn markdown_makes_nothing_of_a_cell_but_its_text() {
        for (text, shown) in [
            ("[pay](https://example.com/x)", "\\[pay\\](https\\://example.com/x)"),
            ("![](http://example.com/i.png)", "\\!\\[\\](http\\://example.com/i.png)"),
            ("www.example.com", "www\\.example.com"),
            ("<a href=x>&lt;</a>", "&lt;a href=x&gt;&amp;lt;&lt;/a&gt;"),
            ("a|b\\|c\r\nd", "a\\|b\\\\\\|c  d"),
            ("**x** `y` ~z~ _q_ country_code", "\\*\\*x\\*\\* \\`y\\` \\~z\\~ \\_q\\_ country_code"),
            ("-5", "-5"),
            ("12.50", "12.50"),
            ("# x", "\\# x"),
        ] {
            assert_eq!(markdown_text(text), shown, "{text}");
        }
    }
    #[test]
    fn no_name_of_a_measure_or_a_group_hides_another() {
        let all = tables(&json!({
            "figures": { "a": 1, "b": 2 },
            "rows": 3,
            "deep": { "UK": { "01": { "group": 5, "group 2": 6, "n": 7 } } },
        }));
        let names: Vec<_> = all.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["figures 2", "figures", "deep"]);
        assert_eq!(all[2].csv(), "group 3,group 4,group,group 2,n\nUK,01,5,6,7\n");
    }
}
