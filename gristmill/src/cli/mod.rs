//! The command line: one noun, one verb, the flags that all of them share.

mod account;
mod audit;
mod backend;
mod batch;
mod batch_outputs;
mod batch_results;
pub(crate) mod batch_run;
mod batch_try;
mod batch_view;
mod cancel;
mod check;
mod chunk;
mod completion;
mod config;
pub(crate) mod context;
mod contexts;
mod db;
mod db_prune;
mod dead;
mod delete;
pub(crate) mod demo;
mod dev;
mod doctor;
mod doctor_checks;
mod enqueue;
mod enqueue_lines;
mod error;
mod event;
mod gone;
mod init;
mod job;
mod job_edit;
mod job_logs;
mod key;
mod limit;
mod list;
mod mail;
mod named;
mod notify;
mod operation;
pub(crate) mod output;
mod poison;
mod progress;
mod quarantine;
mod quarantine_patch;
mod query;
mod queue;
mod queue_stats;
mod schedule;
mod scheduler;
mod serve;
mod tenant;
mod token;
mod top;
mod trigger;
mod user;
mod version;
mod wait;
mod waiting;
mod waits;
mod worker;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cli::context::CommandContext;
use crate::cli::output::Color;
use crate::config::LogFormat;
use crate::exit_code::{Exit, Result};

/// Batches and background jobs that can be trusted.
#[derive(Debug, Parser)]
#[command(
    name = "gristmill",
    version,
    about = "Runs batches and background jobs that can be trusted",
    before_help = "Examples:
  gristmill demo                                   see it all at work on your machine
  gristmill init --template csv                    begin a project
  gristmill batch run retail --input orders.csv --wait
  gristmill enqueue email --payload @mail.json --in 5m
  gristmill dev                                    scheduler, worker and API in one process",
    after_help = "Exit codes: 0 success, 1 failed, 2 usage, 3 not found, 4 denied, 5 conflict, 6 partial, 7 timed out,
8 unavailable, 9 problems found, 10 cancelled, 70 internal, 130 and 143 stopped by a signal.",
    subcommand_required = true,
    arg_required_else_help = true,
    infer_subcommands = false
)]
pub(crate) struct Cli {
    /// The flags that all commands share.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The flags that all commands share.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Flags of all commands")]
pub(crate) struct Global {
    /// The configuration file [env: GRISTMILL_CONFIG] [default: ./config.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The store: sqlite://FILE or postgres://… [env: GRISTMILL_STORE_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// The broker: in-process or amqp://… [env: GRISTMILL_BROKER_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) broker: Option<String>,
    /// The server to ask over HTTP instead of the database, by its name; local is the database [env: GRISTMILL_CONTEXT]
    /// [default: the one of `gristmill context use`]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The name of a protected context, typed to change something there
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) confirm: Option<String>,
    /// Whose jobs and batches [default: main, or that of the context]
    #[arg(long, global = true, value_name = "NAME", env = "GRISTMILL_TENANT", hide_env_values = true)]
    pub(crate) tenant: Option<String>,
    /// How messages on standard error look
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub(crate) log: Option<LogFormat>,
    /// Say more; twice says still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Say errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Color,
    /// Print one JSON document
    #[arg(long, global = true, conflicts_with = "plain")]
    pub(crate) json: bool,
    /// Print fields separated by tabs, without a header
    #[arg(long, global = true)]
    pub(crate) plain: bool,
}

/// Every noun.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make 100,000 orders and run a batch over them, here and now
    Demo(demo::Demo),
    /// Begin a project: a configuration that runs, and what it needs
    Init(init::Init),
    /// Scheduler, worker and API in one process
    Dev(dev::Dev),
    /// Serve the API over HTTP
    Serve(serve::Serve),
    /// Watch queues, batches and workers on one screen
    Top(top::Top),
    /// Do the work, or list who does
    #[command(alias = "workers")]
    Worker(worker::Worker),
    /// Publish, promote, rescue and reconcile
    Scheduler(scheduler::Scheduler),
    /// Look at schedules, make, run, backfill and switch them
    #[command(alias = "schedules")]
    Schedule(schedule::Schedule),
    /// Look at what hooks and watched folders have started
    #[command(alias = "triggers")]
    Trigger(trigger::Trigger),
    /// Enqueue one job, or many from JSON lines
    Enqueue(enqueue::Enqueue),
    /// Run batches, look at them and steer them
    #[command(alias = "batches")]
    Batch(batch::Batch),
    /// Look at jobs, retry or cancel them
    #[command(alias = "jobs")]
    Job(job::Job),
    /// Split chunks that fail
    #[command(alias = "chunks")]
    Chunk(chunk::Chunk),
    /// Look at queues, pause, resume and delete them
    #[command(alias = "queues")]
    Queue(queue::Queue),
    /// Look at limits, set and drop them
    #[command(alias = "limits")]
    Limit(limit::Limit),
    Mail(Box<mail::Mail>),
    Notify(notify::Notify),
    /// Look at dead letters, redrive or discard them
    Dead(dead::Dead),
    /// Look at items that were set aside, export and redrive them
    Quarantine(quarantine::Quarantine),
    /// Look at operations over many jobs, cancel and undo them
    #[command(alias = "operations")]
    Operation(operation::Operation),
    /// Note that errors were seen, and take it back
    #[command(alias = "errors")]
    Error(error::ErrorCommand),
    /// Publish events, look at them, their schemas and who subscribes to them
    #[command(alias = "events")]
    Event(event::Event),
    /// Look at messages that cannot be read or name no job, and forget them
    Poison(poison::Poison),
    /// See who changed what and why, and verify that it was not altered
    Audit(audit::Audit),
    /// Add users, give them roles, passwords and links, disable them
    #[command(alias = "users")]
    User(user::User),
    /// Create, list and revoke API tokens
    #[command(alias = "tokens")]
    Token(token::Token),
    /// The keys that sign access tokens: list, rotate, withdraw them
    #[command(alias = "keys")]
    Key(key::Key),
    /// Create tenants, list, suspend and resume them, give them quotas
    #[command(alias = "tenants")]
    Tenant(tenant::Tenant),
    /// Migrate the database, see where it stands, delete what is old
    Db(db::Db),
    /// Name servers that are asked over HTTP
    #[command(alias = "contexts")]
    Context(contexts::Context),
    /// See the settings in force and who said them
    Config(config::Config),
    /// Validate the configuration without side effects
    Check(check::Check),
    /// Find out what is wrong with the surroundings and how to mend it
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell
    Completion(completion::Completion),
    /// Print the version
    Version(version::Version),
}

