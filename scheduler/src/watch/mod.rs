//! Watched folders: each complete file starts one run, by its content, and is put away when that run has ended.
//!
//! A file goes through these steps, and a crash leaves each of them either undone or done:
//!
//! 1. It lies in the folder until its length and time have stayed the same for a while; then it is hashed.
//! 2. It is moved to `working/HASH-NAME`.
//! 3. Its row is written into the ledger `watch/NAME`, under its hash:
//!    [`Triggers::note_event`](gristmill_store::Triggers::note_event). Its job is enqueued in that transaction; its batch is
//!    started by the scheduler's pass, like any tick that waits.
//! 4. When its run has ended, it is moved to `done/` or `failed/`.
//!
//! Each pass looks at the files in `working/`, and the ledger says what is next: a file without a row gets its row (the
//! process died after 2), and one whose run has ended is put away (it died before 4). A file whose content is already
//! in the ledger is put into `done/` with a note, and starts nothing.
//!
//! The settings in `[watch.NAME]` are [`WatchSettings`](gristmill_service::start::WatchSettings).

mod files;
mod folder;
mod look;
pub(crate) mod old;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::start::{EventError, EventRequest, RunContext, turn};
use gristmill_service::{Actor, Order, Service};
use gristmill_store::{FireTick, Firing, Result, StoreError, StoreHandle, TickOutcome, TickView, failpoint};
use serde_json::json;

use files::Stamp;
use folder::Folder;
use look::{Found, Look, blocking};

/// The most files of one folder that one pass takes.
const FILES_MAX: usize = 100;

/// The most files in `working/` of one folder that one pass looks at; the next pass goes on after them. Names that are
/// kept for a restart count, too: there may be very many, and each has to be looked at on the disk.
const UNDERWAY_MAX: usize = 1_000;

/// The most bytes of a name: the hash precedes it, and 255 is the most that file systems accept.
const NAME_BYTES_MAX: usize = 180;

/// The length of a hash in characters.
const HASH_CHARS: usize = 64;

/// Where a file lies while its run is under way.
const WORKING: &str = "working";

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatchReport {
    /// Files that started something.
    pub taken: u64,
    /// Files whose content had been seen before.
    pub duplicates: u64,
    /// Files put into `done/`.
    pub done: u64,
    /// Files put into `failed/`.
    pub failed: u64,
}

/// A file that is not known to be complete yet.
#[derive(Debug, Clone, Copy)]
struct Seen {
    stamp: Stamp,
    /// On the caller's clock; only differences count.
    since: Duration,
}

/// Looks at folders, again and again.
#[derive(Debug)]
pub struct Watcher {
    store: StoreHandle,
    service: Service,
    run_context: RunContext,
    seen: HashMap<PathBuf, Seen>,
    /// The last file in `working/` that was looked at, by folder.
    reached: HashMap<String, String>,
    /// The problems that were logged: each is logged once, and again if it recurs after it was solved.
    wrong: BTreeSet<String>,
}

/// The name of a watched folder's ledger.
pub fn ledger(name: &str) -> String {
    format!("watch/{name}")
}

impl Watcher {
    /// A watcher that has seen nothing yet.
    pub fn new(store: StoreHandle, dispatcher: Dispatcher, run_context: RunContext) -> Self {
        let service = Service::new(store.clone(), dispatcher);
        Self { store, service, run_context, seen: HashMap::new(), reached: HashMap::new(), wrong: BTreeSet::new() }
    }

    /// What is wrong with folders and files, as of the last pass.
    pub fn wrong(&self) -> &BTreeSet<String> {
        &self.wrong
    }

    /// Looks at every folder. `now` is on a monotonic clock with any zero.
    ///
    /// # Errors
    ///
    /// Store errors. A disk failure is logged, and tried again at the next pass.
    pub async fn run_once(&mut self, now: Duration) -> Result<WatchReport> {
        let watches = self.run_context.snapshot.borrow().watches.clone();
        let (mut report, mut wrong) = (WatchReport::default(), BTreeSet::new());
        let mut here = HashMap::new();
        for (name, settings) in &watches {
            let mut look = Look { name, settings, now, wrong: &mut wrong, report: &mut report };
            let path = PathBuf::from(&settings.folder);
            let opened = path.clone();
            match blocking(move || listed(Folder::open(&opened)?)).await {
                Ok((folder, names)) => {
                    self.incoming(&mut look, &folder, names, &mut here).await?;
                    self.underway(&mut look, &folder).await?;
                }
                Err(error) => look.say(format!("{} cannot be looked at: {error}", path.display())),
            }
        }
        self.seen = here;
        for text in wrong.difference(&self.wrong) {
            tracing::warn!(wrong = text, "a watched folder has something that is left alone");
        }
        self.wrong = wrong;
        Ok(report)
    }

