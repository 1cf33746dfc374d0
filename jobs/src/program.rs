//! A program that we run: in its own process group, so that it can be ended with everything that it has started, and
//! never outliving the value that represents it.

use std::ffi::OsStr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::attempt_log::Voice;
use crate::exec_policy::Launch;
use crate::hidden::{Extent, Secrets};
use crate::redact::is_suspect;
use crate::stderr::Listener;

/// How long to wait for a program that was killed: one that the kernel holds may not end for a while.
const END_WAIT: Duration = Duration::from_millis(500);

/// A running program. Dropping it kills it and its whole group.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its first word.
    pub(crate) name: String,
    child: Child,
    group: Option<Pid>,
    stderr: Listener,
    /// What is secret in its variables.
    secrets: Secrets,
    listening: JoinHandle<()>,
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
        let mut secrets = Secrets::default();
        let secret = env.iter().filter(|(name, _)| is_secret(name));
        secrets.add(secret.map(|(_, value)| value.to_string_lossy().into_owned()));
        let stderr = Listener::new(stderr, speaking(&secrets))
            .map_err(|error| format!("the standard error of the program `{name}` cannot be read: {error}"))?;
        let listening = tokio::spawn(stderr.clone().listen());
        let program = Self { name: name.clone(), child, group, stderr, secrets, listening };
        Ok((program, Pipes { stdin, stdout }))
    }

    /// What it says from now on is said by the attempt that runs here.
    pub(crate) fn speak(&self) {
        self.stderr.speak_for(speaking(&self.secrets));
    }

    /// It works for no attempt for now. What it has said until now was said by the one before.
    pub(crate) fn rest(&self) {
        self.stderr.speak_for(None);
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

    /// Kills it, and hears what it has written on standard error. Once it has ended, all of that is in the pipe: what it has
    /// left running in another group may hold the pipe open for ever, and is not waited for.
    pub(crate) async fn hear_out(&mut self) {
        self.kill();
        let _ = tokio::time::timeout(END_WAIT, self.child.wait()).await;
        self.stderr.hear_out();
    }

    /// What it has said elsewhere, as text without secrets. `is_cut` says that more of it follows.
    pub(crate) fn without_secrets(&self, said: &[u8], is_cut: bool) -> String {
        let extent = if is_cut { Extent::WithoutEnd } else { Extent::Whole };
        self.secrets.hide(&String::from_utf8_lossy(said), extent)
    }

    /// Kills it and returns, without secrets, its last words on standard error: empty, or ready to be appended to a text.
    pub(crate) async fn last_words(&mut self) -> String {
        self.hear_out().await;
        let words = self.stderr.tail(&self.secrets);
        if words.is_empty() { String::new() } else { format!("; its standard error ends with: {words}") }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        // What it has said until it was ended is kept.
        self.stderr.hear_out();
        // What it has left running in another group may hold the pipe open for ever.
        self.listening.abort();
    }
}

/// Whether the value of a variable is not to be seen. Two names are those of folders, whatever they look like.
fn is_secret(name: &OsStr) -> bool {
    is_suspect(&name.to_string_lossy()) && name != "PWD" && name != "OLDPWD"
}

/// The voice of the attempt that runs here, which does not say these secrets.
fn speaking(secrets: &Secrets) -> Option<Voice> {
    let voice = Voice::current()?;
    voice.hide(secrets.iter().cloned());
    Some(voice)
}

/// How a program ended, for people.
pub(crate) fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        // On Unix only signals leave no code.
        None => format!("was ended by a signal ({status})"),
    }
}
