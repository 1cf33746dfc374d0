//! What attempts say while they run: handlers by the events of their log, programs by what they write on their outputs.
//!
//! An attempt has a [`Voice`]. Whatever runs in its task finds it with [`Voice::current`]; the log of the process finds it
//! in the span of the job. What it says is kept within bounds and without secrets, and the [`Recorder`] hands it to the
//! worker, which writes it down. An attempt that says nothing costs neither a lock nor a statement.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use gristmill_core::attempt_log::{AttemptLog, LINE_BYTES_MAX, LogBounds, LogLevel, LogSource};
use gristmill_core::job::Fence;
use gristmill_store::NewLog;
use tokio::sync::Notify;

use crate::hidden::{Extent, Secrets};

tokio::task_local! {
    static CURRENT: Voice;
}

/// Of how many attempts what could not be written down is kept for another try.
const UNWRITTEN_MAX: usize = 1_000;

/// What all attempts of a worker say. Clones share it.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: LogBounds,
    writing: Mutex<Writing>,
    revision: AtomicU64,
    said: Notify,
    /// Something was written down, or could not be.
    tried: Notify,
}

#[derive(Debug, Default)]
struct Writing {
    /// Attempts that have said something since it was written down.
    unwritten: HashMap<Fence, Voice>,
    /// Attempts whose log is being written down. Of one log no two writings are under way at once.
    under_way: HashSet<Fence>,
}

/// What attempts have said, to be written down. Unless it is [`written`](Self::written), it is to be written down again.
#[derive(Debug)]
pub struct Taken {
    recorder: Recorder,
    voices: Vec<Voice>,
    logs: Vec<NewLog>,
}

/// With which an attempt says something. Clones share it.
#[derive(Debug, Clone)]
pub struct Voice(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fence: Fence,
    recorder: Recorder,
    log: Mutex<Said>,
}

#[derive(Debug)]
struct Said {
    log: AttemptLog,
    /// Values that are not to be seen.
    secrets: Secrets,
    /// Whether anything of it was written down.
    written: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can panic halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// One that keeps so much of each attempt.
    pub fn new(bounds: LogBounds) -> Self {
        let (said, tried) = (Notify::new(), Notify::new());
        Self(Arc::new(Shared { bounds, writing: Mutex::default(), revision: AtomicU64::new(0), said, tried }))
    }

    /// The voice of an attempt that begins.
    pub fn voice(&self, fence: Fence) -> Voice {
        let log = Said { log: AttemptLog::new(self.0.bounds), secrets: Secrets::default(), written: false };
        Voice(Arc::new(Inner { fence, recorder: self.clone(), log: Mutex::new(log) }))
    }

    /// Waits until anything was said that is not written down.
    pub async fn said(&self) {
        loop {
            let said = self.0.said.notified();
            if !locked(&self.0.writing).unwritten.is_empty() {
                return;
            }
            said.await;
        }
    }

    /// What these attempts have said since it was written down, once no writing of theirs is under way any more: after this one
    /// nothing of theirs is missing.
    pub async fn take_of(&self, fences: &[Fence]) -> Taken {
        loop {
            let tried = self.0.tried.notified();
            {
                let mut writing = locked(&self.0.writing);
                if writing.unwritten.is_empty() && writing.under_way.is_empty() {
                    return self.taken(Vec::new());
                }
                if !fences.iter().any(|fence| writing.under_way.contains(fence)) {
                    let voices = fences.iter().filter_map(|fence| writing.unwritten.remove(fence)).collect::<Vec<_>>();
                    writing.under_way.extend(voices.iter().map(|voice| voice.0.fence));
                    drop(writing);
                    return self.taken(voices);
                }
            }
            tried.await;
        }
    }

    /// What all attempts have said since it was written down, but for those of which a writing is under way.
    pub fn take(&self) -> Taken {
        let mut writing = locked(&self.0.writing);
        let Writing { unwritten, under_way } = &mut *writing;
        let voices: Vec<Voice> =
            unwritten.extract_if(|fence, _| !under_way.contains(fence)).map(|(_, voice)| voice).collect();
        under_way.extend(voices.iter().map(|voice| voice.0.fence));
        drop(writing);
        self.taken(voices)
    }

    fn taken(&self, voices: Vec<Voice>) -> Taken {
        let logs = voices.iter().map(Voice::taken).collect();
        Taken { recorder: self.clone(), voices, logs }
    }
}

impl Taken {
    /// The logs.
    pub fn logs(&self) -> &[NewLog] {
        &self.logs
    }

    /// It is written down, or cannot be at all.
    pub fn written(mut self) -> Vec<NewLog> {
        self.end(false);
        std::mem::take(&mut self.logs)
    }

