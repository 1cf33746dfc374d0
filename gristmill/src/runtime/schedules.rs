//! What schedules are served with: the configuration, and a check of its file now and then.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::definition::BatchDefinition;
use gristmill_dashboard::hooks::Hooks;
use gristmill_jobs::RegistryOptions;
use gristmill_jobs::kind::aggregate::AGGREGATE;
use gristmill_jobs::pool::ItemPool;
use gristmill_service::start::{ConfigSnapshot, JobDefaults, RunContext};
use tokio::sync::watch;

use crate::config::definitions::Outputs;
use crate::config::{Config, KindSettings, Loaded};
use crate::exit_code::{CommandError, Result};
use crate::extensions::Extensions;
use crate::runtime::context::{ProcessContext, Reload, current_folder};
use crate::runtime::hooks;

/// How often the file is checked.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The part of a configuration that schedules need.
pub(crate) fn snapshot(loaded: &Loaded, extensions: &Extensions) -> ConfigSnapshot {
    let config = &loaded.config;
    // The file says otherwise where it names the same subscription.
    let mut events = config.events.clone();
    for (name, spec) in &extensions.subscriptions {
        events.subscriptions.entry(name.clone()).or_insert_with(|| spec.clone());
    }
    ConfigSnapshot {
        batches: batches(config),
        schedules: loaded.schedules(),
        limits: config.limit.clone(),
        queues: config.queue.clone(),
        triggers: loaded.triggers(),
        watches: config.watch.clone(),
        events,
    }
}

/// The definitions of batches, each with what `[kind.aggregate]` says where it says nothing itself.
fn batches(config: &Config) -> BTreeMap<String, BatchDefinition> {
    let mut batches = config.batch.clone();
    if let Some(settings) = config.kind.get(AGGREGATE) {
        for batch in batches.values_mut() {
            batch.aggregate_job = settings.behind(batch.aggregate_job.take());
        }
    }
    batches
}

/// What schedules and hooks are served with.
#[derive(Clone)]
pub(crate) struct Served {
    /// What runs are created with.
    pub(crate) run_context: RunContext,
    /// The hooks in force.
    pub(crate) hooks: watch::Receiver<Arc<Hooks>>,
}

/// Returns what schedules and hooks are served with, and the future that follows changes of the configuration file: it
/// never ends by itself.
///
/// # Errors
///
/// When the current folder cannot be found, no thread can be started, or a hook's schema makes no sense.
pub(crate) fn served(context: &ProcessContext) -> Result<(Served, impl Future<Output = ()> + Send + 'static)> {
    let (sender, receiver) = watch::channel(Arc::new(snapshot(&context.loaded, &context.extensions)));
    let run_context = run_context(context, receiver)?;
    let made = hooks::hooks(&context.loaded.config.hook).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(|(key, wrong)| format!("`{key}`: {wrong}")).collect();
        CommandError::usage(errors.join("; "))
    })?;
    let (hook_sender, hooks) = watch::channel(Arc::new(made));
    let (reload, extensions) = (context.reload.clone(), context.extensions.clone());
    let file = context.loaded.file.clone();
    let known = extensions.clone();
    let changed = move |loaded: &Loaded| {
        sender.send_replace(Arc::new(snapshot(loaded, &known)));
        // Schemas were checked before.
        if let Ok(made) = hooks::hooks(&loaded.config.hook) {
            hook_sender.send_replace(Arc::new(made));
        }
    };
    Ok((Served { run_context, hooks }, follow(file, reload, extensions, changed)))
}

/// Returns what a command starts runs with: the configuration as it is now.
///
/// # Errors
///
/// Same as [`served`].
pub(crate) fn run_context_now(context: &ProcessContext) -> Result<RunContext> {
    let (_, receiver) = watch::channel(Arc::new(snapshot(&context.loaded, &context.extensions)));
    run_context(context, receiver)
}