/// Where a command works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this machine alone, whatever database or server is in use.
    Here,
    /// On the database itself.
    Database,
    /// On the database, or through a server.
    Either,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// What went wrong, with the exit code that it means.
    pub(crate) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self {
            Self::Demo(demo) => demo.run(context).await,
            Self::Init(init) => init.run(context).await,
            Self::Dev(dev) => dev.run(context).await,
            Self::Serve(serve) => serve.run(context).await,
            Self::Top(top) => top.run(context).await,
            Self::Worker(worker) => worker.run(context).await,
            Self::Scheduler(scheduler) => scheduler.run(context).await,
            Self::Schedule(schedule) => schedule.run(context).await,
            Self::Trigger(trigger) => trigger.run(context).await,
            Self::Enqueue(enqueue) => enqueue.run(context).await,
            Self::Batch(batch) => batch.run(context).await,
            Self::Job(job) => job.run(context).await,
            Self::Chunk(chunk) => chunk.run(context).await,
            Self::Queue(queue) => queue.run(context).await,
            Self::Limit(limit) => limit.run(context).await,
            Self::Mail(mail) => mail.run(context).await,
            Self::Notify(notify) => notify.run(context).await,
            Self::Dead(dead) => dead.run(context).await,
            Self::Quarantine(quarantine) => quarantine.run(context).await,
            Self::Operation(operation) => operation.run(context).await,
            Self::Error(error) => error.run(context).await,
            Self::Event(event) => event.run(context).await,
            Self::Poison(poison) => poison.run(context).await,
            Self::Audit(audit) => audit.run(context).await,
            Self::User(user) => user.run(context).await,
            Self::Token(token) => token.run(context).await,
            Self::Key(key) => key.run(context).await,
            Self::Tenant(tenant) => tenant.run(context).await,
            Self::Db(db) => db.run(context).await,
            Self::Context(contexts) => contexts.run(context),
            Self::Config(config) => config.run(context),
            Self::Check(check) => check.run(context),
            Self::Doctor(doctor) => doctor.run(context).await,
            Self::Completion(completion) => completion.run(),
            Self::Version(version) => version.run(context),
        }
    }

    /// Whether it works without a configuration, or reports what is wrong with one itself.
    pub(crate) fn needs_config(&self) -> bool {
        !matches!(self, Self::Init(_) | Self::Completion(_) | Self::Version(_) | Self::Check(_) | Self::Context(_))
    }

    /// Where it works.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Demo(_)
            | Self::Init(_)
            | Self::Config(_)
            | Self::Check(_)
            | Self::Context(_)
            | Self::Completion(_)
            | Self::Version(_) => Place::Here,
            Self::Dev(_)
            | Self::Serve(_)
            | Self::Scheduler(_)
            | Self::Db(_)
            | Self::Doctor(_)
            | Self::User(_)
            | Self::Token(_)
            | Self::Key(_)
            | Self::Tenant(_) => Place::Database,
            Self::Notify(notify) if !notify.enqueues() => Place::Here,
            Self::Worker(worker) if !worker.only_looks() => Place::Database,
            Self::Worker(_)
            | Self::Top(_)
            | Self::Schedule(_)
            | Self::Trigger(_)
            | Self::Enqueue(_)
            | Self::Batch(_)
            | Self::Job(_)
            | Self::Chunk(_)
            | Self::Queue(_)
            | Self::Limit(_)
            | Self::Mail(_)
            | Self::Notify(_)
            | Self::Dead(_)
            | Self::Quarantine(_)
            | Self::Operation(_)
            | Self::Poison(_)
            | Self::Error(_)
            | Self::Event(_)
            | Self::Audit(_) => Place::Either,
        }
    }
}
