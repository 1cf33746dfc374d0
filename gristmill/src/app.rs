//! The whole command line, with kinds and item handlers of the program's own.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use gristmill_jobs::process::ItemOut;
use serde_json::Value;

use crate::cli::Cli;
use crate::cli::context::CommandContext;
use crate::cli::demo::gateway::{GATEWAY, gateway};
use crate::cli::output::Output;
use crate::config::error::all_of;
use crate::config::layers::environment;
use crate::config::{Layers, LogFormat, load};
use crate::embed::Embedding;
use crate::exit_code::{CommandError, Exit, Result};
use crate::extensions::Extensions;
use crate::kind::{self, Kind, KindHandler};

/// A program that is the command line `gristmill`, with its own kinds in it.
///
/// ```no_run
/// use gristmill::{App, Context, Failure, ItemOut, Kind};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet { name: String }
///
/// impl Kind for Greet {
///     const NAME: &str = "greet";
///     type Output = String;
///     async fn run(self, _context: Context) -> Result<String, Failure> { Ok(format!("Hello {}", self.name)) }
/// }
///
/// fn main() -> std::process::ExitCode {
///     App::new()
///         .kind::<Greet>()
///         .item_handler("double", |item, _attempt| match item["n"].as_i64() {
///             Some(n) => ItemOut::Ok(serde_json::json!({ "n": n * 2 })),
///             None => ItemOut::Failed { reason: "`n` is not a whole number".to_owned(), retry: false },
///         })
///         .main()
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct App {
    extensions: Extensions,
    /// Kinds are made when everything is registered, so that the order of `kind` and `state` does not matter.
    kinds: Vec<fn(&mut Extensions)>,
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl App {
    /// The command line with the kinds that come with it.
    pub fn new() -> Self {
        // The demo's handler is always there, so that its batches can be redriven and run again later.
        Self { extensions: Extensions::default(), kinds: Vec::new() }.item_handler(GATEWAY, gateway)
    }

    /// Adds a kind of job; one of the same name takes the place of the one before.
    pub fn kind<K: Kind>(mut self) -> Self {
        self.kinds.push(|extensions| {
            extensions.defaults.insert(K::NAME.to_owned(), kind::defaults::<K>());
            let handler = Arc::new(KindHandler::<K>::new(extensions.states.clone()));
            extensions.kinds.insert_reading(K::NAME, K::reads(), handler);
        });
        self
    }

    /// Adds a function that does the work on each item of a batch: `process = { rust = "NAME" }`.
    ///
    /// It gets the item and the number of the try, counted from 1, on a thread for items: it may
    /// compute, but should not wait. What fails with `retry` is tried again as often as the batch's
    /// `item_attempts` says, and quarantined then.
    pub fn item_handler<F>(mut self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(&Value, u32) -> ItemOut + Send + Sync + 'static,
    {
        self.extensions.items.insert(name.into(), Arc::new(function));
        self
    }

    /// Shares something with all kinds, such as a pool of connections: see [`crate::Context::state`].
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.extensions.states.insert(state);
        self
    }

    /// Reads the arguments, does what they say, and gives the exit code.
    pub fn main(self) -> ExitCode {
        self.run(std::env::args_os().collect()).into()
    }

    /// The same kinds and handlers for a program that owns its own `main` and its tokio runtime: see [`Embedding`].
    pub fn build(self) -> Embedding {
        Embedding::new(self.registered().extensions)
    }

    /// With the kinds made.
    fn registered(mut self) -> Self {
        for add in std::mem::take(&mut self.kinds) {
            add(&mut self.extensions);
        }
        self
    }

    fn run(self, args: Vec<OsString>) -> Exit {
        let app = self.registered();
        let wants_json = args.iter().skip(1).any(|arg| arg == "--json");
        let cli = match Cli::try_parse_from(&args) {
            Ok(cli) => cli,
            Err(error) => return refused(&error, wants_json),
        };
        let output = Output::new(cli.global.json, cli.global.plain, cli.global.quiet, cli.global.color);
        let result = app.command(cli, output, args);
        result.unwrap_or_else(|error| {
            say(&output, wants_json, &error);
            error.exit
        })
    }

    fn command(self, cli: Cli, output: Output, args: Vec<OsString>) -> Result<Exit> {
        let layers = layers(&cli);
        let loaded = match load(&layers) {
            Ok(loaded) => loaded,
            Err(_) if !cli.command.needs_config() => crate::config::Loaded::default(),
            Err(errors) => return Err(all_of(errors)),
        };
        for warning in &loaded.warnings {
            output.note(&format!("warning: {warning}"));
        }
        start_log(&cli, &loaded.config.log);
        let context = CommandContext::new(loaded, layers, output, cli.global.tenant.clone(), self.extensions, args);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| CommandError::new(Exit::Internal, format!("the runtime cannot start: {error}")))?;
        runtime.block_on(async {
            let result = cli.command.run(&context).await;
            context.close().await;
            result
        })
    }
}

/// What the command line refuses, or what it prints on request.
fn refused(error: &clap::Error, wants_json: bool) -> Exit {
    // A closed pipe is no error of ours.
    if error.use_stderr() && wants_json {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let hint = text.lines().find(|line| line.contains("tip:")).map(|line| line.trim().to_owned());
        let output = Output::new(true, false, false, crate::cli::output::Color::Never);
        output.document(&CommandError { exit: Exit::Usage, message, hint }.document());
    } else {
        let _ = error.print();
    }
    if error.use_stderr() { Exit::Usage } else { Exit::Success }
}

fn say(output: &Output, wants_json: bool, error: &CommandError) {
    if wants_json {
        output.document(&error.document());
        return;
    }
    output.error(&format!("error: {}", error.message));
    if let Some(hint) = &error.hint {
        output.error(&format!("  {hint}"));
    }
}

fn layers(cli: &Cli) -> Layers {
    let global = &cli.global;
    let log = global.log.map(|format| match format {
        LogFormat::Text => "text".to_owned(),
        LogFormat::Json => "json".to_owned(),
    });
    let flags = [
        ("store", "store.url", global.store.clone()),
        ("broker", "broker.url", global.broker.clone()),
        ("log", "log.format", log),
    ];
    Layers {
        file: global.config.clone(),
        env: environment(),
        flags: flags.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value?))).collect(),
    }
}

fn start_log(cli: &Cli, settings: &crate::config::LogSettings) {
    let level = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error".to_owned(),
        (false, 0) => settings.level.clone(),
        (false, 1) => "info".to_owned(),
        (false, _) => "debug".to_owned(),
    };
    let format = match settings.format {
        LogFormat::Text => gristmill_telemetry::log::Format::Text,
        LogFormat::Json => gristmill_telemetry::log::Format::Json,
    };
    gristmill_telemetry::log::start(&level, format);
}
