//! `gristmill batch run`: plans a batch here, and with `--wait` follows it to its end.

use std::io::stdin;

use clap::Args;
use gristmill_client::http::{HttpBatch, Upload};
use gristmill_core::batch::FailureBudget;
use gristmill_core::definition::CHUNK_ITEMS_MAX;
use gristmill_core::id::BatchId;
use gristmill_jobs::source::SourceError;
use gristmill_service::documents::{MailTestDocument, WouldStartDocument};
use gristmill_service::start::params::{BadParam, params};
use gristmill_service::start::{
    BatchRequest, MailTest, Rehearsal, StartBatch, StartError, StartedBatch, TEST_ITEMS_MAX, rehearse, rehearse_mail,
};
use serde_json::{Map, Value};

use super::batch_view::{find, show};
use super::list::DryRun;
use super::waiting::Waiting;
use crate::cli::backend::batches;
use crate::cli::context::{CommandContext, internal};
use crate::cli::output::{Format, one_line};
use crate::config::definitions::{self as check, Outputs};
use crate::config::error::all_of;
use crate::exit_code::{CommandError, Exit, Result};
use crate::remote::Remote;
use crate::runtime::schedules::run_context_now;

/// Start a run of a batch definition
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill batch run retail --wait
  gristmill batch run retail --input 'in/*.csv' --chunk 1000 --wait=10m --json
  zcat orders.csv.gz | gristmill batch run retail --input - --wait
  gristmill batch run retail --input orders.csv --dry-run

Exit code with --wait: 0 complete, 1 halted, 7 timed out (the batch goes on), 10 cancelled.
Without a worker alive, --wait does the work in this process.")]
pub(crate) struct Run {
    /// The definition: [batch.NAME] in the configuration
    name: String,
    /// Files instead of those of the definition: a path, a glob, or - for standard input; may be repeated
    #[arg(long, value_name = "FILE")]
    input: Vec<String>,
    /// How many items make a chunk [default: as the definition says, or as many as suit the input]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=CHUNK_ITEMS_MAX))]
    chunk: Option<u64>,
    /// A parameter of this run; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    param: Vec<String>,
    /// How many items may be quarantined before the batch halts: a count, or a percentage such as 2.5%
    #[arg(long, alias = "tolerate", value_name = "BUDGET")]
    failure_budget: Option<FailureBudget>,
    /// Start nothing when a batch with this key was ever started
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Start no batch: send the messages of the first items to these addresses instead, marked as a test
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', conflicts_with_all = ["idempotency_key", "wait"])]
    test_to: Vec<String>,
    /// How many items of the input a test is made of
    #[arg(long, value_name = "N", default_value_t = 1, requires = "test_to", value_parser = clap::value_parser!(u64).range(1..=TEST_ITEMS_MAX))]
    test_items: u64,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    dry: DryRun,
}

