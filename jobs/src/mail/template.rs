//! Subject, text and HTML from a template and its data.
//!
//! A template `NAME` is the three files `NAME/subject.txt`, `NAME/text.txt` and, optionally, `NAME/html.html`. Those in
//! the folder `[mail] templates` take precedence over the built-in ones. HTML is escaped automatically, and a name that
//! the data does not have is an error, not an empty text.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gristmill_mail::compose;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as Shown};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Template, UndefinedBehavior};
use serde_json::Value;

use crate::mail::measures;

/// The template of a batch's report. Its data is `{"batch": {…}, "result": {…}}`, as for every effect of a batch;
/// `reasons`, a list of `{"reason", "items"}`, and `manifest`, a path, may be added.
pub const BATCH_REPORT: &str = "batch-report";

const BUILT_IN: [(&str, &str); 15] = [
    ("batch-report/subject.txt", include_str!("templates/batch-report/subject.txt")),
    ("batch-report/text.txt", include_str!("templates/batch-report/text.txt")),
    ("batch-report/html.html", include_str!("templates/batch-report/html.html")),
    ("batch-first-failure/subject.txt", include_str!("templates/batch-first-failure/subject.txt")),
    ("batch-first-failure/text.txt", include_str!("templates/batch-first-failure/text.txt")),
    ("batch-first-failure/html.html", include_str!("templates/batch-first-failure/html.html")),
    ("batch-late/subject.txt", include_str!("templates/batch-late/subject.txt")),
    ("batch-late/text.txt", include_str!("templates/batch-late/text.txt")),
    ("batch-late/html.html", include_str!("templates/batch-late/html.html")),
    ("invitation/subject.txt", include_str!("templates/invitation/subject.txt")),
    ("invitation/text.txt", include_str!("templates/invitation/text.txt")),
    ("password-reset/subject.txt", include_str!("templates/password-reset/subject.txt")),
    ("password-reset/text.txt", include_str!("templates/password-reset/text.txt")),
    ("verification/subject.txt", include_str!("templates/verification/subject.txt")),
    ("verification/text.txt", include_str!("templates/verification/text.txt")),
];

/// The templates that emails are made from.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    folder: Option<PathBuf>,
    /// Whether the text of the definition's own template is taken from its HTML version.
    text_from_html: bool,
}

/// A filled template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The HTML version, if the template has one.
    pub html: Option<String>,
}

impl Templates {
    /// The name of the template that a definition has of its own.
    pub(crate) const OWN: &'static str = "own-text";

    /// The templates of a folder, and one more, [`Templates::OWN`], of these texts. Without a plain text it is taken from
    /// the HTML version.
    ///
    /// # Errors
    ///
    /// When one of them is malformed: which of the keys `subject`, `text` and `html` it is, and where.
    pub(crate) fn with_own(
        folder: Option<&str>,
        subject: &str,
        text: Option<&str>,
        html: Option<&str>,
    ) -> Result<Self, (&'static str, String)> {
        let mut templates = Self::new(folder);
        templates.text_from_html = text.is_none();
        let parts = [
            ("subject", "subject.txt", Some(subject)),
            ("text", "text.txt", Some(text.unwrap_or_default())),
            ("html", "html.html", html),
        ];
        for (key, file, source) in parts {
            let Some(source) = source else { continue };
            let path = format!("{}/{file}", Self::OWN);
            let added = templates.environment.add_template_owned(path.clone(), source.to_owned());
            added.map_err(|error| (key, explain(&path, &error)))?;
        }
        Ok(templates)
    }