    fn end(&mut self, again: bool) {
        let voices = std::mem::take(&mut self.voices);
        if voices.is_empty() {
            return;
        }
        let shared = &self.recorder.0;
        let mut writing = locked(&shared.writing);
        for voice in voices {
            writing.under_way.remove(&voice.0.fence);
            if again && writing.unwritten.len() < UNWRITTEN_MAX {
                writing.unwritten.insert(voice.0.fence, voice);
            }
        }
        drop(writing);
        shared.tried.notify_waiters();
        shared.said.notify_waiters();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.end(true);
    }
}

impl Voice {
    /// That of the attempt which runs in this task.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs something as this attempt.
    pub fn within<T>(&self, run: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), run)
    }

    /// The future, as this attempt.
    pub fn around<F: Future>(self, future: F) -> Spoken<F> {
        CURRENT.scope(self, future)
    }

    /// Says something: each of its lines, without secrets.
    pub fn say(&self, from: LogSource, level: Option<LogLevel>, text: &str) {
        self.say_of(from, level, text, Extent::Whole);
    }

    /// The same of what may be a part of a longer line.
    fn say_of(&self, from: LogSource, level: Option<LogLevel>, text: &str, extent: Extent) {
        let mut said = locked(&self.0.log);
        let text = said.secrets.hide(text, extent);
        if said.log.say(Utc::now(), from, level, &text) {
            drop(said);
            self.unwritten();
        }
    }

    /// Values that are not to be seen in what is said from now on.
    pub fn hide(&self, secrets: impl IntoIterator<Item = String>) {
        locked(&self.0.log).secrets.add(secrets);
    }

    /// Takes back what a program has written on its standard output: it turned out to be something else.
    pub fn take_back_output(&self) {
        let mut said = locked(&self.0.log);
        said.log.take_back_output();
        let (nothing, written) = (said.log.lines().is_empty(), said.written);
        drop(said);
        if nothing && !written {
            locked(&self.0.recorder.0.writing).unwritten.remove(&self.0.fence);
        } else if written {
            self.unwritten();
        }
    }

    fn unwritten(&self) {
        let shared = &self.0.recorder.0;
        locked(&shared.writing).unwritten.insert(self.0.fence, self.clone());
        shared.said.notify_waiters();
    }

    /// What is to be written down.
    fn taken(&self) -> NewLog {
        let mut said = locked(&self.0.log);
        said.written = true;
        let revision = self.0.recorder.0.revision.fetch_add(1, Ordering::Relaxed);
        NewLog {
            fence: self.0.fence,
            revision,
            said: said.log.said(),
            lines: said.log.lines().into_iter().cloned().collect(),
        }
    }
}

/// A future in whose task an attempt speaks.
pub type Spoken<F> = tokio::task::futures::TaskLocalFuture<Voice, F>;

/// Lines out of pieces, such as those that a pipe gives.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
    /// The line is longer than what is kept of it here.
    is_cut: bool,
}

