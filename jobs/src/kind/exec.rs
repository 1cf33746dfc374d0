//! Kind `exec`: one run of a program, with JSON on its standard input; its standard output is the job's output.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::handler::{Finish, Handler, JobContext};
pub use crate::kind::one_run::OUTPUT_BYTES_MAX;
use crate::kind::one_run::until_its_end;
use crate::kind::payload::{self, ExecPayload};
use crate::program::{self, Pipes, Program};
use crate::settings::ExecSettings;

/// Exit codes that mean that no retry helps (BSD `sysexits`): usage, data, configuration.
const PERMANENT: [i32; 3] = [64, 65, 78];

/// The exit code that means "not now" (BSD `sysexits`: `EX_TEMPFAIL`).
const NOT_NOW: i32 = 75;

/// Runs programs. Exit code 0 is done; 64, 65 and 78 are permanent; all others are retried while there are attempts.
/// With 75 (`EX_TEMPFAIL`) and `{"snooze": "10m"}` as its output a program says that it is too early: it runs again
/// after that time, and no attempt is spent.
#[derive(Debug)]
pub struct ExecHandler {
    settings: ExecSettings,
}

impl ExecHandler {
    /// Creates one from the settings.
    pub fn new(settings: &ExecSettings) -> Self {
        Self { settings: settings.clone() }
    }

    async fn attempt(&self, context: &JobContext) -> Result<Finish, Finish> {
        let payload: ExecPayload = payload::read(payload::EXEC, &context.job.payload).map_err(Finish::permanent)?;
        self.allow(&payload).map_err(Finish::permanent)?;
        let mut env = payload.env.clone();
        env.insert("GRISTMILL_JOB_ID".to_owned(), context.job.fence.job.to_string());
        env.insert("GRISTMILL_ATTEMPT".to_owned(), context.job.fence.attempt.to_string());
        if let Some(trace) = &context.job.trace {
            env.insert("TRACEPARENT".to_owned(), trace.clone());
        }
        let (mut program, pipes) =
            Program::start(&payload.command, &env, payload.dir.as_deref()).map_err(Finish::failed)?;
        tokio::select! {
            finish = converse(&mut program, pipes, &payload.input) => finish,
            () = context.cancel.cancelled() => {
                Err(Finish::failed(format!("the program `{}` was ended before it was through", program.name)))
            }
        }
    }

    fn allow(&self, payload: &ExecPayload) -> Result<(), String> {
        let Some(name) = payload.command.first() else {
            return Err("`command` is empty; write for example [\"python3\", \"work.py\"]".to_owned());
        };
        if self.settings.programs.iter().any(|known| known == "*" || known == name) {
            return Ok(());
        }
        Err(format!("the program `{name}` is not allowed here; add it to `exec.programs`, in which `*` is any"))
    }
}

#[async_trait]
impl Handler for ExecHandler {
    async fn run(&self, context: JobContext) -> Finish {
        self.attempt(&context).await.unwrap_or_else(|finish| finish)
    }
}

async fn converse(program: &mut Program, pipes: Pipes, input: &Value) -> Result<Finish, Finish> {
    let (status, output) = until_its_end(program, pipes, input).await;
    let status = status.map_err(Finish::failed)?;
    if status.success() {
        return Ok(Finish::done(Some(output)));
    }
    let words = program.last_words().await;
    if let (Some(NOT_NOW), Some(wait)) = (status.code(), snooze(&output)) {
        return Err(Finish::snooze(format!("the program `{}` asks to be run later{words}", program.name), wait));
    }
    let text = format!("the program `{}` {}{words}", program.name, program::ending(status));
    match status.code() {
        Some(code) if PERMANENT.contains(&code) => Err(Finish::permanent(text)),
        _ => Err(Finish::failed(text)),
    }
}

/// The wait that a program's output asks for. An unreadable duration counts as none: then the attempt has failed.
fn snooze(output: &Value) -> Option<Duration> {
    gristmill_core::duration::parse(output.get("snooze")?.as_str()?).ok()
}
