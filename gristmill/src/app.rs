//! The whole command line, with kinds and item handlers of the program's own.

use std::borrow::Cow;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::one_or_many::OneOrMany;
use gristmill_core::schedule::JobSpec;
use gristmill_jobs::Finish;
use gristmill_jobs::process::{ItemContext, ItemFailure, ItemHandler, ItemOut, typed};
use gristmill_worker::{AttemptRequest, AttemptService};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::{Layer, Service};

use crate::apalis::{ApalisHandler, BoxDynError, Task};
use crate::cli::context::CommandContext;
use crate::cli::demo::gateway::{GATEWAY, gateway};
use crate::cli::demo::supplier::{SUPPLIER, supplier};
use crate::cli::output::{self, Color, Output, visible};
use crate::cli::{Cli, Global, Place};
use crate::config::error::all_of;
use crate::config::layers::environment;
use crate::config::{Layers, LogFormat, load};
use crate::embed::Embedding;
use crate::exit_code::{CommandError, Exit, Result};
use crate::extensions::Extensions;
use crate::kind::{self, Kind, KindHandler};
use crate::remote::Remote;
use crate::remote::choose::{Said, choose};
use crate::remote::contexts;

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
#[must_use]
pub struct App {
    extensions: Extensions,
    /// Kinds are created when everything is registered, so that the order of `kind` and `state` does not matter.
    kinds: Vec<Registration>,
}

