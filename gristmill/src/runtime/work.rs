//! Work in this process: as a service, or for as long as a command waits.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gristmill_dashboard::hooks::Receiver;
use gristmill_jobs::kind::aggregate::AGGREGATE;
use gristmill_jobs::kind::chunk::CHUNK;
use gristmill_jobs::notify::NotifySettings;
use gristmill_jobs::pool::{ItemPool, StuckThreads};
use gristmill_jobs::registry::add_effects;
use gristmill_jobs::settings::EffectSettings;
use gristmill_jobs::{Finish, Handler, JobContext, Registry, RegistryOptions, registry};
use gristmill_scheduler::{SchedulerError, SchedulerOptions};
use gristmill_service::Service;
use gristmill_service::start::RunContext;
use gristmill_store::{StoreError, StoreHandle, WorkGuard};
use gristmill_worker::WorkerOptions;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::KindSettings;
use crate::exit_code::{CommandError, Exit, Result, broker_exit};
use crate::extensions::webhook_settings;
use crate::runtime::context::ProcessContext;
use crate::runtime::retention::pruner_options;
use crate::runtime::roles::Roles;
use crate::runtime::schedules::Served;

/// Which process works while a command waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// This process, unless a worker is alive
    #[default]
    Auto,
    /// This process, whoever else does
    Always,
    /// Others only
    Never,
}

/// How long a command waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// As long as it takes.
    Ever,
    /// At most this long.
    AtMost(Duration),
}

impl WaitFor {
    /// The limit, when there is one.
    pub(crate) fn at_most(self) -> Option<Duration> {
        match self {
            Self::Ever => None,
            Self::AtMost(limit) => Some(limit),
        }
    }
}

impl FromStr for WaitFor {
    type Err = gristmill_core::duration::BadDuration;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        if text == "forever" {
            return Ok(Self::Ever);
        }
        gristmill_core::duration::parse(text).map(Self::AtMost)
    }
}

/// How often a process that only waits checks whether another process still works.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Work that goes on while a command waits.
pub(crate) struct Working {
    work: Work,
    roles: Roles,
    tasks: JoinSet<Result<()>>,
    stop: CancellationToken,
    ended: CancellationToken,
    looked: Instant,
    /// Held for as long as this process works.
    guard: Option<WorkGuard>,
    /// Whether it is a service, which serves schedules too.
    serves: bool,
    /// What it serves them with.
    served: Option<Served>,
}

impl Working {
    /// Only waits; other processes work.
    pub(crate) fn idle() -> Self {
        Self {
            work: Work::Never,
            roles: Roles::default(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            looked: Instant::now(),
            guard: None,
            serves: false,
            served: None,
        }
    }

    /// Begins to work here if that is wanted and no other process works.
    ///
    /// # Errors
    ///
    /// When the store refuses.
    pub(crate) async fn begin(context: &ProcessContext, store: &StoreHandle, work: Work) -> Result<Self> {
        let mut working = Self { work, ..Self::idle() };
        working.take_over(context, store).await?;
        Ok(working)
    }

    /// Checks, now and then, whether the processes that work still do: one that worked while this process waited may
    /// have ended with its own batch, and ours would wait for ever.
    ///
    /// # Errors
    ///
    /// When the store refuses.
    pub(crate) async fn look(&mut self, context: &ProcessContext, store: &StoreHandle) -> Result<()> {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            self.take_over(context, store).await?;
        }
        Ok(())
    }

    async fn take_over(&mut self, context: &ProcessContext, store: &StoreHandle) -> Result<()> {
        let wanted = Roles::BOTH;
        if self.work == Work::Never || self.roles == wanted {
            return Ok(());
        }
        let missing = if store.embedded() {
            match context.service().await?.begin_work().await {
                Ok(guard) => {
                    self.guard = Some(guard);
                    wanted
                }
                Err(StoreError::Locked(_)) => Roles::default(),
                Err(error) => return Err(error.into()),
            }
        } else {
            missing(store, self.work).await?
        };
        let roles = Roles {
            worker: missing.worker && !self.roles.worker,
            scheduler: missing.scheduler && !self.roles.scheduler,
        };
        if roles.worker {
            context.note("no worker is alive: this process does the work until it is done");
        } else if roles.scheduler {
            context.note("no scheduler is alive: this process does its duties until the wait is over");
        }
        self.start(context, store, roles).await
    }