impl Lines {
    /// Says every line that is whole now, and one that is longer than is kept.
    pub(crate) fn add(&mut self, piece: &[u8], voice: &Voice, from: LogSource) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = (2 * LINE_BYTES_MAX).saturating_sub(self.rest.len());
            self.is_cut |= part.len() > room;
            self.rest.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.end(voice, from);
            }
        }
    }

    /// Says what is left.
    pub(crate) fn end(&mut self, voice: &Voice, from: LogSource) {
        let extent = if self.is_cut { Extent::WithoutEnd } else { Extent::Whole };
        voice.say_of(from, None, &String::from_utf8_lossy(&self.rest), extent);
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::id::{JobId, WorkerId};
    use uuid::Uuid;

    use super::*;

    fn recorder() -> Recorder {
        Recorder::new(LogBounds { lines: 10, bytes: 1_000 })
    }

    fn fence(job: u128) -> Fence {
        Fence { job: JobId(Uuid::from_u128(job)), attempt: 1, worker: WorkerId(Uuid::nil()) }
    }

    fn texts(log: &NewLog) -> Vec<&str> {
        log.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[tokio::test]
    async fn what_is_said_in_a_task_is_said_by_its_attempt_and_taken_once() {
        let recorder = recorder();
        let (one, other) = (recorder.voice(fence(1)), recorder.voice(fence(2)));
        let speak = |text: &'static str| async move {
            tokio::task::yield_now().await;
            Voice::current().expect("a voice").say(LogSource::Handler, Some(LogLevel::Info), text);
        };
        tokio::join!(one.clone().around(speak("one")), other.clone().around(speak("other")));
        assert!(Voice::current().is_none());
        recorder.said().await;
        let of_one = recorder.take_of(&[fence(1), fence(3)]).await.written();
        assert_eq!((of_one.len(), texts(&of_one[0])), (1, vec!["one"]));
        let rest = recorder.take().written();
        assert_eq!((rest.len(), texts(&rest[0])), (1, vec!["other"]));
        assert!(recorder.take().written().is_empty() && recorder.take_of(&[fence(1)]).await.written().is_empty());
        one.say(LogSource::Stderr, None, "again");
        let again = recorder.take().written();
        assert_eq!(texts(&again[0]), ["one", "again"], "a log is written as a whole");
        assert!(again[0].revision > of_one[0].revision);
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_written_again_and_no_two_writings_of_a_log_are_under_way() {
        let recorder = recorder();
        let (one, other) = (recorder.voice(fence(1)), recorder.voice(fence(2)));
        one.say(LogSource::Handler, None, "one");
        let lost = recorder.take();
        assert_eq!(texts(&lost.logs()[0]), ["one"]);
        one.say(LogSource::Handler, None, "two");
        other.say(LogSource::Handler, None, "other");
        let of_other = recorder.take().written();
        assert_eq!((of_other.len(), texts(&of_other[0])), (1, vec!["other"]), "that of the first is under way");
        let first = [fence(1)];
        let mut waiting = std::pin::pin!(recorder.take_of(&first));
        assert!(futures::poll!(&mut waiting).is_pending(), "it waits for the one that is under way");
        drop(lost);
        let again = waiting.await.written();
        assert_eq!((again.len(), texts(&again[0])), (1, vec!["one", "two"]));
        assert!(recorder.take().written().is_empty());
    }

    #[test]
    fn what_turned_out_to_be_the_output_is_written_nowhere_or_again_without_it() {
        let recorder = recorder();
        let voice = recorder.voice(fence(1));
        voice.say(LogSource::Stdout, None, "{\"ok\": true}");
        voice.take_back_output();
        assert!(recorder.take().written().is_empty());
        voice.say(LogSource::Stdout, None, "{\"ok\": true}");
        assert_eq!(recorder.take().written().len(), 1);
        voice.take_back_output();
        assert_eq!(texts(&recorder.take().written()[0]), Vec::<&str>::new());
    }

    #[test]
    fn secrets_are_not_said() {
        let recorder = recorder();
        let voice = recorder.voice(fence(1));
        voice.hide(["hunter2".to_owned(), "a".to_owned()]);
        voice.say(LogSource::Stderr, None, "logging in with hunter2 at https://u:hunter3@h.example/ password=hunter4");
        assert_eq!(
            texts(&recorder.take().written()[0]),
            ["logging in with *** at https://***@h.example/ password=***"]
        );
    }

    #[test]
    fn secrets_that_are_broken_by_escape_sequences_or_by_lines_are_not_said() {
        let recorder = recorder();
        let voice = recorder.voice(fence(1));
        voice.hide(["hunter2\n  hunter3\n".to_owned()]);
        voice.say(LogSource::Stderr, None, "it is hun\u{1b}[31mter2\u{1b}[0m");
        voice.say(LogSource::Handler, None, "pass\u{1b}[1mword\u{1b}[0m: hunter4");
        voice.say(LogSource::Stderr, None, "key:\nhunter2\n  hunter3\n");
        let said = recorder.take().written();
        assert_eq!(texts(&said[0]), ["it is ***", "password: ***", "key:", "***", "  ***"]);
    }

    #[test]
    fn a_secret_at_which_a_long_line_is_cut_is_not_said_in_part() {
        let recorder = Recorder::new(LogBounds { lines: 10, bytes: 100_000 });
        let (voice, mut lines) = (recorder.voice(fence(1)), Lines::default());
        voice.hide(["hunter2hunter2".to_owned()]);
        // Colours count as bytes of the line, and are not shown.
        let colours = "\u{1b}[31m".repeat((2 * LINE_BYTES_MAX - 15) / 5);
        let line = format!("{colours}it is hunter2hunter2\n");
        let room = 2 * LINE_BYTES_MAX - colours.len();
        assert!(
            ("it is h".len().."it is hunter2hunter2".len()).contains(&room),
            "the cut is within the secret: {room}"
        );
        lines.add(line.as_bytes(), &voice, LogSource::Stderr);
        assert_eq!(texts(&recorder.take().written()[0]), ["it is"]);
    }

    #[test]
    fn pieces_become_lines() {
        let recorder = recorder();
        let (voice, mut lines) = (recorder.voice(fence(1)), Lines::default());
        for piece in ["first\nsec", "ond\n", "last"] {
            lines.add(piece.as_bytes(), &voice, LogSource::Stderr);
        }
        lines.end(&voice, LogSource::Stderr);
        assert_eq!(texts(&recorder.take().written()[0]), ["first", "second", "last"]);
    }
}
