//! The processes of a schedule, and what becomes of them.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::env::TestEnv;
use crate::plan::{Crash, Plan, Role};

/// How long a worker's lease is here.
pub const LEASE: Duration = Duration::from_millis(2_000);

/// For how long whoever is stalled stays so: well past the lease.
const STALLED_FOR: Duration = Duration::from_millis(3_000);

/// The exit code of a command that could not reach a server.
const UNREACHABLE: i32 = 8;

/// What all commands of a schedule have in common.
#[derive(Debug, Clone)]
pub struct Program {
    binary: PathBuf,
    folder: PathBuf,
    env: Vec<(String, String)>,
}

impl Program {
    /// The program in this place, with short leases and quick timers.
    pub fn new(binary: &Path, env: &TestEnv) -> Self {
        let settings = [
            ("WORKER_LEASE", format!("{}ms", LEASE.as_millis())),
            ("WORKER_BEAT", "400ms".to_owned()),
            ("WORKER_SLOTS", "4".to_owned()),
            ("WORKER_ITEM_THREADS", "1".to_owned()),
            ("WORKER_DRAIN", "5s".to_owned()),
            ("SCHEDULER_DUTIES_PROBE", "1s".to_owned()),
            ("SCHEDULER_DUTIES_RECONCILE", "1s".to_owned()),
            ("SCHEDULER_DUTIES_SPOOLS", "1s".to_owned()),
            ("BROKER_NAMESPACE", env.namespace.clone()),
            ("BROKER_CONFIRM_TIMEOUT", "2s".to_owned()),
            ("BROKER_HEARTBEAT", "2s".to_owned()),
            ("BROKER_FALLBACK_AFTER", "2s".to_owned()),
            ("STORE_URL", env.store_url()),
            ("BROKER_URL", env.broker_url()),
            ("STORE_CONNECTIONS", "2".to_owned()),
            ("STORE_ACQUIRE_TIMEOUT", "3s".to_owned()),
            ("LOG_LEVEL", std::env::var("GRISTMILL_CAMPAIGN_LOG").unwrap_or_else(|_| "info".to_owned())),
        ];
        Self::of(binary, env.folder.path(), settings)
    }