    /// Works as a service with these roles.
    ///
    /// # Errors
    ///
    /// When another process works on an embedded store, or the store or the broker refuses.
    pub(crate) async fn serve(context: &ProcessContext, store: &StoreHandle, roles: Roles) -> Result<Self> {
        let mut working =
            Self { guard: Some(context.service().await?.begin_work().await?), serves: true, ..Self::idle() };
        working.start(context, store, roles).await?;
        Ok(working)
    }

    async fn start(&mut self, context: &ProcessContext, store: &StoreHandle, roles: Roles) -> Result<()> {
        if roles.scheduler {
            // A command that waits serves no schedules: its configuration may be a different one.
            let schedules = if self.serves { Some(self.schedules(context, store).await?) } else { None };
            let options = scheduler_options(context, schedules).await?;
            let (stop, done) = (self.stop.clone(), self.ended.clone().drop_guard());
            self.roles.scheduler = true;
            self.tasks.spawn(async move {
                let _done = done;
                let ended = gristmill_scheduler::run(options, stop.cancelled_owned()).await;
                ended.map_err(|error| scheduler_trouble(&error))
            });
        }
        if roles.worker {
            self.roles.worker = true;
            let options = worker_options(context, self.roles).await?;
            let (stop, done) = (self.stop.clone(), self.ended.clone().drop_guard());
            self.tasks.spawn(async move {
                // Whatever ends it, panics included, the waiting process is notified.
                let _done = done;
                let worked = gristmill_worker::run(options, stop.cancelled_owned()).await;
                worked.map(drop).map_err(|error| worker_trouble(&error))
            });
            self.end_when_stuck(context.stuck.clone());
        }
        Ok(())
    }

    /// Ends the work when too many threads for items do not come back: each of them keeps a core and its memory.
    fn end_when_stuck(&mut self, stuck: StuckThreads) {
        let (stop, ended) = (self.stop.clone(), self.ended.clone());
        self.tasks.spawn(async move {
            if stop.run_until_cancelled(stuck.full()).await.is_none() {
                return Ok(());
            }
            ended.cancel();
            Err(CommandError::internal(format!(
                "{} threads for items did not come back although their attempts are over, and this process bears no more",
                stuck.count()
            ))
            .hint("the log names the jobs that timed out; correct what their items run, then start this process again"))
        });
    }

    /// Serves schedules, checks the configuration file now and then, and accepts deliveries.
    async fn schedules(&mut self, context: &ProcessContext, store: &StoreHandle) -> Result<RunContext> {
        let (served, follow) = crate::runtime::schedules::served(context)?;
        self.served = Some(served.clone());
        let Served { run_context, hooks } = served;
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(follow).await;
            Ok(())
        });
        let address = &context.loaded.config.scheduler.hooks;
        if !address.is_empty() {
            let bound = gristmill_telemetry::bind(address).await.map_err(crate::runtime::metrics::trouble)?;
            if let Ok(address) = bound.addr() {
                context.note(format!("hooks on http://{address}/hooks/NAME"));
            }
            let service = Service::new(Arc::clone(store), context.dispatcher().await?);
            let config = &context.loaded.config;
            let listener = config.listener.clone();
            let receiver = Receiver { service, run_context: run_context.clone(), hooks, listener };
            let (stop, drain) = (self.stop.clone(), config.worker.drain.0);
            self.tasks.spawn(async move {
                receiver.serve(bound, drain, stop.cancelled_owned()).await;
                Ok(())
            });
        }
        Ok(run_context)
    }

    /// Whether this process claims and runs jobs.
    pub(crate) fn works(&self) -> bool {
        self.roles.worker
    }

    /// What schedules and hooks are served with, where they are.
    pub(crate) fn served(&self) -> Option<&Served> {
        self.served.as_ref()
    }

    /// Fires when one of the roles has ended, whatever ended it.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Stops claiming, lets running jobs finish within the drain time, gives the rest back, and leaves.
    ///
    /// # Errors
    ///
    /// The error that ended one of the roles before it was asked to end.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.stop.cancel();
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended =
                ended.unwrap_or_else(|error| Err(CommandError::internal(format!("the work broke off: {error}"))));
            result = result.and(ended);
        }
        result
    }
}

/// Returns the roles that no live process has.
async fn missing(store: &StoreHandle, work: Work) -> Result<Roles> {
    let workers = store.workers().await?;
    let alive = |roles: [&str; 2]| {
        workers.iter().any(|worker| worker.state == "alive" && roles.contains(&worker.role.as_str()))
    };
    Ok(Roles { worker: work == Work::Always || !alive(["worker", "dev"]), scheduler: !alive(["scheduler", "dev"]) })
}

