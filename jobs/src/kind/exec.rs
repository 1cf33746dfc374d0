//! Kind `exec`: one run of a program, with JSON on its standard input; its standard output is the job's output.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::exec_policy::ExecPolicy;
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
    policy: ExecPolicy,
}

impl ExecHandler {
    /// Creates one from the settings, which are resolved now.
    pub fn new(settings: &ExecSettings) -> Self {
        Self { policy: ExecPolicy::new(settings) }
    }

    async fn attempt(&self, context: &JobContext) -> Result<Finish, Finish> {
        let payload = read(&context.job.payload).map_err(Finish::permanent)?;
        let mut launch = self.policy.launch(&payload.command, &payload.env, None).map_err(Finish::permanent)?;
        let fence = &context.job.fence;
        let own = [("GRISTMILL_JOB_ID", fence.job.to_string()), ("GRISTMILL_ATTEMPT", fence.attempt.to_string())];
        let trace = context.job.trace.clone().map(|trace| ("TRACEPARENT", trace));
        launch.env.extend(own.into_iter().chain(trace).map(|(name, value)| (name.into(), value.into())));
        let (mut program, pipes) = Program::start(&launch).map_err(Finish::failed)?;
        tokio::select! {
            finish = converse(&mut program, pipes, &payload.input) => finish,
            () = context.cancel.cancelled() => {
                Err(Finish::failed(format!("the program `{}` was ended before it was through", program.name)))
            }
        }
    }
}

/// Reads a payload, with a word for those that name their folder themselves.
fn read(payload: &Value) -> Result<ExecPayload, String> {
    if payload.get("dir").is_some() {
        return Err("`dir` is not for a payload: programs start in `[exec] dir` of the worker's configuration, by \
                    default its folder"
            .to_owned());
    }
    payload::read(payload::EXEC, payload)
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
        program.hear_out().await;
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
