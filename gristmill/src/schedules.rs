//! What schedules are served with: the configuration, and a look at its file now and then.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gristmill_dashboard::hooks::Hooks;
use gristmill_jobs::RegistryOptions;
use gristmill_jobs::pool::ItemPool;
use gristmill_scheduler::schedules::Dress;
use gristmill_scheduler::{Catalogue, Means};
use tokio::sync::watch;

use crate::command::batch_run::{folder, spool_dir};
use crate::config::{Config, KindSettings, Layers, Loaded, load};
use crate::door::{Door, internal};
use crate::exit_code::{CommandError, Result};
use crate::hooks;
use crate::parts::Parts;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What a configuration says, as far as schedules need it.
pub(crate) fn catalogue(loaded: &Loaded) -> Catalogue {
    let config = &loaded.config;
    Catalogue {
        batches: config.batch.clone(),
        schedules: loaded.schedules(),
        limits: config.limit.clone(),
        queues: config.queue.clone(),
        triggers: loaded.triggers(),
        watches: config.watch.clone(),
    }
}

/// What schedules and hooks are served with.
pub(crate) struct Served {
    /// What runs are made with.
    pub(crate) means: Means,
    /// The hooks in force.
    pub(crate) hooks: watch::Receiver<Arc<Hooks>>,
}

/// What schedules and hooks are served with, and what follows changes of the configuration file: it never ends by itself.
///
/// # Errors
///
/// When the current folder cannot be found, no thread be had, or a hook's schema makes no sense.
pub(crate) fn served(door: &Door) -> Result<(Served, impl Future<Output = ()> + Send + 'static)> {
    let (sender, receiver) = watch::channel(Arc::new(catalogue(&door.loaded)));
    let means = means(door, receiver)?;
    let made = hooks::hooks(&door.loaded.config.hook, &means).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(|(key, wrong)| format!("`{key}`: {wrong}")).collect();
        CommandError::usage(errors.join("; "))
    })?;
    let (hook_sender, hooks) = watch::channel(Arc::new(made));
    let (layers, parts) = (door.layers.clone(), door.parts.clone());
    let (file, making) = (door.loaded.file.clone(), means.clone());
    let changed = move |loaded: &Loaded| {
        sender.send_replace(Arc::new(catalogue(loaded)));
        // Schemas were checked before.
        if let Ok(made) = hooks::hooks(&loaded.config.hook, &making) {
            hook_sender.send_replace(Arc::new(made));
        }
    };
    Ok((Served { means, hooks }, follow(file, layers, parts, changed)))
}

/// What a command starts runs with: the configuration as it is now.
///
/// # Errors
///
/// As [`served`].
pub(crate) fn means_now(door: &Door) -> Result<Means> {
    let (_, receiver) = watch::channel(Arc::new(catalogue(&door.loaded)));
    means(door, receiver)
}

fn means(door: &Door, catalogue: watch::Receiver<Arc<Catalogue>>) -> Result<Means> {
    // One thread: the stages are only checked here.
    let pool = ItemPool::new(1).map_err(internal)?;
    Ok(Means {
        tenant: door.tenant.clone(),
        catalogue,
        base_dir: folder()?,
        spool_dir: spool_dir(door)?,
        spool_bytes_max: door.loaded.config.scheduler.copy_bytes_max,
        kinds: RegistryOptions { pool, processors: door.parts.processors() },
        dress: dress(&door.loaded.config, &door.parts),
    })
}

/// What the code of a kind says, then what `[kind.NAME]` says.
fn dress(config: &Config, parts: &Parts) -> Dress {
    let (code, file) = (parts.defaults.clone(), config.kind.clone());
    Arc::new(move |job| {
        for settings in [code.get(&job.kind), file.get(&job.kind)].into_iter().flatten() {
            KindSettings::clone(settings).apply(job);
        }
    })
}

/// Reads the file anew when its content has changed. One that is wrong is left alone, and said once.
async fn follow(file: Option<PathBuf>, layers: Layers, parts: Parts, changed: impl Fn(&Loaded)) {
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
        match reread(&layers, &parts) {
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

fn reread(layers: &Layers, parts: &Parts) -> std::result::Result<Loaded, Vec<String>> {
    let texts = |errors: Vec<crate::config::ConfigError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let loaded = load(layers).map_err(texts)?;
    let errors = crate::check::definitions(&loaded, parts);
    if errors.is_empty() { Ok(loaded) } else { Err(texts(errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_file_is_seen_and_a_wrong_one_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("c.toml");
        let write = |text: &str| std::fs::write(&file, text).expect("written");
        let job = "job = { kind = \"exec\" }";
        write(&format!("[schedule.a]\nevery = \"1h\"\n{job}\n"));
        let layers = Layers { file: Some(file.clone()), ..Layers::default() };
        let loaded = load(&layers).expect("valid");
        let (sender, mut receiver) = watch::channel(Arc::new(catalogue(&loaded)));
        let changed = move |loaded: &Loaded| drop(sender.send_replace(Arc::new(catalogue(loaded))));
        let follows = tokio::spawn(follow(loaded.file.clone(), layers, Parts::default(), changed));
        let names = |catalogue: &Catalogue| catalogue.schedules.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&receiver.borrow()), ["a"]);
        // Until the first look has been taken, a change would not be one.
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