    /// The program in a folder of its own, with these settings; failpoints are told to `points.log` there.
    pub fn of<'s>(binary: &Path, folder: &Path, settings: impl IntoIterator<Item = (&'s str, String)>) -> Self {
        let named = settings.into_iter().map(|(name, value)| (format!("GRISTMILL_{name}"), value));
        let programs = ("GRISTMILL_EXEC_PROGRAMS".to_owned(), "/bin/sh,/bin/sleep".to_owned());
        let log = ("GRISTMILL_KILL_LOG".to_owned(), folder.join("points.log").display().to_string());
        Self { binary: binary.to_owned(), folder: folder.to_owned(), env: named.chain([programs, log]).collect() }
    }

    /// A command that writes to its own log file, and dies with the harness.
    pub fn command(&self, arguments: &[&str], failpoint: Option<&Crash>, log: &str) -> Command {
        let errors = File::options().append(true).create(true).open(self.folder.join(log)).expect("a writable folder");
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .kill_on_drop(true);
        if let Some(failpoint) = failpoint {
            let variable = if failpoint.stall { "GRISTMILL_STALL" } else { "GRISTMILL_KILL" };
            command.env(variable, format!("{}:{}", failpoint.point, failpoint.nth));
        }
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    pub async fn run(&self, arguments: &[&str], failpoint: Option<&Crash>) -> ExitStatus {
        self.command(arguments, failpoint, "commands.log").status().await.expect("the program starts")
    }

    /// Runs a command, as people do, until it works.
    ///
    /// # Errors
    ///
    /// When it has not worked for two minutes.
    pub async fn insist(&self, arguments: &[&str]) -> Result<(), String> {
        let began = Instant::now();
        while !self.run(arguments, None).await.success() {
            if began.elapsed() > Duration::from_secs(120) {
                return Err(format!("`{}` has not worked for two minutes", arguments.join(" ")));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Actor {
    role: Role,
    name: String,
    child: Child,
    crashes: VecDeque<Crash>,
    stalled: Option<Instant>,
}

/// All long-running processes of a schedule. Whoever ends is started again.
#[derive(Debug)]
pub struct Actors {
    program: Program,
    actors: Vec<Actor>,
    /// How many processes ended by SIGKILL, whoever sent it.
    pub killed: u64,
    /// How many were stalled past their lease.
    pub stalled: u64,
}

impl Actors {
    /// Starts them: workers first, then schedulers.
    pub fn start(program: &Program, plan: &Plan) -> Self {
        let roles = [(Role::Worker, plan.workers), (Role::Scheduler, plan.schedulers)];
        let mut all = Self { program: program.clone(), actors: Vec::new(), killed: 0, stalled: 0 };
        for (role, count) in roles {
            let crashes: Vec<&Crash> = plan.crashes.iter().filter(|(who, _)| *who == role).map(|(_, c)| c).collect();
            for number in 0..count {
                // Dealt out like cards: the first ones are what the seed is about.
                let mut own: VecDeque<Crash> = crashes.iter().skip(number).step_by(count).copied().cloned().collect();
                let name = format!("{role:?}-{number}").to_lowercase();
                let child = spawn(program, role, own.pop_front().as_ref(), &name);
                all.actors.push(Actor { role, name, child, crashes: own, stalled: None });
            }
        }
        all
    }

    /// Sends a signal. Whoever has just ended does not get it.
    pub fn signal(&self, who: usize, signal: Signal) {
        if let Some(pid) = self.actors.get(who).and_then(|actor| pid(&actor.child)) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Looks after them once: starts again who has ended, and lets go on who was stalled for long enough.
    ///
    /// # Panics
    ///
    /// When a process cannot be started.
    pub fn tend(&mut self) {
        let Self { program, actors, killed, stalled } = self;
        for actor in actors {
            if let Ok(Some(status)) = actor.child.try_wait() {
                *killed += u64::from(status.signal() == Some(Signal::KILL.as_raw()));
                actor.stalled = None;
                actor.child = spawn(program, actor.role, actor.crashes.pop_front().as_ref(), &actor.name);
            } else if is_stopped(&actor.child) {
                let since = *actor.stalled.get_or_insert_with(|| {
                    *stalled += 1;
                    Instant::now()
                });
                if since.elapsed() >= STALLED_FOR {
                    go_on(&actor.child);
                }
            } else {
                actor.stalled = None;
            }
        }
    }

    /// From now on nobody crashes any more, and whoever could still do so is replaced by one who cannot.
    pub async fn calm(&mut self) {
        for actor in &mut self.actors {
            go_on(&actor.child);
            actor.crashes.clear();
            // It may carry a failpoint that it has not reached; this is the last fault.
            let _ = actor.child.kill().await;
        }
    }

    /// Starts them all once more, after they were stopped.
    pub fn again(&mut self) {
        let Self { program, actors, .. } = self;
        for actor in actors {
            actor.child = spawn(program, actor.role, None, &actor.name);
        }
    }

    /// SIGTERM to all, and waits. Where servers are struck one may end because a server cannot be reached.
    ///
    /// # Errors
    ///
    /// Says who did not end, or not well.
    pub async fn stop(&mut self, struck: bool) -> Result<(), String> {
        for who in 0..self.actors.len() {
            self.signal(who, Signal::TERM);
        }
        for actor in &mut self.actors {
            let ended = tokio::time::timeout(Duration::from_secs(120), actor.child.wait()).await;
            match ended {
                // One that had only just been started again need not have listened to signals yet.
                Ok(Ok(status)) if status.success() || status.code() == Some(143) || status.signal() == Some(15) => {}
                Ok(Ok(status)) if struck && status.code() == Some(UNREACHABLE) => {}
                Ok(Ok(status)) => return Err(format!("{} ended its graceful stop with {status}", actor.name)),
                Ok(Err(error)) => return Err(format!("{}: {error}", actor.name)),
                Err(_) => return Err(format!("{} has not ended two minutes after SIGTERM", actor.name)),
            }
        }
        Ok(())
    }
}

fn spawn(program: &Program, role: Role, failpoint: Option<&Crash>, name: &str) -> Child {
    let arguments: &[&str] = if role == Role::Worker { &["worker"] } else { &["scheduler"] };
    program.command(arguments, failpoint, &format!("{name}.log")).spawn().expect("the program starts")
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()?).ok()?)
}

fn go_on(child: &Child) {
    if let Some(pid) = pid(child) {
        // Whoever has ended needs no signal.
        let _ = kill_process(pid, Signal::CONT);
    }
}

/// Whether the system says that it is stopped.
fn is_stopped(child: &Child) -> bool {
    let Some(id) = child.id() else { return false };
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}