    /// Takes the files that are complete.
    async fn incoming(
        &mut self,
        look: &mut Look<'_>,
        folder: &Arc<Folder>,
        names: Vec<OsString>,
        here: &mut HashMap<PathBuf, Seen>,
    ) -> Result<()> {
        let pattern = glob::Pattern::new(&look.settings.pattern).unwrap_or_default();
        let mut taken = 0;
        for name in names {
            let name = match name.into_string() {
                Ok(name) => name,
                Err(name) => {
                    look.say(format!("{}: its name is not UTF-8", folder.at(&name.to_string_lossy()).display()));
                    continue;
                }
            };
            if files::unfinished(&name) || !pattern.matches(&name) {
                continue;
            }
            let path = folder.at(&name);
            let Some(stamp) = look.stamp(&path, &name) else { continue };
            let known = self.seen.get(&path).filter(|seen| seen.stamp == stamp);
            let since = known.map_or(look.now, |seen| seen.since);
            if known.is_none() && !look.settings.settle.0.is_zero()
                || look.now.saturating_sub(since) < look.settings.settle.0
                || taken == FILES_MAX
            {
                here.insert(path, Seen { stamp, since });
                continue;
            }
            let (of, at) = (Arc::clone(folder), name.clone());
            match blocking(move || files::hash(&of, &at, stamp)).await {
                Ok(Some((hash, opened))) => {
                    let found = Found { folder: Arc::clone(folder), at: name.clone(), opened: Arc::new(opened) };
                    self.take(look, found, &name, &hash, stamp.bytes()).await?;
                }
                Ok(None) => {}
                Err(error) => look.say(format!("{} cannot be read: {error}", path.display())),
            }
            taken += 1;
        }
        Ok(())
    }

    /// Moves a complete file to where it is processed, and writes its row.
    async fn take(&self, look: &mut Look<'_>, found: Found, name: &str, hash: &str, bytes: u64) -> Result<()> {
        let (folder, place) = (Arc::clone(&found.folder), format!("{hash}-{name}"));
        let working = match blocking(move || folder.within(WORKING)).await {
            Ok(working) => Arc::new(working),
            Err(error) => {
                look.say(format!("{} cannot be worked on: {error}", found.path().display()));
                return Ok(());
            }
        };
        // One and the same file under both names is a move that was cut off; it is finished below.
        if working.has_file(&place) && !working.is(&place, &found.opened) {
            return self.aside(look, &found, name, "the same file is being worked on").await;
        }
        let Some(found) = look.moved(&found, &working, &place).await else { return Ok(()) };
        failpoint::point("watch.moved");
        let at = found.path();
        let Some((false, tick)) = self.noted(look, &at, name, hash, bytes).await? else { return Ok(()) };
        // The file came only now, so this row is not about it, unless the file of the row never got here.
        let its = tick.about.as_ref().and_then(|about| about["path"].as_str()).unwrap_or_default();
        if tick.outcome == TickOutcome::Failed {
            return self.again(look, &found, Path::new(its), &tick).await;
        }
        if at == Path::new(its) && !ended(&tick) {
            return Ok(());
        }
        let since = tick.decided_at.to_rfc3339();
        self.aside(look, &found, name, &format!("its content was taken already, at {since}")).await
    }

    /// Restarts a file that has come back after its run could not be started.
    async fn again(&self, look: &mut Look<'_>, found: &Found, place: &Path, tick: &TickView) -> Result<()> {
        let at = found.path();
        if at != place {
            let renamed = match place.file_name().and_then(|name| name.to_str()) {
                // The row says where it lay then, which is where it lies now unless the settings have changed.
                Some(name) if found.folder.at(name) == place => {
                    found.folder.rename(&found.at, &found.folder, name).map_err(std::io::Error::from)
                }
                _ => Err(std::io::Error::other("the folder has another path than it had")),
            };
            if let Err(error) = renamed {
                look.say(format!("{} cannot be moved to {}: {error}", at.display(), place.display()));
                return Ok(());
            }
        }
        let reason = Some("its file has come back".to_owned());
        let tick = FireTick { outcome: TickOutcome::Waiting, reason, ..turn(tick) };
        let (tenant, schedule) = (self.run_context.tenant.clone(), ledger(look.name));
        self.service.fire(&[Firing { tenant, schedule, advance: None, ticks: vec![tick] }]).await?;
        look.report.taken += 1;
        look.count("taken");
        Ok(())
    }