    /// The built-in templates, preceded by those of a folder.
    pub fn new(folder: Option<&str>) -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // Only unknown delimiters could be refused here, and these are the usual ones.
        if let Ok(syntax) =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()
        {
            environment.set_syntax(syntax);
        }
        environment.set_auto_escape_callback(
            |name| {
                if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
            },
        );
        add_filters(&mut environment);
        let folder = folder.map(PathBuf::from);
        let place = folder.clone();
        environment.set_loader(move |name| load(place.as_deref(), name));
        Self { environment, folder, text_from_html: false }
    }

    /// The names of all templates, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = self.folder.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        let own = entries.filter(|entry| entry.path().join("subject.txt").exists());
        let mut names: Vec<String> = own.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.push(BATCH_REPORT.to_owned());
        names.sort();
        names.dedup();
        names
    }

    /// Checks that a template exists and is well-formed, without data to fill it with.
    ///
    /// # Errors
    ///
    /// As [`Templates::render`], except for missing data.
    pub fn check(&self, name: &str) -> Result<(), String> {
        self.parts(name, |template| template.map(drop)).map(drop)
    }

    /// Returns the sample data of a template, the file `NAME/sample.json` in the folder, if there is one.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is no JSON.
    pub fn sample(&self, name: &str) -> Result<Option<Value>, String> {
        let Some(folder) = self.folder.as_ref().filter(|_| well_named(name)) else { return Ok(None) };
        let path = folder.join(name).join("sample.json");
        match std::fs::read(&path) {
            Ok(bytes) => gristmill_core::json::read(bytes.as_slice())
                .map(Some)
                .map_err(|error| format!("`{}` is not JSON that can be kept: {error}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("`{}` cannot be read: {error}", path.display())),
        }
    }

    /// Returns what a template takes from its data, such as `batch.name` and `result`.
    ///
    /// # Errors
    ///
    /// As [`Templates::check`].
    pub fn names_in(&self, name: &str) -> Result<BTreeSet<String>, String> {
        let (subject, text, html) = self.parts(name, |template| Ok(template?.undeclared_variables(true)))?;
        Ok(subject.into_iter().chain(text).chain(html.into_iter().flatten()).collect())
    }

    /// Fills a template.
    ///
    /// # Errors
    ///
    /// When there is no such template, it is malformed, its file cannot be read, or the data lacks a value that it
    /// needs: a text that names the template and the line.
    pub fn render(&self, name: &str, data: &Value) -> Result<Rendered, String> {
        let (subject, text, html) = self.parts(name, |template| template?.render(Serde(data)))?;
        let text = match &html {
            Some(html) if self.text_from_html && name == Self::OWN => compose::text_of(html),
            _ => text,
        };
        Ok(Rendered { subject: subject.split_whitespace().collect::<Vec<_>>().join(" "), text, html })
    }

    /// Does the same with each of a template's files: subject, text, and HTML if there is one.
    fn parts<T>(
        &self,
        name: &str,
        with: impl Fn(Result<Template<'_, '_>, Error>) -> Result<T, Error>,
    ) -> Result<(T, T, Option<T>), String> {
        if !well_named(name) {
            return Err(format!("`{name}` is not a template's name; use letters, digits, `-` and `_`"));
        }
        let part = |file: &str| {
            let path = format!("{name}/{file}");
            match with(self.environment.get_template(&path)) {
                Ok(done) => Ok(Some(done)),
                Err(error) if error.kind() == ErrorKind::TemplateNotFound => Ok(None),
                Err(error) => Err(explain(&path, &error)),
            }
        };
        let subject = part("subject.txt")?;
        let subject = subject.ok_or_else(|| {
            format!("there is no template `{name}`; built in are `{BATCH_REPORT}`, `batch-first-failure` and `batch-late`, others go into the folder `mail.templates` as `{name}/subject.txt`, `{name}/text.txt` and `{name}/html.html`")
        })?;
        let text = part("text.txt")?
            .ok_or_else(|| format!("the template `{name}` has no `{name}/text.txt`, which every message needs"))?;
        Ok((subject, text, part("html.html")?))
    }
}

/// `left(width)` and `right(width)` pad with spaces; `figures` and `groups` make tables of a batch's result;
/// `took(until)` is the time between two instants.
fn add_filters(environment: &mut Environment<'_>) {
    // A number is not a text in itself, and both are put into columns.
    environment.add_filter("left", |value: Shown, width: usize| format!("{:<width$}", value.to_string()));
    environment.add_filter("right", |value: Shown, width: usize| format!("{:>width$}", value.to_string()));
    environment
        .add_filter("figures", |result: Shown| Ok::<_, Error>(Shown::from(Serde(measures::figures(&json(&result)?)))));
    environment
        .add_filter("groups", |result: Shown| Ok::<_, Error>(Shown::from(Serde(measures::groups(&json(&result)?)))));
    environment.add_filter("took", |from: String, until: String| {
        let instant = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok();
        let took = instant(&until).zip(instant(&from)).map(|(until, from)| until - from);
        took.and_then(|took| took.to_std().ok()).map_or_else(|| "-".to_owned(), gristmill_core::duration::format)
    });
}

fn json(value: &Shown) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// A name with a dot or a slash could leave the folder.
fn well_named(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn load(folder: Option<&Path>, name: &str) -> Result<Option<String>, Error> {
    if let Some(folder) = folder {
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(source) => return Ok(Some(source)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let detail = format!("{} cannot be read: {error}", path.display());
                return Err(Error::new(ErrorKind::InvalidOperation, detail));
            }
        }
    }
    Ok(BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, source)| (*source).to_owned()))
}

