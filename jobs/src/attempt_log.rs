//! What attempts say while they run: handlers by the events of their log, programs by what they write on their outputs.
//!
//! An attempt has a [`Voice`]. Whatever runs in its task finds it with [`Voice::current`]; the log of the process finds it
//! in the span of the job. What it says is kept within bounds and without secrets, and the [`Recorder`] hands it to the
//! worker, which writes it down. An attempt that says nothing costs neither a lock nor a statement.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use gristmill_core::attempt_log::{AttemptLog, LINE_BYTES_MAX, LogBounds, LogLevel, LogSource};
use gristmill_core::job::Fence;
use gristmill_store::NewLog;
use tokio::sync::Notify;

use crate::redact::{HIDDEN, redact_line};

tokio::task_local! {
    static CURRENT: Voice;
}

/// The fewest characters of a secret that is looked for in what is said: shorter ones are parts of any text.
pub(crate) const SECRET_CHARS_MIN: usize = 6;

/// What all attempts of a worker say. Clones share it.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: LogBounds,
    /// Attempts that have said something since it was written down.
    unwritten: Mutex<HashMap<Fence, Voice>>,
    revision: AtomicU64,
    said: Notify,
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
    secrets: Vec<String>,
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
        let (unwritten, said) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { bounds, unwritten, revision: AtomicU64::new(0), said }))
    }

    /// The voice of an attempt that begins.
    pub fn voice(&self, fence: Fence) -> Voice {
        let log = Said { log: AttemptLog::new(self.0.bounds), secrets: Vec::new(), written: false };
        Voice(Arc::new(Inner { fence, recorder: self.clone(), log: Mutex::new(log) }))
    }

    /// Waits until anything was said that is not written down.
    pub async fn said(&self) {
        loop {
            let said = self.0.said.notified();
            if !locked(&self.0.unwritten).is_empty() {
                return;
            }
            said.await;
        }
    }

    /// What these attempts have said since it was written down.
    pub fn take_of<'f>(&self, fences: impl IntoIterator<Item = &'f Fence>) -> Vec<NewLog> {
        let mut unwritten = locked(&self.0.unwritten);
        if unwritten.is_empty() {
            return Vec::new();
        }
        let voices: Vec<Voice> = fences.into_iter().filter_map(|fence| unwritten.remove(fence)).collect();
        drop(unwritten);
        voices.iter().map(Voice::taken).collect()
    }

    /// What all attempts have said since it was written down.
    pub fn take(&self) -> Vec<NewLog> {
        let voices: Vec<Voice> = locked(&self.0.unwritten).drain().map(|(_, voice)| voice).collect();
        voices.iter().map(Voice::taken).collect()
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
        let mut said = locked(&self.0.log);
        let mut text = redact_line(text);
        for secret in said.secrets.iter().filter(|secret| text.contains(*secret)).cloned().collect::<Vec<_>>() {
            text = text.replace(&secret, HIDDEN);
        }
        if said.log.say(Utc::now(), from, level, &text) {
            drop(said);
            self.unwritten();
        }
    }

    /// Values that are not to be seen in what is said from now on.
    pub fn hide(&self, secrets: impl IntoIterator<Item = String>) {
        let long = secrets.into_iter().filter(|secret| secret.chars().count() >= SECRET_CHARS_MIN);
        locked(&self.0.log).secrets.extend(long);
    }

    /// Takes back what came from one source: it turned out to be something else.
    pub fn take_back(&self, from: LogSource) {
        let mut said = locked(&self.0.log);
        said.log.take_back(from);
        let (nothing, written) = (said.log.lines().next().is_none(), said.written);
        drop(said);
        if nothing && !written {
            locked(&self.0.recorder.0.unwritten).remove(&self.0.fence);
        } else if written {
            self.unwritten();
        }
    }

    fn unwritten(&self) {
        let shared = &self.0.recorder.0;
        locked(&shared.unwritten).insert(self.0.fence, self.clone());
        shared.said.notify_waiters();
    }

    /// What is to be written down.
    fn taken(&self) -> NewLog {
        let mut said = locked(&self.0.log);
        said.written = true;
        let revision = self.0.recorder.0.revision.fetch_add(1, Ordering::Relaxed);
        NewLog { fence: self.0.fence, revision, said: said.log.said(), lines: said.log.lines().cloned().collect() }
    }
}

/// A future in whose task an attempt speaks.
pub type Spoken<F> = tokio::task::futures::TaskLocalFuture<Voice, F>;

/// Lines out of pieces, such as those that a pipe gives.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Says every line that is whole now, and one that is longer than is kept.
    pub(crate) fn add(&mut self, piece: &[u8], voice: &Voice, from: LogSource) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = (2 * LINE_BYTES_MAX).saturating_sub(self.rest.len());
            self.rest.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.end(voice, from);
            }
        }
    }

    /// Says what is left.
    pub(crate) fn end(&mut self, voice: &Voice, from: LogSource) {
        voice.say(from, None, &String::from_utf8_lossy(&self.rest));
        self.rest.clear();
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
        let of_one = recorder.take_of(&[fence(1), fence(3)]);
        assert_eq!((of_one.len(), texts(&of_one[0])), (1, vec!["one"]));
        let rest = recorder.take();
        assert_eq!((rest.len(), texts(&rest[0])), (1, vec!["other"]));
        assert!(recorder.take().is_empty() && recorder.take_of(&[fence(1)]).is_empty());
        one.say(LogSource::Stderr, None, "again");
        let again = recorder.take();
        assert_eq!(texts(&again[0]), ["one", "again"], "a log is written as a whole");
        assert!(again[0].revision > of_one[0].revision);
    }

    #[test]
    fn what_turned_out_to_be_the_output_is_written_nowhere_or_again_without_it() {
        let recorder = recorder();
        let voice = recorder.voice(fence(1));
        voice.say(LogSource::Stdout, None, "{\"ok\": true}");
        voice.take_back(LogSource::Stdout);
        assert!(recorder.take().is_empty());
        voice.say(LogSource::Stdout, None, "{\"ok\": true}");
        assert_eq!(recorder.take().len(), 1);
        voice.take_back(LogSource::Stdout);
        assert_eq!(texts(&recorder.take()[0]), Vec::<&str>::new());
    }

    #[test]
    fn secrets_are_not_said() {
        let recorder = recorder();
        let voice = recorder.voice(fence(1));
        voice.hide(["hunter2".to_owned(), "a".to_owned()]);
        voice.say(LogSource::Stderr, None, "logging in with hunter2 at https://u:hunter3@h.example/ password=hunter4");
        assert_eq!(texts(&recorder.take()[0]), ["logging in with *** at https://***@h.example/ password=***"]);
    }

    #[test]
    fn pieces_become_lines() {
        let recorder = recorder();
        let (voice, mut lines) = (recorder.voice(fence(1)), Lines::default());
        for piece in ["first\nsec", "ond\n", "last"] {
            lines.add(piece.as_bytes(), &voice, LogSource::Stderr);
        }
        lines.end(&voice, LogSource::Stderr);
        assert_eq!(texts(&recorder.take()[0]), ["first", "second", "last"]);
    }
}
