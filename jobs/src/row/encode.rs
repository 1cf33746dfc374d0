//! Rows as they are written: a line of JSON, or of separated values.

use gristmill_core::aggregate::Datum;
use gristmill_core::formula::Formulas;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::sink::{self, Encoding};

/// Writes the rows of a part, one after the other.
#[derive(Debug)]
pub(super) struct Encoder {
    form: Form,
    /// The places of the fields that are written, in their order.
    fields: Vec<usize>,
}

#[derive(Debug)]
enum Form {
    /// Before each value what stands before it: `{"a":` and `,"b":`.
    JsonLines(Vec<Vec<u8>>),
    Csv(Vec<String>, Formulas),
}

impl Encoder {
    /// An encoder of fields with these names and places. `None` when not all columns of the output are among them.
    pub(super) fn new(encoding: &Encoding, fields: &[(String, usize)]) -> Option<Self> {
        match encoding {
            Encoding::JsonLines => {
                let before = fields.iter().enumerate().map(|(number, (name, _))| {
                    let mark = if number == 0 { '{' } else { ',' };
                    format!("{mark}{}:", Value::from(name.as_str())).into_bytes()
                });
                let form = Form::JsonLines(before.collect());
                Some(Self { form, fields: fields.iter().map(|(_, place)| *place).collect() })
            }
            Encoding::Csv(columns, formulas) => {
                let place = |column: &String| fields.iter().find(|(name, _)| name == column).map(|(_, place)| *place);
                let places = columns.iter().map(place).collect::<Option<_>>()?;
                Some(Self { form: Form::Csv(columns.clone(), *formulas), fields: places })
            }
        }
    }

    /// Begins a part.
    pub(super) fn begin(&self) -> Writing<'_> {
        let output = match &self.form {
            Form::JsonLines(_) => Output::Json(Vec::new()),
            Form::Csv(..) => Output::Csv(Box::new(csv::Writer::from_writer(Vec::new()))),
        };
        Writing { encoder: self, output }
    }

    /// What stands before all rows of an output.
    ///
    /// # Errors
    ///
    /// What the writer of separated values said.
    pub(super) fn header(&self) -> Result<Vec<u8>, String> {
        let Form::Csv(columns, formulas) = &self.form else { return Ok(Vec::new()) };
        sink::csv_header(columns, *formulas)
    }
}

/// Rows on their way into bytes.
#[derive(Debug)]
pub(super) struct Writing<'e> {
    encoder: &'e Encoder,
    output: Output,
}

#[derive(Debug)]
enum Output {
    Json(Vec<u8>),
    Csv(Box<csv::Writer<Vec<u8>>>),
}

impl Writing<'_> {
    /// Appends a row. What separated values cannot be written as shows when they are finished.
    pub(super) fn row(&mut self, row: &[Datum<'_>]) {
        let fields = &self.encoder.fields;
        match (&mut self.output, &self.encoder.form) {
            (Output::Csv(writer), Form::Csv(_, formulas)) => {
                // Memory does not fail, and each row has all columns.
                let _ = writer.write_record(fields.iter().map(|place| cell(&row[*place], *formulas).into_owned()));
            }
            (Output::Json(bytes), Form::JsonLines(before)) => {
                for (before, place) in before.iter().zip(fields) {
                    bytes.extend_from_slice(before);
                    json(&row[*place], bytes);
                }
                bytes.extend_from_slice(if fields.is_empty() { b"{}\n" } else { b"}\n" });
            }
            _ => {}
        }
    }

    /// Appends an item that went the long way.
    ///
    /// # Errors
    ///
    /// What the writer said.
    pub(super) fn item(&mut self, item: &Value) -> Result<(), String> {
        match (&mut self.output, &self.encoder.form) {
            (Output::Csv(writer), Form::Csv(columns, formulas)) => sink::csv_item(writer, columns, *formulas, item),
            (Output::Json(bytes), _) => sink::json_line(item, bytes),
            _ => Ok(()),
        }
    }

    /// The bytes of all rows.
    ///
    /// # Errors
    ///
    /// What the writer said.
    pub(super) fn finish(self) -> Result<Vec<u8>, String> {
        match self.output {
            Output::Json(bytes) => Ok(bytes),
            Output::Csv(writer) => writer.into_inner().map_err(|error| error.to_string()),
        }
    }
}

fn json(datum: &Datum<'_>, bytes: &mut Vec<u8>) {
    match datum {
        Datum::Null => bytes.extend_from_slice(b"null"),
        Datum::Bool(true) => bytes.extend_from_slice(b"true"),
        Datum::Bool(false) => bytes.extend_from_slice(b"false"),
        Datum::Int(number) => bytes.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Datum::Decimal(number) => {
            bytes.push(b'"');
            decimal(number, bytes);
            bytes.push(b'"');
        }
        Datum::Text(text) => sink::json_text(text, bytes),
    }
}

/// As [`Decimal`] shows itself.
fn decimal(number: &Decimal, bytes: &mut Vec<u8>) {
    let (mut buffer, scale) = (itoa::Buffer::new(), number.scale() as usize);
    let digits = buffer.format(number.mantissa().unsigned_abs());
    if number.mantissa() < 0 {
        bytes.push(b'-');
    }
    let whole = digits.len().saturating_sub(scale);
    bytes.extend_from_slice(if whole == 0 { b"0" } else { &digits.as_bytes()[..whole] });
    if scale > 0 {
        bytes.push(b'.');
        bytes.extend(std::iter::repeat_n(b'0', scale.saturating_sub(digits.len())));
        bytes.extend_from_slice(&digits.as_bytes()[whole..]);
    }
}

fn cell<'d>(datum: &'d Datum<'_>, formulas: Formulas) -> std::borrow::Cow<'d, str> {
    match datum {
        Datum::Null => "".into(),
        Datum::Bool(truth) => if *truth { "true" } else { "false" }.into(),
        Datum::Int(number) => number.to_string().into(),
        Datum::Decimal(number) => formulas.cell(&number.to_string()).into_owned().into(),
        Datum::Text(text) => formulas.cell(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_written_as_it_shows_itself() {
        for text in
            ["0", "-1", "0.5", "-0.005", "12.34", "79228162514264337593543950335", "0.0000000000000000000000000001"]
        {
            let mut bytes = Vec::new();
            let number = gristmill_core::aggregate::decimal_text(text).expect(text);
            decimal(&number, &mut bytes);
            assert_eq!((String::from_utf8_lossy(&bytes).as_ref(), number.to_string().as_str()), (text, text));
        }
    }
}