fn run_context(context: &ProcessContext, snapshot: watch::Receiver<Arc<ConfigSnapshot>>) -> Result<RunContext> {
    // One thread: the stages are only checked here.
    let pool = ItemPool::new(1).map_err(CommandError::internal)?;
    Ok(RunContext {
        tenant: context.tenant.clone(),
        snapshot,
        base_dir: current_folder()?,
        spool_dir: context.spool_dir()?,
        spool_bytes_max: context.loaded.config.scheduler.copy_bytes_max,
        kinds: RegistryOptions { pool, processors: context.extensions.processors(&context.loaded.config) },
        job_defaults: job_defaults(&context.loaded.config, &context.extensions),
    })
}

/// What the code of a kind says, then what `[kind.NAME]` says.
fn job_defaults(config: &Config, extensions: &Extensions) -> JobDefaults {
    let (code, file) = (extensions.defaults.clone(), config.kind.clone());
    Arc::new(move |job| {
        for settings in [code.get(&job.kind), file.get(&job.kind)].into_iter().flatten() {
            KindSettings::clone(settings).apply(job);
        }
    })
}

/// Reads the file again when its content has changed. A wrong file is left alone, and reported once.
async fn follow(file: Option<PathBuf>, reload: Reload, extensions: Extensions, changed: impl Fn(&Loaded)) {
    let Some(file) = file else { return std::future::pending().await };
    let mut seen = tokio::fs::read(&file).await.ok();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let found = tokio::fs::read(&file).await.ok();
        // A file that is being replaced is missing for a moment.
        if found.is_none() || found == seen {
            continue;
        }
        seen = found;
        match reread(&reload, &extensions) {
            Ok(loaded) => {
                tracing::info!(
                    file = %file.display(),
                    "the configuration has changed: its schedules, batches, limits, queues, hooks and watched folders are followed"
                );
                changed(&loaded);
            }
            Err(errors) => {
                let errors = errors.join("; ");
                tracing::error!(file = %file.display(), errors, "the configuration has changed and is wrong: the old one stays");
            }
        }
    }
}

fn reread(reload: &Reload, extensions: &Extensions) -> std::result::Result<Loaded, Vec<String>> {
    let texts = |errors: Vec<crate::config::ConfigError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let loaded = reload().map_err(texts)?;
    let errors = crate::config::definitions::definitions(&loaded, extensions, Outputs::Tried);
    if errors.is_empty() { Ok(loaded) } else { Err(texts(errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, load};

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_file_is_seen_and_a_wrong_one_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("c.toml");
        let write = |text: &str| std::fs::write(&file, text).expect("written");
        let job = "job = { kind = \"settle\" }";
        write(&format!("[schedule.a]\nevery = \"1h\"\n{job}\n"));
        let layers = Layers { file: Some(file.clone()), ..Layers::default() };
        let loaded = load(&layers).expect("valid");
        let (sender, mut receiver) = watch::channel(Arc::new(snapshot(&loaded, &Extensions::default())));
        let changed =
            move |loaded: &Loaded| drop(sender.send_replace(Arc::new(snapshot(loaded, &Extensions::default()))));
        let reload: Reload = Arc::new(move || load(&layers));
        let follows = tokio::spawn(follow(loaded.file.clone(), reload, Extensions::default(), changed));
        let names = |snapshot: &ConfigSnapshot| snapshot.schedules.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&receiver.borrow()), ["a"]);
        // Until the first check has been made, a change would go unnoticed.
        tokio::time::sleep(LOOK_EVERY * 2).await;
        write("[schedule.a]\nevery = \"soon\"\n");
        tokio::time::sleep(LOOK_EVERY * 3).await;
        assert_eq!(names(&receiver.borrow_and_update()), ["a"], "a wrong file changes nothing");
        write(&format!("[schedule.b]\nevery = \"1h\"\n{job}\n"));
        receiver.changed().await.expect("the file is followed");
        assert_eq!(names(&receiver.borrow()), ["b"]);
        follows.abort();
    }
}