impl Run {
    /// Runs a definition of the configuration again, waiting, with its own input and no flags.
    pub(super) fn waiting(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            input: Vec::new(),
            chunk: None,
            param: Vec::new(),
            failure_budget: None,
            idempotency_key: None,
            test_to: Vec::new(),
            test_items: 1,
            waiting: Waiting::forever(),
            dry: DryRun { dry_run: false },
        }
    }

    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        if !self.test_to.is_empty() {
            return self.test(context).await;
        }
        if let Some(server) = context.remote() {
            return self.run_at(context, server).await;
        }
        self.check(context)?;
        if self.dry.dry_run {
            return self.would(context).await;
        }
        let batch = self.start(context).await?;
        self.started(context, batch).await
    }

    /// Sends the messages of the first items to the addresses of a test.
    async fn test(&self, context: &CommandContext) -> Result<Exit> {
        if context.remote().is_some() {
            return Err(CommandError::usage("--test-to: a test is sent where the input is, and not by a server")
                .hint("use `gristmill mail preview` here, or run the command where its database is"));
        }
        self.check(context)?;
        let test = MailTest { to: self.test_to.clone(), items: self.test_items };
        let tested = if self.dry.dry_run {
            rehearse_mail(self.request(context)?, &test).await.map_err(|error| start_trouble(context, error))?
        } else {
            let service = context.service().await?;
            context.dispatcher().await?;
            let sent = service.test_mail(&context.order(false), self.request(context)?, &test).await;
            sent.map_err(|error| start_trouble(context, error))?
        };
        let document = MailTestDocument {
            dry_run: self.dry.dry_run,
            jobs: tested.jobs,
            messages: tested.messages,
            refused: tested.refused,
        };
        match context.output.format {
            Format::Json => context.output.document(&document),
            Format::Plain | Format::Table => {
                let would = if self.dry.dry_run { "would be " } else { "" };
                context.output.line(&format!("{} test messages {would}enqueued", document.messages));
                document.refused.iter().for_each(|why| context.output.line(&format!("no message: {}", one_line(why))));
            }
        }
        Ok(Exit::Success)
    }

    async fn started(&self, context: &CommandContext, batch: BatchId) -> Result<Exit> {
        if !self.waiting.wanted() {
            show(context, &find(context, batch).await?).await?;
            context.output.note(&format!("follow it: {} batch watch {batch}", context.program_here()));
        }
        self.waiting.batch(context, false, batch, Exit::Success).await
    }

    /// Lets a server plan it by the definition of its own configuration.
    async fn run_at(&self, context: &CommandContext, server: &Remote) -> Result<Exit> {
        let params = match params(&self.param).map_err(|error| bad_param(&error))? {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        let batch = HttpBatch {
            name: self.name.clone(),
            params,
            chunk: self.chunk,
            failure_budget: self.failure_budget.as_ref().map(ToString::to_string),
            idempotency_key: self.idempotency_key.clone(),
        };
        let (order, input) = (context.order(self.dry.dry_run), self.upload()?);
        // A rehearsal keeps nothing at the server, and standard input cannot be read again.
        if let (Some(path), false) = (self.file(), order.dry_run)
            && let Some(upload) = server.send_file(&order, path).await?
        {
            let started = batches::start_from(server, &order, &batch, &upload).await;
            server.forget_upload(&upload).await;
            return self.started(context, started?.id).await;
        }
        let call = batches::with_input(&batch, &self.param);
        if order.dry_run {
            let would = match input {
                None => batches::rehearse(server, &order, &batch).await?,
                Some(input) => batches::rehearse_over(server, &order, call, input).await?,
            };
            self.report_rehearsed(context, would.batch.chunks, would.batch.counts.input);
            return Ok(Exit::Success);
        }
        let started = match input {
            None => batches::start(server, &order, &batch).await?,
            Some(input) => batches::start_over(server, &order, call, input).await?,
        };
        self.started(context, started.id).await
    }

    /// The input that can be read again from anywhere, if it is such a one.
    fn file(&self) -> Option<&str> {
        let path = self.input.first()?;
        std::fs::metadata(path).is_ok_and(|about| about.is_file()).then_some(path)
    }

    /// The input that is sent to a server, if one is said.
    fn upload(&self) -> Result<Option<Upload>> {
        let path = match self.input.as_slice() {
            [] => return Ok(None),
            [path] => path,
            _ => return Err(CommandError::usage("--input: a server takes one input").hint("put the files into one")),
        };
        if self.param.iter().any(|param| param.contains(',')) {
            return Err(CommandError::usage("--param: beside an input no value has a comma on its way to a server")
                .hint("say it in the definition of the server, or start the batch where its database is"));
        }
        if path == "-" {
            return Ok(Some(Upload::bytes(stdin())));
        }
        let file = std::fs::File::open(path).map_err(|error| {
            CommandError::new(Exit::NotFound, format!("the input `{path}` cannot be read: {error}"))
        })?;
        Ok(Some(Upload::bytes(file)))
    }

    /// Refuses a definition that this program cannot run.
    pub(super) fn check(&self, context: &CommandContext) -> Result<()> {
        check_definition(context, &self.name, Outputs::Tried)
    }

    /// Plans the batch; workers begin with its first chunks long before this returns.
    pub(super) async fn start(&self, context: &CommandContext) -> Result<BatchId> {
        let service = context.service().await?;
        // A broker that refuses for good is reported before anything exists.
        context.dispatcher().await?;
        let start = self.request(context)?;
        match service.start_batch(&context.order(false), start).await {
            Ok(StartedBatch::Planned(batch)) => Ok(batch),
            Ok(StartedBatch::Rehearsed(_)) => Err(internal("the batch was rehearsed and not started")),
            Err(error) => Err(start_trouble(context, error)),
        }
    }

    /// The batch with the flags laid over its definition.
    fn request(&self, context: &CommandContext) -> Result<StartBatch> {
        let request = BatchRequest {
            name: self.name.clone(),
            input: self.input.clone(),
            chunk: self.chunk,
            failure_budget: self.failure_budget,
            params: params(&self.param).map_err(|error| bad_param(&error))?,
            idempotency_key: self.idempotency_key.clone(),
            trace: Some(context.trace()),
            stdin: Some(Box::new(stdin())),
        };
        run_context_now(context)?.batch(request).map_err(|error| start_trouble(context, error))
    }

    /// Reads the whole input as a plan does, and creates nothing: it needs no store.
    async fn would(&self, context: &CommandContext) -> Result<Exit> {
        let start = self.request(context)?;
        let Rehearsal { chunks, items } = rehearse(start).await.map_err(|error| start_trouble(context, error))?;
        self.report_rehearsed(context, chunks, items);
        Ok(Exit::Success)
    }

    fn report_rehearsed(&self, context: &CommandContext, chunks: u64, items: u64) {
        match context.output.format {
            Format::Json => context.output.document(&WouldStartDocument::new(&self.name, chunks, items)),
            Format::Plain | Format::Table => {
                let name = &self.name;
                context.output.line(&format!("would start a batch `{name}` of {items} items in {chunks} chunks"));
            }
        }
    }
}

