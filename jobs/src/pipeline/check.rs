//! From a definition to a pipeline: every error in a definition is reported here.

use std::fmt::Display;
use std::path::Path;

use gristmill_core::aggregate::Aggregation;
use gristmill_core::definition::{BatchDefinition, CHUNK_ITEMS_MAX, OutputSpec, ValidateSpec};
use gristmill_core::mailing::{CHUNK_MESSAGES_MAX, FUNNEL_NAME, VARIANTS_NAME};

use super::Pipeline;
use super::process::ItemProcess;
use crate::pool::ItemPool;
use crate::process::Processors;
use crate::settings::MailSettings;
use crate::sink::Sink;
use crate::stage::enrich::Enrich;
use crate::stage::format::Format;
use crate::stage::mail::Mail;
use crate::stage::nulls::Nulls;
use crate::stage::parse::Parse;
use crate::stage::sanitize::Sanitize;
use crate::stage::transform::Transform;
use crate::stage::validate::Validate;

/// How often an item is tried inside its chunk, by default.
pub const ITEM_ATTEMPTS_DEFAULT: u32 = 3;

/// The most tries of an item inside its chunk.
pub const ITEM_ATTEMPTS_MAX: u32 = 100;

/// What is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {problem}")]
pub struct DefinitionError {
    /// Where: `batch.retail.transform`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// Makes a definition self-contained: the content of its schema file replaces the file name, and its lookup files are
/// checked to exist. A run keeps the resolved definition.
///
/// # Errors
///
/// When a file is missing or invalid.
pub fn resolve(name: &str, definition: &BatchDefinition, base_dir: &Path) -> Result<BatchDefinition, DefinitionError> {
    let mut resolved = definition.clone();
    if let Some(validate) = &mut resolved.validate {
        let file = validate.schema.take();
        if let (None, Some(file)) = (&validate.inline, file) {
            let schema = read_schema(&base_dir.join(file)).map_err(error(name, "validate.schema"))?;
            validate.inline = Some(schema);
        }
    }
    for (number, spec) in resolved.enrich.iter_mut().enumerate() {
        if let Some(file) = &mut spec.file {
            let path = base_dir.join(&*file);
            std::fs::metadata(&path)
                .map_err(|cause| format!("cannot read `{}`: {cause}", path.display()))
                .map_err(error(name, &format!("enrich[{number}].file")))?;
            *file = path.display().to_string();
        }
    }
    Ok(resolved)
}

fn read_schema(path: &Path) -> Result<serde_json::Value, String> {
    // Opening a pipe would wait for a writer.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(format!("`{}` is not a file; name one", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(|cause| format!("cannot read `{}`: {cause}", path.display()))?;
    gristmill_core::json::read(text.trim_start_matches('\u{feff}').as_bytes())
        .map_err(|cause| format!("`{}` is not JSON that can be kept: {cause}", path.display()))
}

fn error<P: Display>(name: &str, key: &str) -> impl FnOnce(P) -> DefinitionError {
    let key = format!("batch.{name}.{key}");
    move |problem| DefinitionError { key, problem: problem.to_string() }
}

impl Pipeline {
    /// Compiles all stages of a definition. Paths are relative to `base_dir`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn compile(
        name: &str,
        definition: &BatchDefinition,
        base_dir: &Path,
        processors: &Processors,
        pool: &ItemPool,
    ) -> Result<Self, DefinitionError> {
        check_numbers(name, definition)?;
        let definition = resolve(name, definition, base_dir)?;
        let (aggregation, sink) = closing(name, &definition, base_dir)?;
        let enrich = definition
            .enrich
            .iter()
            .enumerate()
            .map(|(number, spec)| Enrich::compile(spec).map_err(error(name, &format!("enrich[{number}]"))));
        Ok(Self {
            validate: definition.validate.as_ref().map(validate).transpose().map_err(error(name, "validate"))?,
            sanitize: definition.sanitize.as_ref().map(Sanitize::compile),
            nulls: Nulls::compile(&definition.nulls, &definition.parse)
                .map_err(|(key, problem)| error(name, &key)(problem))?,
            parse: Parse::compile(&definition.parse)
                .map_err(|(field, problem)| error(name, &format!("parse.{field}"))(problem))?,
            transform: definition
                .transform
                .as_deref()
                .map(Transform::compile)
                .transpose()
                .map_err(error(name, "transform"))?,
            enrich: enrich.collect::<Result<_, _>>()?,
            process: process(name, &definition, processors, pool)?,
            format: definition.format.as_ref().map(Format::compile).transpose().map_err(error(name, "format"))?,
            mail: mail(name, &definition, processors.mail())?,
            aggregation,
            sink,
        })
    }
}

impl Pipeline {
    /// Tries the folder of the output.
    ///
    /// # Errors
    ///
    /// When nothing can be written there.
    pub fn try_output(&self, name: &str) -> Result<(), DefinitionError> {
        self.sink.as_ref().map_or(Ok(()), Sink::try_folder).map_err(error(name, "output"))
    }
}