/// Adds something to the extensions once everything that it needs is there.
type Registration = Box<dyn FnOnce(&mut Extensions) + Send>;

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("extensions", &self.extensions).field("kinds", &self.kinds.len()).finish()
    }
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl App {
    /// The command line with its built-in kinds.
    pub fn new() -> Self {
        // The demo's handlers are always there, so that its batches can be redriven and run again later.
        let plain = Self { extensions: Extensions::default(), kinds: Vec::new() };
        plain.item_handler(GATEWAY, gateway).item_handler(SUPPLIER, supplier)
    }

    /// Adds a kind of job; it replaces an earlier one of the same name.
    pub fn kind<K: Kind>(mut self) -> Self {
        self.kinds.push(Box::new(|extensions| {
            extensions.defaults.insert(K::NAME.to_owned(), kind::defaults::<K>());
            let handler = Arc::new(KindHandler::<K>::new(extensions.states.clone()));
            extensions.kinds.insert_reading(K::NAME, K::reads(), handler);
        }));
        self
    }

    /// Adds a kind of job that each event of these types starts, once: a subscription of the kind's name, as if it were in
    /// `[events.subscriptions]`, where one of that name wins. The job's payload is the event, with its attributes and its
    /// `data`. `*` stands for one segment of a type, `**` for any number.
    ///
    /// ```no_run
    /// use gristmill::{App, Context, Failure, Kind};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Receipt { subject: String, data: Paid }
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Paid { total: String }
    ///
    /// impl Kind for Receipt {
    ///     const NAME: &str = "receipt";
    ///     type Output = ();
    ///     async fn run(self, _context: Context) -> Result<(), Failure> { Ok(()) }
    /// }
    ///
    /// fn main() -> std::process::ExitCode {
    ///     App::new().on::<Receipt>("order.paid").main()
    /// }
    /// ```
    pub fn on<K: Kind>(mut self, types: impl Into<String>) -> Self {
        let spec = SubscriptionSpec {
            types: OneOrMany::One(types.into()),
            job: Some(JobSpec { kind: K::NAME.to_owned(), ..JobSpec::default() }),
            ..SubscriptionSpec::default()
        };
        self.extensions.subscriptions.insert(K::NAME.to_owned(), spec);
        self.kind::<K>()
    }

    /// Adds a function that does the work on each item of a batch: `process = { rust = "NAME" }`.
    ///
    /// It receives the item and the number of the try, counted from 1, on a thread for items: it may compute, but
    /// should not wait. An item that fails with `retry` is tried again as often as the batch's `item_attempts` says,
    /// and then quarantined.
    pub fn item_handler<F>(mut self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(&Value, u32) -> ItemOut + Send + Sync + 'static,
    {
        self.extensions.items.insert(name.into(), ItemHandler::Sync(Arc::new(function)));
        self
    }

    /// Adds an asynchronous, typed item handler: `process = { rust = "NAME" }`.
    ///
    /// The item is decoded as `In`; an item that does not fit is quarantined with the path of the mismatch. `Out` must
    /// serialize to a JSON object and replaces the item; if it is null, as `None` is, the item is skipped. Items run on
    /// the tokio runtime, `process.concurrency` of a chunk at once, and are dropped at an await when their attempt is
    /// over. A handler that computes for a long time belongs in [`App::item_handler`].
    ///
    /// ```no_run
    /// use gristmill::{App, ItemContext, ItemFailure};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Clone)]
    /// struct Rates { euro: f64 }
    ///
    /// #[derive(Deserialize)]
    /// struct Order { id: u64, dollars: f64 }
    ///
    /// #[derive(Serialize)]
    /// struct Priced { id: u64, euros: f64 }
    ///
    /// async fn price(order: Order, context: ItemContext) -> Result<Priced, ItemFailure> {
    ///     if order.dollars < 0.0 {
    ///         return Err(ItemFailure::permanent("`dollars` is below 0"));
    ///     }
    ///     Ok(Priced { id: order.id, euros: order.dollars * context.state::<Rates>().euro })
    /// }
    ///
    /// fn main() -> std::process::ExitCode {
    ///     App::new().state(Rates { euro: 0.9 }).item("price", price).main()
    /// }
    /// ```
    pub fn item<In, Out, F, Fut>(mut self, name: impl Into<String>, handler: F) -> Self
    where
        In: DeserializeOwned + 'static,
        Out: Serialize + 'static,
        F: Fn(In, ItemContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<Out, ItemFailure>> + Send + 'static,
    {
        let name = name.into();
        self.kinds.push(Box::new(move |extensions| {
            let handler = typed(extensions.states.shared.clone(), handler);
            extensions.items.insert(name, ItemHandler::Async(handler));
        }));
        self
    }

    /// Adds a kind of job whose handler was written for apalis: `task_fn` of an `async fn` with apalis' extractors, or
    /// any tower service of apalis' tasks.
    ///
    /// The payload is decoded as `Args`; one that does not fit fails for good. `Data<T>` is the value passed to
    /// [`App::state`], `TaskId` the job's id, `Attempt` counts from 1, and `WorkerContext` is there in a worker's
    /// process. The handler's result is the job's output. Its error is tried again, unless it is an
    /// [`AbortError`](crate::apalis::AbortError) or a [`Failure`](crate::Failure) that says otherwise. Retries, time
    /// limit and queue are those of `[kind.NAME]`.
    ///
    /// ```no_run
    /// use gristmill::App;
    /// use gristmill::apalis::{AbortError, Attempt, Data, TaskId, task_fn};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Email { to: String }
    ///
    /// #[derive(Clone)]
    /// struct Mailer { from: String }
    ///
    /// async fn send(email: Email, mailer: Data<Mailer>, id: TaskId, attempt: Attempt) -> Result<String, AbortError> {
    ///     if email.to.is_empty() {
    ///         return Err(AbortError::new("nobody to send it to"));
    ///     }
    ///     Ok(format!("{id}: from {} to {}, attempt {}", mailer.from, email.to, attempt.current()))
    /// }
    ///
    /// fn main() -> std::process::ExitCode {
    ///     let mailer = Mailer { from: "shop@example.com".to_owned() };
    ///     App::new().state(mailer).apalis_kind("send-email", task_fn(send)).main()
    /// }
    /// ```
    pub fn apalis_kind<Args, S>(mut self, name: impl Into<String>, service: S) -> Self
    where
        Args: DeserializeOwned + Send + 'static,
        S: Service<Task<Args>, Response: Serialize + Send, Error: Into<BoxDynError>, Future: Send>,
        S: Clone + Send + 'static,
    {
        let name = name.into();
        self.kinds.push(Box::new(move |extensions| {
            let handler = ApalisHandler::new(name.clone(), service, extensions.states.shared.clone());
            extensions.kinds.insert(name, Arc::new(handler));
        }));
        self
    }

    /// Adds a tower layer around every attempt of this program's workers, whatever the kind of job; the first layer
    /// added is the outermost.
    ///
    /// Its service receives an [`AttemptRequest`], in whose `args` are the kind, the id, the attempt, the queue and the
    /// payload, and which carries data inwards (`inject_data`, found by
    /// [`JobContext::extension`](crate::JobContext::extension) and `Data<T>`). It answers with a [`Finish`]: how the
    /// attempt ended, timeouts, panics and cancellations included. It may change the ending, or return one without
    /// calling what it wraps; its error is an ending that may succeed another time. A layer that panics, or takes a
    /// second longer than the job's time limit, costs its own attempt and nothing else.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    /// use std::time::Duration;
    ///
    /// use gristmill::model::settle::Ending;
    /// use gristmill::{App, AttemptRequest, AttemptService, Finish};
    /// use tower::{ServiceExt};
    ///
    /// fn main() -> std::process::ExitCode {
    ///     // After ten failures in a row the shop is left alone: its jobs come again in a minute.
    ///     let failures = Arc::new(AtomicU32::new(0));
    ///     let circuit = tower::layer::layer_fn(move |shop: AttemptService| {
    ///         let failures = Arc::clone(&failures);
    ///         tower::service_fn(move |attempt: AttemptRequest| {
    ///             let (shop, failures) = (shop.clone(), Arc::clone(&failures));
    ///             async move {
    ///                 if attempt.args.kind() != "shop-order" {
    ///                     return shop.oneshot(attempt).await;
    ///                 }
    ///                 if failures.load(Ordering::Relaxed) >= 10 {
    ///                     failures.store(9, Ordering::Relaxed);
    ///                     return Ok(Finish::snooze("the circuit to the shop is open", Duration::from_secs(60)));
    ///                 }
    ///                 let finish = shop.oneshot(attempt).await?;
    ///                 match finish.ending {
    ///                     Ending::Done => failures.store(0, Ordering::Relaxed),
    ///                     _ => drop(failures.fetch_add(1, Ordering::Relaxed)),
    ///                 }
    ///                 Ok(finish)
    ///             }
    ///         })
    ///     });
    ///     App::new().layer(circuit).main()
    /// }
    /// ```
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<AttemptService> + Send + Sync + 'static,
        L::Service: Service<AttemptRequest, Response = Finish, Error: Into<BoxDynError>, Future: Send + 'static>,
        L::Service: Clone + Send + Sync + 'static,
    {
        self.extensions.layers.push(layer);
        self
    }

    /// Shares a value with all kinds and item handlers, such as a pool of connections: [`crate::Context::state`],
    /// [`ItemContext::state`] and apalis' `Data<T>` return it. See [`App::shared_state`] for values that cannot be
    /// cloned.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.extensions.states.shared.insert(state);
        self
    }

    /// The same for a value that cannot be cloned; apalis' extractor finds it as `Data<Arc<T>>`.
    pub fn shared_state<T: Send + Sync + 'static>(mut self, state: Arc<T>) -> Self {
        self.extensions.states.shared.insert_shared(state);
        self
    }

    /// The program's own kinds, for tests that bring their own worker.
    #[cfg(test)]
    pub(crate) fn registry(mut self) -> gristmill_jobs::Registry {
        self.kinds.drain(..).for_each(|add| add(&mut self.extensions));
        self.extensions.kinds
    }

    /// Reads the arguments, carries them out, and returns the exit code.
    pub fn main(self) -> ExitCode {
        crate::runtime::private::keep_private();
        self.run(std::env::args_os().collect()).into()
    }

    /// The same kinds and handlers for a program that owns its own `main` and its tokio runtime: see [`Embedding`].
    pub fn build(self) -> Embedding {
        Embedding::new(self.registered().extensions)
    }

    /// Creates the kinds.
    fn registered(mut self) -> Self {
        for add in std::mem::take(&mut self.kinds) {
            add(&mut self.extensions);
        }
        self
    }

    fn run(self, args: Vec<OsString>) -> Exit {
        let app = self.registered();
        let wants_json = args.iter().skip(1).any(|arg| arg == "--json");
        let mut output = Output::new(wants_json, false, false, Color::Never).logging(said_format(&args));
        let exit = match Cli::try_parse_from(&args) {
            Ok(cli) => app.command(cli, &mut output, args).unwrap_or_else(|error| {
                if wants_json {
                    output.document(&error.document())
                } else {
                    output.failure(&error)
                }
                error.exit
            }),
            Err(error) => refused(&error, wants_json, &output),
        };
        match output::arrived() {
            Ok(()) => exit,
            // Not as a document: that would go where nothing arrives.
            Err(error) => {
                output.failure(&error);
                if exit == Exit::Success { error.exit } else { exit }
            }
        }
    }

    /// Carries a command out; `output` becomes that which its flags and its configuration ask for.
    fn command(self, cli: Cli, output: &mut Output, args: Vec<OsString>) -> Result<Exit> {
        let Global { json, plain, quiet, color, .. } = cli.global;
        *output = Output::new(json, plain, quiet, color).logging(output.messages);
        let layers = layers(&cli);
        let remote = remote(&cli, &layers, *output)?;
        let loaded = match load(&layers) {
            // What a server works with, only the server knows.
            Ok(loaded) if remote.is_some() => loaded.logging_alone(),
            Ok(loaded) => loaded,
            Err(_) if remote.is_some() || !cli.command.needs_config() => {
                let mut loaded = crate::config::Loaded::default();
                loaded.config.log.format = output.messages;
                loaded
            }
            Err(errors) => return Err(all_of(errors)),
        };
        *output = output.logging(loaded.config.log.format);
        loaded.warnings.iter().filter(|_| !quiet).for_each(|warning| output.warning(warning));
        start_log(&cli, &loaded.config.log);
        let tenant = cli.global.tenant.clone().unwrap_or_else(|| DEFAULT_TENANT.to_owned());
        let context = CommandContext::new(loaded, layers, *output, tenant, self.extensions, args);
        let context = context.saying(cli.global.tenant.clone());
        let context = match remote {
            Some(remote) => context.asking(remote),
            None => context,
        };
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

/// The server that a command asks, if any.
fn remote(cli: &Cli, layers: &Layers, output: Output) -> Result<Option<Remote>> {
    let place = cli.command.place();
    if place == Place::Here {
        return Ok(None);
    }
    let global = &cli.global;
    let said = Said { context: global.context.clone(), store: global.store.is_some(), env: layers.env.clone() };
    let Some(chosen) = choose(&said, contexts::known)? else { return Ok(None) };
    if place == Place::Database {
        return Err(CommandError::usage(format!(
            "this works on the database itself, and `{}` is a server",
            chosen.name
        ))
        .hint("add `--context local` for the database of the configuration"));
    }
    Remote::prepare(chosen, global.tenant.clone(), global.confirm.clone(), output).map(Some)
}

/// What the command line refuses, or what it prints on request.
fn refused(error: &clap::Error, wants_json: bool, output: &Output) -> Exit {
    if !error.use_stderr() {
        output::wrote(error.print());
        return Exit::Success;
    }
    let text = error.render().to_string();
    if !wants_json && output.messages == LogFormat::Text {
        // It repeats what it was given. Its colours are ours, and are left out only where foreign ones would come too.
        match visible(&text) {
            // Nothing can be said about a message that cannot be written.
            Cow::Borrowed(_) => drop(error.print()),
            Cow::Owned(text) => output.error(text.trim_end()),
        }
        return Exit::Usage;
    }
    let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let hint = text.lines().find(|line| line.contains("tip:")).map(|line| line.trim().to_owned());
    let error = CommandError { exit: Exit::Usage, message, hint };
    if wants_json {
        output.document(&error.document())
    } else {
        output.failure(&error)
    }
    error.exit
}

/// The format of messages as the flag or else the environment says it, before either has been checked: what is wrong
/// with the flags or the configuration is said in it, too.
fn said_format(args: &[OsString]) -> LogFormat {
    let words: Vec<_> = args.iter().skip(1).map(|arg| arg.to_string_lossy()).collect();
    let joined = words.iter().rev().find_map(|word| word.strip_prefix("--log="));
    let apart = words.iter().position(|word| word == "--log").and_then(|at| words.get(at + 1)).map(AsRef::as_ref);
    let variable = std::env::var("GRISTMILL_LOG_FORMAT").ok();
    match joined.or(apart).or(variable.as_deref()) {
        Some("json") => LogFormat::Json,
        Some(_) | None => LogFormat::Text,
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