    /// Writes the row of a file, once, and returns whether it is new, and the row. `None` when it cannot be written as
    /// it is.
    async fn noted(
        &self,
        look: &mut Look<'_>,
        at: &Path,
        name: &str,
        hash: &str,
        bytes: u64,
    ) -> Result<Option<(bool, TickView)>> {
        let about = json!({ "path": at.display().to_string(), "name": name, "bytes": bytes, "sha256": hash });
        let (ledger, spec) = (ledger(look.name), look.settings.starts());
        let order = Order::new(self.run_context.tenant.clone(), Actor::Trigger(ledger.clone()));
        let event = EventRequest { ledger, spec: &spec, key: hash.to_owned(), about, patience: None };
        let noted = match self.service.start_event(&order, &self.run_context, event).await {
            Ok(Some(noted)) => noted,
            Ok(None) => return Ok(None),
            Err(EventError::Job(wrong) | EventError::Unfit(wrong) | EventError::Store(StoreError::Invalid(wrong))) => {
                look.say(format!("{}: {wrong}", at.display()));
                return Ok(None);
            }
            Err(EventError::Store(error)) => return Err(error),
        };
        if noted.fresh {
            look.report.taken += 1;
            look.count("taken");
            tracing::info!(watch = look.name, file = name, bytes, "a file was taken");
        }
        Ok(Some((noted.fresh, noted.tick)))
    }

    /// Puts a file that starts nothing into `done/`.
    async fn aside(&self, look: &mut Look<'_>, found: &Found, name: &str, why: &str) -> Result<()> {
        look.report.duplicates += 1;
        look.count("duplicate");
        look.put_away(found, "done", name, Some(&format!("duplicate: {why}; nothing was started"))).await;
        tracing::info!(watch = look.name, file = name, why, "a file was a duplicate");
        Ok(())
    }

    /// Continues with the files in `working/`, from the step at which each was left.
    async fn underway(&mut self, look: &mut Look<'_>, folder: &Arc<Folder>) -> Result<()> {
        let of = Arc::clone(folder);
        let listed = blocking(move || of.existing(WORKING)?.map(listed).transpose()).await;
        let (working, names) = match listed {
            Ok(Some(listed)) => listed,
            Ok(None) => return Ok(()),
            Err(error) => {
                look.say(error.to_string());
                return Ok(());
            }
        };
        let names = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
        let (mut names, reached) = next_of(names, self.reached.remove(look.name));
        if let Some(reached) = reached {
            self.reached.insert(look.name.to_owned(), reached);
        }
        names.retain(|name| !kept_for_a_restart(&working, name));
        let hashes: Vec<String> = names.iter().filter_map(|at| split(at)).map(|(hash, _)| hash.to_owned()).collect();
        let rows = self.rows(look.name, &hashes).await?;
        for at in names {
            let path = working.at(&at);
            let Some((hash, name)) = split(&at) else {
                look.say(format!("{}: it was not put there by a watched folder", path.display()));
                continue;
            };
            let opened = match working.file(&at) {
                Ok(opened) => Arc::new(opened),
                Err(error) => {
                    look.say(format!("{}: {error}", path.display()));
                    continue;
                }
            };
            let found = Found { folder: Arc::clone(&working), at: at.clone(), opened };
            let row = match rows.get(hash) {
                Some(row) => row.clone(),
                None => match self.unrecorded(look, &found, name, hash).await? {
                    Some(row) => row,
                    None => continue,
                },
            };
            if ended(&row) {
                self.finish(look, &found, name, &row).await?;
            }
        }
        Ok(())
    }

    /// Writes the row of a file that has none, if it has the content that its name says: anybody may have put it there.
    async fn unrecorded(&self, look: &mut Look<'_>, found: &Found, name: &str, hash: &str) -> Result<Option<TickView>> {
        let opened = Arc::clone(&found.opened);
        let known = blocking(move || Ok((files::hash_of(&opened)?, opened.metadata()?.len()))).await;
        match known {
            Ok((content, bytes)) if content == hash => {
                Ok(self.noted(look, &found.path(), name, hash, bytes).await?.map(|(_, row)| row))
            }
            // The name was made, and the process died before the file was moved there.
            Ok((_, 0)) => {
                let _ = found.folder.remove(&found.at);
                Ok(None)
            }
            Ok(_) => {
                look.say(format!("{}: it was not put there by a watched folder", found.path().display()));
                Ok(None)
            }
            Err(error) => {
                look.say(format!("{} cannot be read: {error}", found.path().display()));
                Ok(None)
            }
        }
    }

