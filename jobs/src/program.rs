//! A program that we run: in its own process group, so that it can be ended with everything that it has started, and
//! never outliving the value that represents it.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gristmill_core::attempt_log::LogSource;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::attempt_log::{Lines, SECRET_CHARS_MIN, Voice};
use crate::exec_policy::Launch;
use crate::redact::{HIDDEN, looks_secret, redact_line};

/// How much of a program's standard error is kept for messages.
const TAIL_BYTES: usize = 2_000;

/// How long to wait for the last words of an ended program.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A running program. Dropping it kills it and its whole group.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its first word.
    pub(crate) name: String,
    child: Child,
    group: Option<Pid>,
    tail: Arc<Mutex<Vec<u8>>>,
    /// The attempt that it works for.
    speaks_for: Arc<Mutex<Option<Voice>>>,
    /// What is secret in its variables.
    secrets: Vec<String>,
    listener: Option<JoinHandle<()>>,
}

/// Our ends of its pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
}

impl Program {
    /// Starts it. It gets the variables of the launch alone: a worker's secrets are in its environment.
    ///
    /// # Errors
    ///
    /// When it cannot be started: a text with its name and the folder.
    pub(crate) fn start(launch: &Launch) -> Result<(Self, Pipes), String> {
        let Launch { name, program, arguments, env, dir } = launch;
        let mut prepared = Command::new(program);
        prepared.args(arguments).env_clear().envs(env).current_dir(dir).process_group(0).kill_on_drop(true);
        prepared.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = prepared.spawn().map_err(|error| {
            format!("the program `{name}` cannot be started in the folder `{}`: {error}", dir.display())
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(format!("the program `{name}` has been started without pipes"));
        };
        let (tail, speaks_for) = (Arc::default(), Arc::default());
        let listener = tokio::spawn(listen(name.clone(), stderr, Arc::clone(&tail), Arc::clone(&speaks_for)));
        let is_secret = |name: &OsStr| name.to_str().is_some_and(looks_secret);
        let secrets = env.iter().filter(|(name, _)| is_secret(name)).filter_map(|(_, value)| value.to_str());
        let secrets = secrets.filter(|secret| secret.chars().count() >= SECRET_CHARS_MIN).map(str::to_owned).collect();
        let program = Self { name: name.clone(), child, group, tail, speaks_for, secrets, listener: Some(listener) };
        program.speak();
        Ok((program, Pipes { stdin, stdout }))
    }

    /// What it says from now on is said by the attempt that runs here; it is returned.
    pub(crate) fn speak(&self) -> Option<Voice> {
        let voice = Voice::current();
        if let Some(voice) = &voice {
            voice.hide(self.secrets.iter().cloned());
        }
        voice.clone_into(&mut self.speaks_for.lock().unwrap_or_else(PoisonError::into_inner));
        voice
    }

    /// It works for no attempt for now.
    pub(crate) fn rest(&self) {
        *self.speaks_for.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Its process's id, while it has not been waited for.
    #[cfg(test)]
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it has ended, as far as is known without waiting.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, String> {
        self.child.wait().await.map_err(|error| format!("the program `{}` cannot be waited for: {error}", self.name))
    }

    /// Kills what is left of its group, including the program itself if it still runs.
    pub(crate) fn kill(&self) {
        if let Some(group) = self.group {
            // Usually no process is left to be killed.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Kills it and waits until what it has written on standard error is heard.
    pub(crate) async fn hear_out(&mut self) {
        self.kill();
        // A grandchild in its own group may keep the pipe open: its words are not waited for.
        if let Some(listener) = &mut self.listener
            && tokio::time::timeout(LAST_WORDS, listener).await.is_ok()
        {
            self.listener = None;
        }
    }

    /// Kills it and returns, without secrets, its last words on standard error: empty, or ready to be appended to a text.
    pub(crate) async fn last_words(&mut self) -> String {
        self.hear_out().await;
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let words = String::from_utf8_lossy(&tail).split_whitespace().collect::<Vec<_>>().join(" ");
        let words = self
            .secrets
            .iter()
            .filter(|secret| !secret.is_empty())
            .fold(redact_line(&words), |words, secret| words.replace(secret.as_str(), HIDDEN));
        if words.is_empty() { String::new() } else { format!("; its standard error ends with: {words}") }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        // What it has left running in another group may hold the pipe open for ever.
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

/// Logs each line of standard error and keeps the end of it.
async fn listen(name: String, stderr: ChildStderr, tail: Arc<Mutex<Vec<u8>>>, speaks_for: Arc<Mutex<Option<Voice>>>) {
    let (mut reader, mut lines) = (BufReader::new(stderr), Lines::default());
    loop {
        let piece = reader.fill_buf().await.unwrap_or_default();
        let voice = speaks_for.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(voice) = &voice {
            lines.add(piece, voice, LogSource::Stderr);
        }
        if piece.is_empty() {
            voice.iter().for_each(|voice| lines.end(voice, LogSource::Stderr));
            return;
        }
        tracing::debug!(program = name, "{}", String::from_utf8_lossy(piece).trim_end());
        let used = piece.len();
        {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend_from_slice(piece);
            let surplus = tail.len().saturating_sub(TAIL_BYTES);
            tail.drain(..surplus);
        }
        reader.consume(used);
    }
}

/// How a program ended, for people.
pub(crate) fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        // On Unix only signals leave no code.
        None => format!("was ended by a signal ({status})"),
    }
}