/// Compiles what the end of a batch needs of a definition: its measures and its output. A process step that this
/// program lacks must not keep a batch from ending.
///
/// # Errors
///
/// What is wrong with the two.
pub fn closing(
    name: &str,
    definition: &BatchDefinition,
    base_dir: &Path,
) -> Result<(Aggregation, Option<Sink>), DefinitionError> {
    let aggregation = Aggregation::compile(&definition.aggregate)
        .map_err(|bad| error(name, &format!("aggregate.{}", bad.name))(bad.problem))?;
    let format = definition.format.as_ref().map(Format::compile).transpose().map_err(error(name, "format"))?;
    let sink = definition.output.as_ref().map(|output| sink(output, base_dir, format.as_ref())).transpose();
    Ok((aggregation, sink.map_err(error(name, "output"))?))
}

fn check_numbers(name: &str, definition: &BatchDefinition) -> Result<(), DefinitionError> {
    if let Some(chunk) = definition.chunk.filter(|chunk| !(1..=CHUNK_ITEMS_MAX).contains(chunk)) {
        return Err(error(name, "chunk")(format!("is {chunk}; it must be 1 to {CHUNK_ITEMS_MAX} items")));
    }
    if definition.max_attempts == 0 {
        return Err(error(name, "max_attempts")("is 0; a chunk has at least 1 attempt"));
    }
    if definition.aggregate_job.as_ref().is_some_and(|job| job.max_attempts == Some(0)) {
        return Err(error(name, "aggregate_job.max_attempts")("is 0; an aggregate has at least 1 attempt"));
    }
    if definition.timeout.0.is_zero() {
        return Err(error(name, "timeout")("is 0; a chunk needs some time, such as `15m`"));
    }
    Ok(())
}

fn validate(spec: &ValidateSpec) -> Result<Validate, String> {
    let schema =
        spec.inline.as_ref().ok_or("neither `schema` nor `inline` is given; write `schema = \"FILE.json\"`")?;
    Validate::compile(schema)
}

fn process(
    name: &str,
    definition: &BatchDefinition,
    processors: &Processors,
    pool: &ItemPool,
) -> Result<Option<ItemProcess>, DefinitionError> {
    let Some(spec) = &definition.process else { return Ok(None) };
    let attempts = spec.item_attempts.unwrap_or(ITEM_ATTEMPTS_DEFAULT);
    if !(1..=ITEM_ATTEMPTS_MAX).contains(&attempts) {
        let problem = format!("is {attempts}; it must be 1 to {ITEM_ATTEMPTS_MAX}");
        return Err(error(name, "process.item_attempts")(problem));
    }
    let processor = processors.make(spec, pool).map_err(error(name, "process"))?;
    Ok(Some(ItemProcess { processor, attempts }))
}

fn mail(name: &str, definition: &BatchDefinition, settings: &MailSettings) -> Result<Option<Mail>, DefinitionError> {
    let Some(spec) = definition.mail.as_deref() else { return Ok(None) };
    if definition.output.as_ref().is_some_and(|output| output.sql.is_some()) {
        let problem = "a batch that sends mail cannot write to a table, which may refuse rows whose messages are made";
        return Err(error(name, "output.sql")(problem));
    }
    if let Some(taken) = [FUNNEL_NAME, VARIANTS_NAME].iter().find(|taken| definition.aggregate.contains_key(**taken)) {
        let problem = "is the name of a funnel in the result of a batch that sends mail; choose another";
        return Err(error(name, &format!("aggregate.{taken}"))(problem));
    }
    if let Some(chunk) = definition.chunk.filter(|chunk| *chunk > CHUNK_MESSAGES_MAX) {
        let problem = format!("is {chunk}; a chunk of a batch that sends mail has at most {CHUNK_MESSAGES_MAX} items");
        return Err(error(name, "chunk")(problem));
    }
    let compiled = Mail::compile(name, definition, spec, settings);
    compiled.map(Some).map_err(|(key, problem)| error(name, &format!("mail.{key}"))(problem))
}

fn sink(output: &OutputSpec, base_dir: &Path, format: Option<&Format>) -> Result<Sink, String> {
    if output.formulas.is_some() && output.csv.is_none() {
        return Err("`formulas` is about `csv`; leave it out".to_owned());
    }
    match (&output.jsonl, &output.csv, &output.sql) {
        (Some(folder), None, None) => Ok(Sink::json_lines(base_dir.join(folder))),
        (None, Some(folder), None) => {
            let columns = format.and_then(Format::columns).ok_or(
                "`csv` needs `format.fields`, so that every part has the same columns; write `format = { fields = [\"…\"] }`",
            )?;
            Ok(Sink::csv(base_dir.join(folder), columns, output.formulas.unwrap_or_default()))
        }
        (None, None, Some(table)) if table.columns.is_empty() => {
            Err("`sql.columns` is empty; name the columns that are written".to_owned())
        }
        (None, None, Some(table)) => Ok(Sink::sql(table.clone())),
        (None, None, None) => Err("it names no place; write `jsonl`, `csv` or `sql`".to_owned()),
        _ => Err("it names several places; write one of `jsonl`, `csv` and `sql`".to_owned()),
    }
}
