//! A definition over files with these columns: which places a row has, and what is done at which of them.

use gristmill_core::aggregate::{Datum, Places};
use serde_json::{Map, Value};
use std::borrow::Cow;

use super::encode::Encoder;
use super::names::Names;
use super::program::{Program, Step};
use super::valid::Plainly;
use crate::jq::Tree;
use crate::pipeline::Stages;
use crate::stage::nulls::is_null;
use crate::stage::parse::Rule;

/// What is done to each row.
#[derive(Debug)]
pub(crate) struct RowPlan {
    columns: Vec<String>,
    places: usize,
    validate: Validation,
    /// The places whose texts are cleaned.
    cleaned: Vec<usize>,
    /// The places where some texts stand for null, and these texts.
    nulls: Vec<(usize, Vec<String>)>,
    /// For each rule of the stage `parse`, where its field is, and whether it comes from the file.
    pub(super) parsed: Vec<usize>,
    program: Program,
    pub(super) measured: Places,
    pub(super) encoder: Option<Encoder>,
}

#[derive(Debug)]
enum Validation {
    None,
    Plain(Plainly),
    /// By the schema itself.
    Schema,
}

/// What became of a row.
#[derive(Debug)]
pub(super) enum Verdict<'r> {
    Passed(Vec<Datum<'r>>),
    Skipped,
    /// It may be refused, or computed otherwise: the stages themselves decide.
    Doubt,
}

impl RowPlan {
    /// Plans the stages of a definition for rows with these columns. `None`: its items go through the stages as objects.
    pub(crate) fn of(stages: Stages<'_>, columns: &[String]) -> Option<Self> {
        let mut names = Names::of(columns);
        let validate = match stages.validate {
            None => Validation::None,
            Some(validate) => Plainly::of(validate.schema(), &names).map_or(Validation::Schema, Validation::Plain),
        };
        let cleaned = stages.sanitize.map(|sanitize| {
            let cleaned = names.iter().filter(|(name, _)| sanitize.cleans(name));
            cleaned.map(|(_, place)| place).collect()
        });
        let nulls = stages.nulls.map(|nulls| {
            let words = names.iter().map(|(name, place)| (place, nulls.of(name).to_vec()));
            words.filter(|(_, words)| !words.is_empty()).collect()
        });
        let mut parsed = Vec::new();
        for rule in stages.parse.rules() {
            if names.place(rule.field()).is_none() && (!rule.is_optional() || rule.field().contains('.')) {
                return None;
            }
            parsed.push(names.place_or_new(rule.field()));
        }
        let program = match stages.transform {
            None => Program::default(),
            Some(transform) => transform.with_term(|term| Program::compile(term, &mut names))??,
        };
        let fields = match stages.format {
            None => names.iter().map(|(name, place)| (name.to_owned(), place)).collect(),
            Some(format) => format.layout(names.iter())?,
        };
        Some(Self {
            columns: columns.to_vec(),
            places: names.places(),
            validate,
            cleaned: cleaned.unwrap_or_default(),
            nulls: nulls.unwrap_or_default(),
            parsed,
            program,
            measured: stages.aggregation.places(|field| names.place(field))?,
            encoder: match stages.encoding {
                None => None,
                Some(encoding) => Some(Encoder::new(encoding, &fields)?),
            },
        })
    }

    /// Whether rows can be planned for at all, whatever their columns: the program is one that is known here.
    pub(crate) fn may_be(stages: Stages<'_>) -> bool {
        let known = |term: &Tree<'_>| Program::compile(term, &mut Names::default()).is_some();
        stages.transform.is_none_or(|transform| transform.with_term(known) == Some(true))
    }

    /// Takes the fields of a row through all stages but the measures.
    pub(super) fn take<'r>(&'r self, stages: &Stages<'_>, mut row: Vec<Datum<'r>>) -> Verdict<'r> {
        if row.len() != self.columns.len() || !self.is_valid(stages, &row) {
            return Verdict::Doubt;
        }
        row.resize(self.places, Datum::Null);
        if let Some(sanitize) = stages.sanitize {
            for place in &self.cleaned {
                match &row[*place] {
                    Datum::Text(Cow::Borrowed(text)) => row[*place] = Datum::Text(sanitize.clean_text(text)),
                    Datum::Text(Cow::Owned(text)) => {
                        row[*place] = Datum::Text(sanitize.clean_text(text).into_owned().into());
                    }
                    _ => {}
                }
            }
        }
        for (place, words) in &self.nulls {
            if matches!(&row[*place], Datum::Text(text) if is_null(text, words)) {
                row[*place] = Datum::Null;
            }
        }
        for (rule, place) in stages.parse.rules().iter().zip(&self.parsed) {
            match parsed(rule, &row[*place]) {
                Some(datum) => row[*place] = datum,
                None => return Verdict::Doubt,
            }
        }
        self.compute(row)
    }

    fn is_valid(&self, stages: &Stages<'_>, fields: &[Datum<'_>]) -> bool {
        match &self.validate {
            Validation::None => true,
            Validation::Plain(plainly) => plainly.admits(fields),
            Validation::Schema => {
                let object = self.columns.iter().cloned().zip(fields.iter().map(value));
                let item = Value::Object(object.collect::<Map<_, _>>());
                stages.validate.is_none_or(|validate| validate.check(&item).is_ok())
            }
        }
    }

    fn compute<'r>(&'r self, mut row: Vec<Datum<'r>>) -> Verdict<'r> {
        for step in &self.program.0 {
            match step {
                Step::Keep(condition) => match condition.value(&row) {
                    Some(Datum::Null | Datum::Bool(false)) => return Verdict::Skipped,
                    Some(_) => {}
                    None => return Verdict::Doubt,
                },
                Step::Set(fields) => {
                    // Most set one field.
                    if let [(place, expression)] = fields.as_slice() {
                        let Some(datum) = expression.value(&row) else { return Verdict::Doubt };
                        row[*place] = datum;
                        continue;
                    }
                    let values: Option<Vec<_>> = fields.iter().map(|(_, expression)| expression.value(&row)).collect();
                    let Some(values) = values else { return Verdict::Doubt };
                    for ((place, _), datum) in fields.iter().zip(values) {
                        row[*place] = datum;
                    }
                }
            }
        }
        Verdict::Passed(row)
    }
}

fn value(datum: &Datum<'_>) -> Value {
    match datum {
        Datum::Null => Value::Null,
        Datum::Bool(truth) => (*truth).into(),
        Datum::Int(number) => (*number).into(),
        Datum::Decimal(number) => number.to_string().into(),
        Datum::Text(text) => text.as_ref().into(),
    }
}

/// Parses a field. One that the file does not have is null before, and so may be one that it has.
fn parsed<'r>(rule: &Rule, datum: &Datum<'r>) -> Option<Datum<'r>> {
    match datum {
        Datum::Text(Cow::Borrowed(text)) => rule.datum(text),
        Datum::Text(Cow::Owned(text)) => rule.datum(text).map(owned),
        Datum::Null => rule.is_optional().then_some(Datum::Null),
        Datum::Int(number) => rule.datum_of_number(*number),
        _ => None,
    }
}

fn owned<'r>(datum: Datum<'_>) -> Datum<'r> {
    match datum {
        Datum::Text(text) => Datum::Text(Cow::Owned(text.into_owned())),
        Datum::Null => Datum::Null,
        Datum::Bool(truth) => Datum::Bool(truth),
        Datum::Int(number) => Datum::Int(number),
        Datum::Decimal(number) => Datum::Decimal(number),
    }
}