/// Refuses a definition that this program cannot run.
pub(super) fn check_definition(context: &CommandContext, name: &str, outputs: Outputs) -> Result<()> {
    context.loaded.batch(name)?;
    // What is wrong with its schedule does not concern a run by command.
    let own = |error: &crate::config::ConfigError| {
        let key = error.key.strip_prefix(&format!("batch.{name}."));
        key.is_some_and(|key| !key.starts_with("schedule"))
    };
    let errors: Vec<_> =
        check::definitions(&context.loaded, &context.extensions, outputs).into_iter().filter(own).collect();
    if errors.is_empty() { Ok(()) } else { Err(all_of(errors)) }
}

/// What to do about a text that is not a parameter.
pub(super) fn bad_param(error: &BadParam) -> CommandError {
    CommandError::usage(error.to_string()).hint("write --param KEY=VALUE")
}

/// Why a batch did not start, and what to do about it.
pub(super) fn start_trouble(context: &CommandContext, error: StartError) -> CommandError {
    match error {
        StartError::Store(error) => {
            let message = error.to_string();
            CommandError { message: format!("the batch did not start: {message}"), ..error.into() }
        }
        StartError::Source(error) => source_trouble(&error),
        StartError::Definition { .. } => {
            let place = context.loaded.file.as_ref().map(|file| format!("{}: ", file.display())).unwrap_or_default();
            CommandError::usage(format!("{place}{error}"))
        }
    }
}

fn source_trouble(error: &SourceError) -> CommandError {
    let exit = match error {
        SourceError::Missing { .. } => Exit::NotFound,
        SourceError::Spool { .. } | SourceError::Interrupted => Exit::Unavailable,
        SourceError::Changed { .. } => Exit::Conflict,
        SourceError::Setting(_)
        | SourceError::Unreadable { .. }
        | SourceError::Header { .. }
        | SourceError::Encoding { .. }
        | SourceError::TooLong { .. }
        | SourceError::TooMuch { .. }
        | SourceError::Ragged { .. }
        | SourceError::Sql { .. }
        | SourceError::Inline(_) => Exit::Usage,
    };
    CommandError::new(exit, format!("the batch did not start: {error}"))
}
