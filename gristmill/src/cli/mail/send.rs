//! One email by flags: the payload of a job of kind `email`.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use gristmill_core::job::PAYLOAD_BYTES_MAX;
use gristmill_core::one_or_many::OneOrMany;
use gristmill_jobs::kind::payload::{AttachmentPayload, EMAIL, EmailPayload};
use serde_json::Value;

use crate::cli::context::{CommandContext, internal};
use crate::cli::enqueue::{Enqueue, How, read_payload};
use crate::cli::list::DryRun;
use crate::cli::waiting::Waiting;
use crate::exit_code::{CommandError, Exit, Result};

/// Send an email: enqueues a job of kind `email`
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill mail send --to ada@example.org --subject 'Your report' --text @report.txt --wait
  gristmill mail send --to ada@example.org --subject Figures --text 'See the file.' --attach figures.csv
  gristmill mail send --to ada@example.org --template welcome --data '{\"name\": \"Ada\"}' --stream news
  gristmill mail send --to ada@example.org --subject Now --text - --in 10m < text.txt

Its recipients see each other, but for --bcc. For a message to each of many people enqueue one job for each of them:
`gristmill enqueue email --jsonl FILE`.")]
pub(super) struct Send {
    /// Who gets it; may be repeated
    #[arg(long, value_name = "ADDRESS", required_unless_present_any = ["cc", "bcc"])]
    to: Vec<String>,
    /// Who gets a copy that all can see; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<String>,
    /// Who gets a copy that no other recipient can see; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    bcc: Vec<String>,
    /// Who gets answers; the sender unless said
    #[arg(long, value_name = "ADDRESS")]
    reply_to: Vec<String>,
    /// The sender; `[mail] from` unless said
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Its subject
    #[arg(long, required_unless_present = "template", conflicts_with = "template")]
    subject: Option<String>,
    /// Its text: as it stands, @FILE, or - for standard input
    #[arg(long, value_name = "TEXT|@FILE|-", conflicts_with = "template")]
    text: Option<String>,
    /// Its HTML version: as it stands, @FILE, or - for standard input
    #[arg(long, value_name = "HTML|@FILE|-", conflicts_with = "template")]
    html: Option<String>,
    /// Or the template that it is made from
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// What fills the template: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-", requires = "template")]
    data: Option<String>,
    /// A file that goes with it; may be repeated
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// The stream that it belongs to; `transactional` unless said
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    dry: DryRun,
}

impl Send {
    /// What is read from standard input, which can be read once.
    fn texts_of_stdin(&self) -> usize {
        [&self.text, &self.html, &self.data].into_iter().filter(|given| given.as_deref() == Some("-")).count()
    }

    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        if self.texts_of_stdin() > 1 {
            return Err(CommandError::usage("standard input is one text: give the others as @FILE"));
        }
        let payload = EmailPayload {
            to: OneOrMany::Many(self.to),
            cc: OneOrMany::Many(self.cc),
            bcc: OneOrMany::Many(self.bcc),
            reply_to: OneOrMany::Many(self.reply_to),
            from: self.from,
            template: self.template,
            data: self.data.as_deref().map_or(Ok(Value::Null), read_payload)?,
            subject: self.subject,
            text: self.text.as_deref().map(read_text).transpose()?,
            html: self.html.as_deref().map(read_text).transpose()?,
            attachments: attachments(&self.attach)?,
            stream: self.stream,
            ..EmailPayload::default()
        };
        let payload = serde_json::to_string(&payload).map_err(internal)?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            let size = payload.len();
            let message =
                format!("with its attachments it has {size} bytes, and a payload has at most {PAYLOAD_BYTES_MAX}");
            let hint = "put files into the folder `[mail] attachments` and name them by `file` (docs/email.md), or send a link";
            return Err(CommandError::usage(message).hint(hint));
        }
        let enqueue = Enqueue {
            kind: Some(EMAIL.to_owned()),
            payload: Some(payload),
            jsonl: None,
            how: self.how,
            waiting: self.waiting,
            dry: self.dry,
        };
        enqueue.run(context).await
    }
}

/// A text as it stands, that of `@FILE`, or that of standard input.
fn read_text(text: &str) -> Result<String> {
    let read = match text.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}")),
        None if text == "-" => {
            std::io::read_to_string(std::io::stdin()).map_err(|error| format!("standard input: {error}"))
        }
        None => Ok(text.to_owned()),
    };
    read.map_err(CommandError::usage)
}

fn attachments(files: &[PathBuf]) -> Result<Vec<AttachmentPayload>> {
    files.iter().map(PathBuf::as_path).map(attachment).collect()
}

fn attachment(file: &Path) -> Result<AttachmentPayload> {
    let wrong = |what: String| CommandError::usage(format!("--attach {}: {what}", file.display()));
    // More than a payload holds is refused below, and need not be read for that.
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map(|opened| opened.take(PAYLOAD_BYTES_MAX as u64 + 1));
    opened.and_then(|mut opened| opened.read_to_end(&mut bytes)).map_err(|error| wrong(error.to_string()))?;
    let name =
        file.file_name().and_then(|name| name.to_str()).ok_or_else(|| wrong("its name is not UTF-8".to_owned()))?;
    Ok(AttachmentPayload {
        name: name.to_owned(),
        content: Some(STANDARD.encode(bytes)),
        ..AttachmentPayload::default()
    })
}
