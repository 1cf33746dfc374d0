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
//! The settings in `[watch.NAME]` are [`WatchSettings`].

mod files;
pub(crate) mod old;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::start::{EventError, EventRequest, RunContext, WatchSettings, turn};
use gristmill_service::{Actor, Order, Service};
use gristmill_store::{FireTick, Firing, Result, StoreError, StoreHandle, TickOutcome, TickView};
use serde_json::json;

use files::Stamp;

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
    reached: HashMap<String, PathBuf>,
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
            let folder = Path::new(&settings.folder);
            match listed(folder).await {
                Ok(files) => self.incoming(&mut look, &files, &mut here).await?,
                Err(error) => look.say(format!("{} cannot be looked at: {error}", folder.display())),
            }
            self.underway(&mut look).await?;
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
        files: &[PathBuf],
        here: &mut HashMap<PathBuf, Seen>,
    ) -> Result<()> {
        let pattern = glob::Pattern::new(&look.settings.pattern).unwrap_or_default();
        let mut taken = 0;
        for path in files {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                look.say(format!("{}: its name is not UTF-8", path.display()));
                continue;
            };
            if files::unfinished(name) || !pattern.matches(name) {
                continue;
            }
            let Some(stamp) = look.stamp(path, name) else { continue };
            let known = self.seen.get(path).filter(|seen| seen.stamp == stamp);
            let since = known.map_or(look.now, |seen| seen.since);
            if known.is_none() && !look.settings.settle.0.is_zero()
                || look.now.saturating_sub(since) < look.settings.settle.0
                || taken == FILES_MAX
            {
                here.insert(path.clone(), Seen { stamp, since });
                continue;
            }
            let (file, name) = (path.clone(), name.to_owned());
            match blocking(move || files::hash(&file, stamp)).await {
                Ok(Some(hash)) => self.take(look, path, &name, &hash, stamp.bytes()).await?,
                Ok(None) => {}
                Err(error) => look.say(format!("{} cannot be read: {error}", path.display())),
            }
            taken += 1;
        }
        Ok(())
    }

    /// Moves a complete file to where it is processed, and writes its row.
    async fn take(&self, look: &mut Look<'_>, path: &Path, name: &str, hash: &str, bytes: u64) -> Result<()> {
        let working = Path::new(&look.settings.folder).join(WORKING);
        let place = format!("{hash}-{name}");
        let there = working.join(&place);
        // One and the same file under both names is a move that was cut off; it is finished below.
        if fs::symlink_metadata(&there).is_ok_and(|there| there.is_file())
            && !files::same_file(path, &there).unwrap_or(false)
        {
            return self.aside(look, path, name, "the same file is being worked on").await;
        }
        let (from, folder) = (path.to_owned(), working.clone());
        let at = match blocking(move || files::move_into(&from, &folder, &place)).await {
            Ok(at) => at,
            Err(error) => {
                look.say(format!("{} cannot be moved to {}: {error}", path.display(), working.display()));
                return Ok(());
            }
        };
        let Some((false, tick)) = self.noted(look, &at, name, hash, bytes).await? else { return Ok(()) };
        // The file came only now, so this row is not about it, unless the file of the row never got here.
        let its = tick.about.as_ref().and_then(|about| about["path"].as_str()).unwrap_or_default();
        if tick.outcome == TickOutcome::Failed {
            return self.again(look, &at, Path::new(its), &tick).await;
        }
        if at == Path::new(its) && !ended(&tick) {
            return Ok(());
        }
        let since = tick.decided_at.to_rfc3339();
        self.aside(look, &at, name, &format!("its content was taken already, at {since}")).await
    }

    /// Restarts a file that has come back after its run could not be started.
    async fn again(&self, look: &mut Look<'_>, at: &Path, place: &Path, tick: &TickView) -> Result<()> {
        if at != place
            && let Err(error) = fs::rename(at, place)
        {
            look.say(format!("{} cannot be moved to {}: {error}", at.display(), place.display()));
            return Ok(());
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
            Err(EventError::Job(wrong) | EventError::Store(StoreError::Invalid(wrong))) => {
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
    async fn aside(&self, look: &mut Look<'_>, path: &Path, name: &str, why: &str) -> Result<()> {
        look.report.duplicates += 1;
        look.count("duplicate");
        look.put_away(path, "done", name, Some(&format!("duplicate: {why}; nothing was started"))).await;
        tracing::info!(watch = look.name, file = name, why, "a file was a duplicate");
        Ok(())
    }

    /// Continues with the files in `working/`, from the step at which each was left.
    async fn underway(&mut self, look: &mut Look<'_>) -> Result<()> {
        let working = Path::new(&look.settings.folder).join(WORKING);
        let files = listed(&working).await.unwrap_or_default();
        let (mut files, reached) = next_of(files, self.reached.remove(look.name));
        if let Some(reached) = reached {
            self.reached.insert(look.name.to_owned(), reached);
        }
        files.retain(|path| !kept_for_a_restart(path));
        let hashes: Vec<String> =
            files.iter().filter_map(|path| split(path)).map(|(hash, _)| hash.to_owned()).collect();
        let rows = self.rows(look.name, &hashes).await?;
        for path in files {
            let Ok(found) = fs::symlink_metadata(&path) else { continue };
            let Some((hash, name)) = split(&path) else {
                look.say(format!("{}: it was not put there by a watched folder", path.display()));
                continue;
            };
            let row = match rows.get(hash) {
                Some(row) => row.clone(),
                None => match self.noted(look, &path, name, hash, found.len()).await? {
                    Some((_, row)) => row,
                    None => continue,
                },
            };
            if ended(&row) {
                self.finish(look, &path, name, &row).await?;
            }
        }
        Ok(())
    }

    /// Puts away a file whose run has ended.
    async fn finish(&self, look: &mut Look<'_>, path: &Path, name: &str, row: &TickView) -> Result<()> {
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
        if let Some(at) = look.put_away(path, folder, name, (!good).then_some(&*why)).await {
            if left && let Err(error) = std::os::unix::fs::symlink(&at, path) {
                look.say(format!("{} cannot be linked: {error}", path.display()));
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

/// One folder during one pass.
struct Look<'a> {
    name: &'a str,
    settings: &'a WatchSettings,
    now: Duration,
    wrong: &'a mut BTreeSet<String>,
    report: &'a mut WatchReport,
}

impl Look<'_> {
    fn say(&mut self, text: String) {
        self.wrong.insert(format!("watch.{}: {text}", self.name));
    }

    fn count(&self, outcome: &'static str) {
        metrics::counter!("gristmill_watch_files_total", "watch" => self.name.to_owned(), "outcome" => outcome)
            .increment(1);
    }

    /// The properties of a file that must stay the same until it is taken.
    fn stamp(&mut self, path: &Path, name: &str) -> Option<Stamp> {
        // Gone again since the folder was listed.
        let found = fs::symlink_metadata(path).ok()?;
        let wrong = if found.is_dir() {
            return None;
        } else if found.is_symlink() {
            "it is a symbolic link, which could lead anywhere; put the file itself there"
        } else if !found.is_file() {
            "it is no regular file"
        } else if found.len() == 0 {
            "it is empty: the program that writes it may not have begun"
        } else if name.len() > NAME_BYTES_MAX {
            "its name is too long; 180 bytes is the most"
        } else {
            return Some(Stamp::of(&found));
        };
        self.say(format!("{}: {wrong}", path.display()));
        None
    }

    /// Moves a file to its final place, with a note beside it, and returns where it is then.
    async fn put_away(&mut self, path: &Path, folder: &str, name: &str, note: Option<&str>) -> Option<PathBuf> {
        let folder = Path::new(&self.settings.folder).join(folder);
        let (from, name, text) = (path.to_owned(), name.to_owned(), note.map(str::to_owned));
        let to = folder.clone();
        let moved = blocking(move || {
            let at = files::move_into(&from, &to, &name)?;
            // The note is a courtesy; the ledger knows.
            let _ = text.map(|text| files::note(&at, &text));
            Ok(at)
        });
        match moved.await {
            Ok(at) => Some(at),
            Err(error) => {
                self.say(format!("{} cannot be moved to {}: {error}", path.display(), folder.display()));
                None
            }
        }
    }
}

/// The files that a pass looks at, of all in their order: those after the last one of the pass before, and from the
/// first one on again. Returns the last one when there are more than one pass looks at.
fn next_of(mut files: Vec<PathBuf>, reached: Option<PathBuf>) -> (Vec<PathBuf>, Option<PathBuf>) {
    if files.len() <= UNDERWAY_MAX {
        return (files, None);
    }
    let first = reached.map_or(0, |reached| files.partition_point(|file| *file <= reached)) % files.len();
    files.rotate_left(first);
    files.truncate(UNDERWAY_MAX);
    let last = files.last().cloned();
    (files, last)
}

/// Whether a path is only a name kept for a restart. The name goes when the file itself has been removed.
fn kept_for_a_restart(path: &Path) -> bool {
    let link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    if link && fs::metadata(path).is_err() {
        let _ = fs::remove_file(path);
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
fn split(path: &Path) -> Option<(&str, &str)> {
    let (hash, name) = path.file_name()?.to_str()?.split_at_checked(HASH_CHARS)?;
    let name = name.strip_prefix('-').filter(|name| !name.is_empty())?;
    hash.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some((hash, name))
}

/// What lies in a folder, by name.
async fn listed(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let folder = folder.to_owned();
    blocking(move || {
        let mut files =
            fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
        files.sort();
        Ok(files)
    })
    .await
}

/// Runs blocking work outside the async runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_looked_at_in_turn_however_many_there_are() {
        let named = |number: usize| PathBuf::from(format!("{number:05}"));
        let all: Vec<PathBuf> = (0..2 * UNDERWAY_MAX + 10).map(named).collect();
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
        let few = vec![named(1), named(2)];
        assert_eq!(next_of(few.clone(), Some(named(1))), (few, None), "few are looked at each time");
    }
}
