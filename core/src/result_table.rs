//! A batch's result as tables: for people, spreadsheets and mails.
//!
//! Everything is told from the result alone, so that it can be shown where the definition is not at hand.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::aggregate::Number;
use crate::formula;

/// The name of the table of all measures that have just one value.
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
    let figures: Vec<Vec<Value>> = measures()
        .filter(|(_, value)| is_cell(value))
        .map(|(name, value)| vec![name.clone().into(), value.clone()])
        .collect();
    let columns = ["measure", "value"].map(str::to_owned).to_vec();
    let figures = (!figures.is_empty()).then(|| ResultTable { name: FIGURES.to_owned(), columns, rows: figures });
    let others = measures().filter(|(_, value)| !is_cell(value)).map(|(name, value)| table(name, value));
    figures.into_iter().chain(others).collect()
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
    let mut columns: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    match value {
        Value::Array(items) => {
            for item in items {
                add_row(&mut columns, &mut rows, item, Vec::new());
            }
        }
        _ => descend(value, &mut Vec::new(), &mut columns, &mut rows),
    }
    for row in &mut rows {
        row.resize(columns.len(), Value::Null);
    }
    ResultTable { name: name.to_owned(), columns, rows }
}

/// Groups within groups, down to the ones with values in them.
fn descend(value: &Value, above: &mut Vec<Value>, columns: &mut Vec<String>, rows: &mut Vec<Vec<Value>>) {
    let Value::Object(groups) = value else { return };
    for (key, value) in groups {
        above.push(key.clone().into());
        match value {
            Value::Object(inner) if !is_cell(value) && inner.values().all(is_cell) => {
                add_row(columns, rows, value, above.clone());
            }
            Value::Object(_) if !is_cell(value) => descend(value, above, columns, rows),
            value => add_row(columns, rows, &json!({ "value": value }), above.clone()),
        }
        above.pop();
    }
}

/// Adds a row: the keys of its group, which have no names here, and its fields.
fn add_row(columns: &mut Vec<String>, rows: &mut Vec<Vec<Value>>, item: &Value, above: Vec<Value>) {
    let named = (0..above.len()).map(|at| if at == 0 { "group".to_owned() } else { format!("group {}", at + 1) });
    let keys = named.zip(above);
    let plain = Map::from_iter([("value".to_owned(), item.clone())]);
    let fields = item.as_object().unwrap_or(&plain).iter().map(|(name, value)| (name.clone(), value.clone()));
    let mut row = vec![Value::Null; columns.len()];
    for (name, value) in keys.chain(fields) {
        let place = columns.iter().position(|column| *column == name).unwrap_or_else(|| {
            columns.push(name);
            columns.len() - 1
        });
        row.resize(columns.len().max(row.len()), Value::Null);
        row[place] = value;
    }
    rows.push(row);
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
}
