//! Stage `parse`: texts become numbers, dates, money and truth values, and are checked against bounds.
//!
//! Decimals and money stay texts in canonical form (`1234.5`), because nearly every reader would parse a JSON number as
//! a binary one, and then a cent is a matter of luck.

mod bound;
mod date;
mod number;
mod quick;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use gristmill_core::aggregate::Datum;
use gristmill_core::definition::{ParseRule, ParseSpec, ParseType};
use serde_json::Value;

use self::bound::Bound;
use self::date::DateFormat;
use self::number::Notation;
use super::{Refusal, field, shown};

/// The rules for the fields of an item.
#[derive(Debug, Clone)]
pub struct Parse(Vec<Rule>);

/// The rule of one field.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    field: String,
    kind: ParseType,
    formats: Vec<DateFormat>,
    notation: Notation,
    optional: bool,
    bounds: Vec<Bound>,
}

/// What a text has become, while it can still be compared.
#[derive(Debug, Clone, PartialEq)]
enum Parsed {
    Text(String),
    Integer(i64),
    Decimal(rust_decimal::Decimal),
    Date(NaiveDate),
    Instant(DateTime<Utc>),
    Truth(bool),
}

impl Parse {
    /// Checks the rules.
    ///
    /// # Errors
    ///
    /// The field whose rule makes no sense, and what would.
    pub fn compile(specs: &BTreeMap<String, ParseSpec>) -> Result<Self, (String, String)> {
        let rules = specs
            .iter()
            .map(|(field, spec)| Rule::compile(field, &spec.rule()).map_err(|problem| (field.clone(), problem)));
        rules.collect::<Result<_, _>>().map(Self)
    }

    /// The rules, in their order.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.0
    }

    /// Parses the item's fields in place.
    ///
    /// # Errors
    ///
    /// The first field with an invalid value.
    pub fn apply(&self, item: &mut Value) -> Result<(), Refusal> {
        for rule in &self.0 {
            let parsed = rule
                .parse(field::get(item, &rule.field))
                .map_err(|problem| Refusal::new("parse", format!("`{}` {problem}", rule.field)))?;
            field::set(item, &rule.field, parsed.map_or(Value::Null, Parsed::into_json));
        }
        Ok(())
    }
}

impl Rule {
    fn compile(field: &str, rule: &ParseRule) -> Result<Self, String> {
        let mut compiled = Self {
            field: field.to_owned(),
            kind: rule.kind,
            formats: DateFormat::of(rule)?,
            notation: Notation::of(rule)?,
            optional: rule.optional,
            bounds: Vec::new(),
        };
        compiled.bounds = Bound::of(rule, |text| compiled.plain().value(text))?;
        Ok(compiled)
    }

    /// The same type in the notation of definitions: with a point, and dates by RFC 3339.
    fn plain(&self) -> Self {
        Self { formats: Vec::new(), notation: Notation::default(), bounds: Vec::new(), ..self.clone() }
    }

    /// Its field.
    pub(crate) fn field(&self) -> &str {
        &self.field
    }

    /// Whether the field may be missing.
    pub(crate) fn is_optional(&self) -> bool {
        self.optional
    }