fn explain(path: &str, error: &Error) -> String {
    let line = error.line().map(|line| format!(", line {line}")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let hint = match error.kind() {
        ErrorKind::UndefinedError => "; the data lacks a name that stands there",
        _ => "",
    };
    format!("the template `{path}`{line}: {}{detail}{hint}", error.kind())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn batch() -> Value {
        json!({
            "id": "0198", "name": "retail", "state": "sealed", "generation": 0, "failure_budget": "1%", "chunks": 4,
            "chunks_dead": 0, "created_at": "2026-01-31T08:00:00Z",
            "counts": { "input": 40, "quarantined": 1, "pending": 20 },
        })
    }

    #[test]
    fn a_first_failure_is_told_of_an_item_and_of_a_whole_chunk() {
        let templates = Templates::new(None);
        let item = json!({ "chunk": 1, "position": 10, "line": 12, "stage": "parse", "reason": "<x> is no number" });
        let rendered =
            templates.render("batch-first-failure", &json!({ "batch": batch(), "failure": item })).expect("rendered");
        assert_eq!(rendered.subject, "retail: the first failure");
        assert!(rendered.text.contains("Item         10, line 12, in chunk 1"), "{}", rendered.text);
        assert!(rendered.html.is_some_and(|html| html.contains("&lt;x&gt; is no number")));
        let chunk = json!({ "chunk": 1, "position": null, "line": null, "stage": null, "reason": "it broke" });
        let rendered =
            templates.render("batch-first-failure", &json!({ "batch": batch(), "failure": chunk })).expect("rendered");
        assert!(rendered.text.contains("Chunk        1, with all of its items"), "{}", rendered.text);
    }

    #[test]
    fn a_batch_whose_aggregate_died_is_reported_without_a_result() {
        let mut batch = batch();
        batch["state"] = json!("halted");
        batch["reason"] = json!("its aggregate died: no space left");
        batch["retries"] = json!(0);
        batch["finished_at"] = json!("2026-01-31T08:05:00Z");
        batch["counts"] =
            json!({ "input": 40, "ok": 40, "skipped": 0, "quarantined": 0, "cancelled": 0, "pending": 0 });
        let data = json!({ "batch": batch, "result": null });
        let rendered = Templates::new(None).render("batch-report", &data).expect("rendered");
        assert_eq!(rendered.subject, "retail: halted, its aggregate died: no space left");
        assert!(rendered.text.contains("There is no result."), "{}", rendered.text);
        assert!(rendered.html.is_some_and(|html| html.contains("There is no result.")));
    }

    #[test]
    fn a_late_batch_is_told_with_what_is_pending() {
        let data = json!({ "batch": batch(), "late_after": "2h" });
        let rendered = Templates::new(None).render("batch-late", &data).expect("rendered");
        assert_eq!(rendered.subject, "retail: late, 20 of 40 items pending");
        assert!(rendered.text.contains("it has not ended within 2h"), "{}", rendered.text);
        assert!(rendered.html.is_some());
    }
}