/// The kinds of this program: those that come with it and its own.
fn kinds(context: &ProcessContext) -> Result<Registry> {
    let config = &context.loaded.config;
    let pool = ItemPool::counting(config.worker.item_threads, &context.stuck).map_err(CommandError::internal)?;
    let mut registry = registry(RegistryOptions { pool, processors: context.extensions.processors(config) });
    let effects = EffectSettings {
        mail: config.mail.clone(),
        webhook: webhook_settings(config),
        notify: NotifySettings {
            channels: config.notify.clone(),
            pages: config.accounts.url.trim_end_matches('/').to_owned(),
        },
        exec: config.exec.clone(),
        http: config.http.clone(),
    };
    add_effects(&mut registry, &effects).map_err(CommandError::usage)?;
    // The aggregate of a batch knows what its definition says, not what [kind.NAME] says.
    if let Some(handler) = registry.get(AGGREGATE).map(Arc::clone) {
        registry.insert(AGGREGATE, Arc::new(Following { handler, said: config.kind.clone() }));
    }
    context.extensions.states.follow_settings(&config.kind);
    context.extensions.kinds.kinds().iter().try_for_each(|name| refuse_reserved(name))?;
    registry.extend(&context.extensions.kinds);
    Ok(registry)
}

/// Effects may be replaced; without these two no batch would be counted or end as it should.
fn refuse_reserved(name: &str) -> Result<()> {
    if [CHUNK, AGGREGATE].contains(&name) {
        return Err(CommandError::usage(format!(
            "the kind `{name}` is what batches are made of; give yours another name"
        )));
    }
    Ok(())
}

/// A handler whose further jobs, such as a batch's emails, follow the settings of their [kind.NAME].
struct Following {
    handler: Arc<dyn Handler>,
    said: BTreeMap<String, KindSettings>,
}

#[async_trait]
impl Handler for Following {
    async fn run(&self, context: JobContext) -> Finish {
        let mut finish = self.handler.run(context).await;
        for job in &mut finish.follow {
            if let Some(settings) = self.said.get(&job.kind) {
                settings.clone().apply(job);
            }
        }
        finish
    }
}

async fn worker_options(context: &ProcessContext, roles: Roles) -> Result<WorkerOptions> {
    let config = &context.loaded.config;
    Ok(WorkerOptions {
        store: context.store().await?,
        dispatcher: context.dispatcher().await?,
        registry: kinds(context)?,
        layers: context.extensions.layers.clone(),
        settings: config.worker.clone(),
        fallback_after: config.broker.fallback_after.0,
        role: roles.word().to_owned(),
    })
}

async fn scheduler_options(context: &ProcessContext, schedules: Option<RunContext>) -> Result<SchedulerOptions> {
    let settings = context.loaded.config.scheduler.clone();
    Ok(SchedulerOptions {
        store: context.store().await?,
        dispatcher: context.dispatcher().await?,
        settings,
        schedules,
        retention: pruner_options(&context.loaded.config, false),
        audit: context.loaded.config.audit.clone(),
    })
}

fn scheduler_trouble(error: &SchedulerError) -> CommandError {
    let exit = match error {
        SchedulerError::Store(StoreError::Unavailable(_)) => Exit::Unavailable,
        SchedulerError::Broker(error) => broker_exit(error),
        SchedulerError::Store(_) => Exit::Conflict,
        SchedulerError::Clock(_) => Exit::Internal,
    };
    CommandError::new(exit, error.to_string())
}

fn worker_trouble(error: &gristmill_worker::WorkerError) -> CommandError {
    use gristmill_worker::WorkerError;
    let exit = match error {
        WorkerError::Store(StoreError::Unavailable(_)) => Exit::Unavailable,
        WorkerError::Broker(error) => broker_exit(error),
        WorkerError::Store(_) => Exit::Conflict,
        WorkerError::Settings(_) => Exit::Usage,
        WorkerError::Runner(_) => Exit::Internal,
    };
    CommandError::new(exit, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_cannot_take_the_place_of_what_batches_are_made_of() {
        assert!(refuse_reserved("chunk").is_err() && refuse_reserved("aggregate").is_err());
        assert!(refuse_reserved("email").is_ok() && refuse_reserved("resize").is_ok());
    }
}