    /// What a text becomes. `None`: it is refused.
    pub(crate) fn datum<'t>(&self, text: &'t str) -> Option<Datum<'t>> {
        let text = text.trim();
        if text.is_empty() {
            return self.optional.then_some(Datum::Null);
        }
        if self.kind == ParseType::Text {
            return Some(Datum::Text(text.into()));
        }
        let parsed = self.value(text)?;
        self.bounds.iter().all(|bound| bound.admits(&parsed)).then(|| parsed.into_datum())
    }

    /// What a whole number of JSON becomes. `None`: it is refused, or it is for [`apply`](Parse::apply) to say.
    pub(crate) fn datum_of_number<'t>(&self, number: i64) -> Option<Datum<'t>> {
        let parsed = match self.kind {
            ParseType::Integer => Parsed::Integer(number),
            ParseType::Decimal | ParseType::Money => Parsed::Decimal(number.into()),
            _ => return None,
        };
        self.bounds.iter().all(|bound| bound.admits(&parsed)).then(|| parsed.into_datum())
    }

    fn parse(&self, value: Option<&Value>) -> Result<Option<Parsed>, String> {
        let text = match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Bool(truth)) => truth.to_string(),
            Some(other) => return Err(format!("is {}; {}", shown(other), self.right())),
        };
        if text.is_empty() {
            let state = match value {
                None => "is missing",
                Some(Value::Null) => "is null",
                Some(_) => "is empty",
            };
            return if self.optional { Ok(None) } else { Err(format!("{state}; {}", self.right())) };
        }
        // A JSON number is written with a point, whatever the notation of the texts; of a time it is a text like others.
        let timely = matches!(self.kind, ParseType::Date | ParseType::Datetime);
        let parsed = match value {
            Some(Value::Number(_)) if !timely => self.plain().value(&text),
            _ => self.value(&text),
        };
        let parsed = parsed.ok_or_else(|| format!("is {}; {}", shown(&text.into()), self.right()))?;
        match self.bounds.iter().find(|bound| !bound.admits(&parsed)) {
            Some(bound) => Err(format!("is {}; it must be {bound}", parsed.shown())),
            None => Ok(Some(parsed)),
        }
    }

    fn value(&self, text: &str) -> Option<Parsed> {
        match self.kind {
            ParseType::Text => Some(Parsed::Text(text.to_owned())),
            ParseType::Integer => self.notation.integer(text).map(Parsed::Integer),
            ParseType::Decimal => self.notation.decimal(text).map(Parsed::Decimal),
            ParseType::Money => self.notation.money(text).map(Parsed::Decimal),
            ParseType::Date => self.date(text).map(Parsed::Date),
            ParseType::Datetime => self.instant(text).map(Parsed::Instant),
            ParseType::Boolean => truth(text).map(Parsed::Truth),
        }
    }

    fn date(&self, text: &str) -> Option<NaiveDate> {
        if self.formats.is_empty() {
            return date::date(text);
        }
        self.formats.iter().find_map(|format| format.date(text))
    }

    /// A format without an offset gives an instant in UTC.
    fn instant(&self, text: &str) -> Option<DateTime<Utc>> {
        if self.formats.is_empty() {
            return date::instant(text);
        }
        self.formats.iter().find_map(|format| format.instant(text))
    }

    /// What would be right, for messages.
    fn right(&self) -> String {
        let wanted = match self.kind {
            ParseType::Text => "a text that is not empty".to_owned(),
            ParseType::Integer => format!("a whole number such as {}", self.notation.example("1234", None)),
            ParseType::Decimal => format!("a decimal such as {}", self.notation.example("1234", Some("50"))),
            ParseType::Money => format!("an amount such as £{}", self.notation.example("1234", Some("50"))),
            ParseType::Date if self.formats.is_empty() => "a date such as 2026-01-31".to_owned(),
            ParseType::Datetime if self.formats.is_empty() => "an instant such as 2026-01-31T08:26:00Z".to_owned(),
            ParseType::Date | ParseType::Datetime => {
                let formats: Vec<&str> = self.formats.iter().map(DateFormat::text).collect();
                format!("a time by the format `{}`", formats.join("` or `"))
            }
            ParseType::Boolean => "one of true, false, yes, no, 1, 0".to_owned(),
        };
        format!("{wanted} is wanted")
    }
}