    /// Puts away a file whose run has ended.
    async fn finish(&self, look: &mut Look<'_>, found: &Found, name: &str, row: &TickView) -> Result<()> {
        let good = row.outcome == TickOutcome::Ran && matches!(row.result.as_deref(), Some("complete" | "done"));
        let run = row.batch.map(|id| format!("batch {id}")).or_else(|| row.job.map(|id| format!("job {id}")));
        let why = [run, row.result.clone(), row.reason.clone()].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let folder = if good { "done" } else { "failed" };
        let left = match row.batch {
            Some(id) => self.store.batch(&self.run_context.tenant, id).await?,
            None => None,
        };
        // What a restart or a redrive would read again must stay under the name that the batch knows.
        let left = left.is_some_and(|batch| batch.state != BatchState::Complete || batch.chunks_dead > 0);
        if let Some(at) = look.put_away(found, folder, name, (!good).then_some(&*why)).await {
            if left && let Err(error) = found.folder.lead(&found.at, &at) {
                look.say(format!("{} cannot be linked: {error}", found.path().display()));
            }
            let report = &mut look.report;
            *(if good { &mut report.done } else { &mut report.failed }) += 1;
            look.count(folder);
        }
        Ok(())
    }

    /// The rows of files, by their hash.
    async fn rows(&self, name: &str, hashes: &[String]) -> Result<HashMap<String, TickView>> {
        if hashes.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.store.events(&self.run_context.tenant, &ledger(name), hashes).await?;
        Ok(rows.into_iter().filter_map(|row| Some((row.event.clone()?, row))).collect())
    }
}

/// The files that a pass looks at, of all in their order: those after the last one of the pass before, and from the
/// first one on again. Returns the last one when there are more than one pass looks at.
fn next_of(mut files: Vec<String>, reached: Option<String>) -> (Vec<String>, Option<String>) {
    if files.len() <= UNDERWAY_MAX {
        return (files, None);
    }
    let first = reached.map_or(0, |reached| files.partition_point(|file| *file <= reached)) % files.len();
    files.rotate_left(first);
    files.truncate(UNDERWAY_MAX);
    let last = files.last().cloned();
    (files, last)
}

/// Whether a name is only kept for a restart. It goes when the file itself has been removed.
fn kept_for_a_restart(working: &Folder, name: &str) -> bool {
    let path = working.at(name);
    let link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
    if link && fs::metadata(&path).is_err() {
        let _ = working.remove(name);
    }
    link
}

/// Whether a row will no longer change by itself.
fn ended(row: &TickView) -> bool {
    match row.outcome {
        TickOutcome::Ran => !row.active,
        TickOutcome::Waiting | TickOutcome::Buffered => false,
        TickOutcome::Failed | TickOutcome::SkippedMissed | TickOutcome::SkippedOverlap => true,
    }
}

/// The hash and the name in `HASH-NAME`.
fn split(at: &str) -> Option<(&str, &str)> {
    let (hash, name) = at.split_at_checked(HASH_CHARS)?;
    let name = name.strip_prefix('-').filter(|name| !name.is_empty())?;
    hash.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some((hash, name))
}

/// A folder with what lies in it, by name.
fn listed(folder: Folder) -> std::io::Result<(Arc<Folder>, Vec<OsString>)> {
    let names = folder.names()?;
    Ok((Arc::new(folder), names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_looked_at_in_turn_however_many_there_are() {
        let named = |number: usize| format!("{number:05}");
        let all: Vec<String> = (0..2 * UNDERWAY_MAX + 10).map(named).collect();
        let (mut looked_at, mut reached) = (BTreeSet::new(), None);
        for _ in 0..3 {
            let (files, last) = next_of(all.clone(), reached);
            assert_eq!(files.len(), UNDERWAY_MAX);
            looked_at.extend(files);
            reached = last;
        }
        assert_eq!(looked_at.len(), all.len());
        // The last one is gone meanwhile, or everything before it.
        let (files, _) = next_of(all[5..].to_vec(), Some(named(2)));
        assert_eq!(files.first(), Some(&named(5)));
        let few: Vec<String> = vec![named(1), named(2)];
        assert_eq!(next_of(few.clone(), Some(named(1))), (few, None), "few are looked at each time");
    }
}