impl Parsed {
    fn into_json(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Integer(number) => number.into(),
            Self::Decimal(number) => number.to_string().into(),
            Self::Date(date) => quick::date_text(date).into(),
            Self::Instant(instant) => quick::instant_text(instant).into(),
            Self::Truth(truth) => truth.into(),
        }
    }

    fn into_datum<'t>(self) -> Datum<'t> {
        match self {
            Self::Text(text) => Datum::Text(text.into()),
            Self::Integer(number) => Datum::Int(number),
            Self::Decimal(number) => Datum::Decimal(number),
            Self::Truth(truth) => Datum::Bool(truth),
            Self::Date(_) | Self::Instant(_) => match self.into_json() {
                Value::String(text) => Datum::Text(text.into()),
                _ => Datum::Null,
            },
        }
    }

    fn shown(&self) -> String {
        shown(&self.clone().into_json())
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(rules: Value) -> Result<Parse, (String, String)> {
        Parse::compile(&serde_json::from_value(rules).expect("rules"))
    }

    fn parsed(rule: Value, value: Value) -> Result<Value, String> {
        let mut item = json!({ "f": value });
        compile(json!({ "f": rule })).expect("a good rule").apply(&mut item).map_err(|refusal| refusal.reason)?;
        Ok(item["f"].clone())
    }

    #[test]
    fn every_type_reads_what_people_write() {
        for (rule, value, right) in [
            (json!("text"), json!(" x "), json!("x")),
            (json!("integer"), json!(" -12 "), json!(-12)),
            (json!("integer"), json!(12), json!(12)),
            (json!({ "type": "integer", "thousands": "," }), json!("1,234,567"), json!(1_234_567)),
            (json!("decimal"), json!("2.550"), json!("2.55")),
            (json!("decimal"), json!(2.55), json!("2.55")),
            (json!("decimal"), json!("1.5E+3"), json!("1500")),
            (json!({ "type": "decimal", "decimal_point": ",", "thousands": "." }), json!("1.234,50"), json!("1234.5")),
            (json!({ "type": "decimal", "decimal_point": "," }), json!(2.5), json!("2.5")),
            (json!({ "type": "money", "thousands": "," }), json!("£1,234.50"), json!("1234.5")),
            (json!("money"), json!("-3.10 EUR"), json!("-3.1")),
            (json!("money"), json!("(3.10)"), json!("-3.1")),
            (json!("money"), json!("$ 7"), json!("7")),
            (json!("money"), json!("7 €"), json!("7")),
            (json!("money"), json!("(0.00)"), json!("0")),
            (json!("money"), json!("(£0)"), json!("0")),
            (json!("money"), json!("-0.00"), json!("0")),
            (json!("money"), json!("50¢"), json!("0.5")),
            (json!("money"), json!("-¢ 150"), json!("-1.5")),
            (json!("money"), json!("(99.5¢)"), json!("-0.995")),
            (json!("decimal"), json!("1.5e0"), json!("1.5")),
            (json!("decimal"), json!("79228162514264337593543950335e0"), json!("79228162514264337593543950335")),
            (json!({ "type": "datetime", "format": "%s" }), json!(1_767_225_600), json!("2026-01-01T00:00:00Z")),
            (json!("date"), json!("2026-01-31"), json!("2026-01-31")),
            (
                json!({ "type": "date", "format": ["%d.%m.%Y", "%d/%m/%Y %H:%M"] }),
                json!("1/12/2010 8:26"),
                json!("2010-12-01"),
            ),
            (json!("datetime"), json!("2026-01-31T08:26:00+02:00"), json!("2026-01-31T06:26:00Z")),
            (
                json!({ "type": "datetime", "format": "%d/%m/%Y %H:%M" }),
                json!("1/12/2010 8:26"),
                json!("2010-12-01T08:26:00Z"),
            ),
            (json!("boolean"), json!("Yes"), json!(true)),
            (json!("boolean"), json!(0), json!(false)),
            (json!({ "type": "integer", "optional": true }), json!(""), Value::Null),
        ] {
            assert_eq!(parsed(rule.clone(), value.clone()), Ok(right), "{rule} {value}");
        }
    }

    #[test]
    fn a_refusal_names_the_field_the_value_and_what_would_be_right() {
        for (rule, value, reason) in [
            (json!("integer"), json!("12.5"), "`f` is `12.5`; a whole number such as 1234 is wanted"),
            (json!("integer"), json!("1,234"), "`f` is `1,234`; a whole number such as 1234 is wanted"),
            (json!("integer"), json!(""), "`f` is empty; a whole number such as 1234 is wanted"),
            (
                json!({ "type": "decimal", "thousands": "," }),
                json!("1,5"),
                "`f` is `1,5`; a decimal such as 1,234.50 is wanted",
            ),
            (json!("money"), json!("ten"), "`f` is `ten`; an amount such as £1234.50 is wanted"),
            (json!("money"), json!("100 GBX"), "`f` is `100 GBX`; an amount such as £1234.50 is wanted"),
            (json!("money"), json!("$5¢"), "`f` is `$5¢`; an amount such as £1234.50 is wanted"),
            (
                json!("decimal"),
                json!("12345678901234567890123456789.5e0"),
                "`f` is `12345678901234567890123456789.5e0`; a decimal such as 1234.50 is wanted",
            ),
            (
                json!("decimal"),
                json!("0.00000000000000000000000000005e0"),
                "`f` is `0.00000000000000000000000000005e0`; a decimal such as 1234.50 is wanted",
            ),
            (json!("date"), json!("2026-02-30"), "`f` is `2026-02-30`; a date such as 2026-01-31 is wanted"),
            (
                json!({ "type": "date", "format": "%d/%m/%Y" }),
                json!("x"),
                "`f` is `x`; a time by the format `%d/%m/%Y` is wanted",
            ),
            (json!("boolean"), json!("maybe"), "`f` is `maybe`; one of true, false, yes, no, 1, 0 is wanted"),
            (json!("text"), json!(["x"]), "`f` is a list; a text that is not empty is wanted"),
            (json!({ "type": "decimal", "above": "0" }), json!("0.00"), "`f` is `0`; it must be above 0"),
            (
                json!({ "type": "date", "at_most": "2026-01-31" }),
                json!("2026-02-01"),
                "`f` is `2026-02-01`; it must be at most 2026-01-31",
            ),
        ] {
            assert_eq!(parsed(rule.clone(), value.clone()), Err(reason.to_owned()), "{rule} {value}");
        }
        let mut item = json!({});
        let missing = compile(json!({ "f": "integer" })).expect("good").apply(&mut item).expect_err("missing");
        assert_eq!(missing.reason, "`f` is missing; a whole number such as 1234 is wanted");
        let long = parsed(json!("integer"), json!("x".repeat(100))).expect_err("long");
        assert!(long.contains(&format!("`{}…`", "x".repeat(59))), "{long}");
    }

    #[test]
    fn every_bound_holds_at_its_edge() {
        for (bound, admitted, refused) in [("above", 6, 5), ("at_least", 5, 4), ("below", 4, 5), ("at_most", 5, 6)] {
            let rule = json!({ "type": "integer", bound: "5" });
            assert!(parsed(rule.clone(), json!(admitted)).is_ok(), "{bound}");
            assert!(parsed(rule, json!(refused)).is_err(), "{bound}");
        }
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused() {
        for (rule, expected) in [
            (json!({ "type": "integer", "format": "%d" }), "belongs to the types `date`"),
            (json!({ "type": "date", "format": "%Q" }), "is not a date format"),
            (json!({ "type": "text", "above": "a" }), "have no order"),
            (json!({ "type": "integer", "above": "many" }), "`above` is `many`"),
            (json!({ "type": "decimal", "thousands": "." }), "the same"),
            (json!({ "type": "decimal", "decimal_point": ".," }), "one character"),
            (json!({ "type": "date", "thousands": "," }), "belongs to the types"),
            (json!({ "type": "integer", "at_least": "5", "below": "5" }), "no value"),
        ] {
            let (field, problem) = compile(json!({ "f": rule })).expect_err("nonsense");
            assert!(field == "f" && problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn a_field_inside_another_is_found_and_put_back() {
        let mut item = json!({ "a": { "b": "7" }, "x.y": "8" });
        compile(json!({ "a.b": "integer", "x.y": "integer" })).expect("good").apply(&mut item).expect("numbers");
        assert_eq!(item, json!({ "a": { "b": 7 }, "x.y": 8 }));
    }
}
