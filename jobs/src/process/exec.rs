//! Items through a program: one JSON line in, one JSON line out, in the same order.
//!
//! ```text
//! → {"position": 41, "attempt": 1, "idempotency_key": "0198…:41", "item": {"name": "ada"}}
//! ← {"ok": {"name": "ADA"}}                     the item goes on as this
//! ← {"skip": true}                              it is dropped on purpose
//! ← {"error": "no such name", "retry": false}   it failed; `retry`: another try may help
//! ```
//!
//! An answer may repeat the `position`, and then it must be the right one. Each answer line must be flushed. A program
//! stays alive from chunk to chunk; as many programs run as chunks are under way at once. Any mistake ends the program
//! and fails the chunk's attempt, with a text that says why.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use gristmill_core::definition::{ExecSpec, ProcessSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::exec_policy::{ExecPolicy, Launch};
use crate::process::{ItemIn, ItemOut, ItemProcessor, ProcessContext, ProcessFailure, ProcessorFactory};
use crate::program::{self, Pipes, Program};

/// The longest line that a program may answer: 16 MiB.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long one item may take, by default.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait for the exit code of a program that has closed its output.
const EXIT_WAIT: Duration = Duration::from_secs(1);

/// Hands items to a program.
#[derive(Debug)]
pub struct ExecProcessor {
    launch: Launch,
    timeout: Duration,
    idle: Mutex<Vec<Partner>>,
}

/// A running program between two chunks.
#[derive(Debug)]
struct Partner {
    program: Program,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Whether it has served a chunk before.
    rested: bool,
}

#[derive(Serialize)]
struct Question<'a> {
    position: u64,
    attempt: u32,
    idempotency_key: String,
    item: &'a Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    ok: Option<Map<String, Value>>,
    skip: Option<bool>,
    error: Option<String>,
    retry: Option<bool>,
    position: Option<u64>,
}

impl ExecProcessor {
    /// Creates one from the definition. No program is started before the first item comes.
    ///
    /// # Errors
    ///
    /// When the command is empty, or the policy does not allow its program or a variable.
    pub fn new(spec: &ExecSpec, policy: &ExecPolicy) -> Result<Self, String> {
        let launch = policy.launch(&spec.command, &spec.env, spec.dir.as_deref());
        let launch = launch.map_err(|wrong| format!("`process.exec`: {wrong}"))?;
        let timeout = spec.timeout.map_or(TIMEOUT, |span| span.0);
        Ok(Self { launch, timeout, idle: Mutex::new(Vec::new()) })
    }

    /// Returns an idle program, or a new one. One that has died meanwhile is skipped.
    fn partner(&self) -> Result<Partner, String> {
        while let Some(mut partner) = self.lock().pop() {
            match partner.stdout.fill_buf().now_or_never() {
                None => return Ok(partner),
                Some(Ok(piece)) if !piece.is_empty() => {
                    let said = shown(piece);
                    return Err(format!("the program `{}` {TOO_MANY}: {said}", partner.program.name));
                }
                Some(_) => tracing::debug!(program = partner.program.name, "has ended between two chunks"),
            }
        }
        let (program, Pipes { stdin, stdout }) = Program::start(&self.launch)?;
        Ok(Partner { program, stdin, stdout: BufReader::new(stdout), rested: false })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Partner>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes [`ExecProcessor`]s.
#[derive(Debug, Clone, Default)]
pub struct ExecFactory {
    /// What may run.
    pub policy: ExecPolicy,
}

impl ProcessorFactory for ExecFactory {
    fn make(&self, spec: &ProcessSpec) -> Result<Arc<dyn ItemProcessor>, String> {
        let spec = spec.exec.as_ref().ok_or("`process.exec` is missing")?;
        Ok(Arc::new(ExecProcessor::new(spec, &self.policy)?))
    }
}

const TOO_MANY: &str =
    "has answered more lines than it was given items; it must answer each item with exactly one line";

#[async_trait]
impl ItemProcessor for ExecProcessor {
    async fn process(&self, items: Vec<ItemIn>, context: &ProcessContext) -> Result<Vec<ItemOut>, ProcessFailure> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        loop {
            let mut partner = self.partner().map_err(failure)?;
            let rested = partner.rested;
            // Dropping the partner on leaving here kills the program: after a cancel the number of answers still to
            // come is unknown.
            let outcome = tokio::select! {
                outcome = partner.exchange(&items, context, self.timeout) => outcome,
                () = context.cancel.cancelled() => return Err(failure("the attempt was called off".to_owned())),
            };
            match outcome {
                Ok(answers) => {
                    partner.rested = true;
                    self.lock().push(partner);
                    return Ok(answers);
                }
                // It had ended after the previous chunk, and this had not been noticed yet: not the fault of this
                // chunk.
                Err(broken) if broken.silent && rested => {}
                Err(broken) => {
                    let words = partner.program.last_words().await;
                    return Err(failure(format!("{}{words}", broken.reason)));
                }
            }
        }
    }
}

/// Why an exchange failed.
struct Broken {
    reason: String,
    /// The program ended without answering; for an exchange: without answering even the first item.
    silent: bool,
}

impl From<String> for Broken {
    fn from(reason: String) -> Self {
        Self { reason, silent: false }
    }
}

impl Partner {
    async fn exchange(
        &mut self,
        items: &[ItemIn],
        context: &ProcessContext,
        timeout: Duration,
    ) -> Result<Vec<ItemOut>, Broken> {
        let Self { program, stdin, stdout, .. } = self;
        let mut answers = Vec::with_capacity(items.len());
        let mut reading: Pin<Box<dyn Future<Output = Result<(), Broken>> + Send + '_>> = Box::pin(async {
            for item in items {
                let answer = answer(program, stdout, item.position, timeout).await;
                answers
                    .push(answer.map_err(|broken| Broken { silent: broken.silent && answers.is_empty(), ..broken })?);
            }
            Ok(())
        });
        // Both at once, or two full pipes would wait for each other. When the program does not take its input, its
        // answer (or its end) says more than the broken pipe.
        tokio::select! {
            biased;
            read = &mut reading => read?,
            written = write(stdin, items, context) => {
                if let Err(error) = written {
                    tracing::debug!(%error, "the program has closed its input");
                }
                (&mut reading).await?;
            }
        }
        drop(reading);
        match stdout.buffer() {
            [] => Ok(answers),
            more => Err(format!("the program `{}` {TOO_MANY}: {}", program.name, shown(more)).into()),
        }
    }
}

async fn write(stdin: &mut ChildStdin, items: &[ItemIn], context: &ProcessContext) -> std::io::Result<()> {
    for item in items {
        let question = Question {
            position: item.position,
            attempt: item.attempt,
            idempotency_key: super::item_key(context, item),
            item: &item.item,
        };
        let mut line = serde_json::to_vec(&question)?;
        line.push(b'\n');
        stdin.write_all(&line).await?;
    }
    stdin.flush().await
}

async fn answer(
    program: &mut Program,
    stdout: &mut BufReader<ChildStdout>,
    position: u64,
    timeout: Duration,
) -> Result<ItemOut, Broken> {
    let mut line = Vec::new();
    let limit = LINE_BYTES_MAX as u64 + 1;
    let name = program.name.clone();
    let outcome = match tokio::time::timeout(timeout, stdout.take(limit).read_until(b'\n', &mut line)).await {
        Err(_) => Err(format!(
            "the program `{name}` has not answered item {position} within {}; it must answer each line with one line and flush it",
            gristmill_core::duration::format(timeout)
        )),
        Ok(Err(error)) => Err(format!("the program `{name}` cannot be read from: {error}")),
        Ok(Ok(0)) => {
            let reason = format!("the program `{name}` {} before it answered item {position}", gone(program).await);
            return Err(Broken { reason, silent: true });
        }
        Ok(Ok(_)) if line.len() > LINE_BYTES_MAX => Err(format!(
            "the program `{name}` answers item {position} with a line of more than {} MiB: {}",
            LINE_BYTES_MAX / 1024 / 1024,
            shown(&line)
        )),
        Ok(Ok(_)) if line.last() != Some(&b'\n') => Err(format!(
            "the program `{name}` {} in the middle of its answer to item {position}: {}",
            gone(program).await,
            shown(&line)
        )),
        Ok(Ok(_)) => read_answer(&line, position).map_err(|wrong| {
            format!("the program `{name}` answers item {position} with {}, {wrong}; {RIGHT}", shown(&line))
        }),
    };
    outcome.map_err(Broken::from)
}

const RIGHT: &str = "right is one of {\"ok\": {…}}, {\"skip\": true} and {\"error\": \"…\", \"retry\": false}";

/// Reads the line with which a program answers for the item at this position.
///
/// # Errors
///
/// A description of what it is instead, to be appended to the line itself.
pub fn read_answer(line: &[u8], position: u64) -> Result<ItemOut, String> {
    let answer: Answer = serde_json::from_slice(line).map_err(|error| match error.is_data() {
        true => format!("which is no answer ({error})"),
        false => "which is not JSON".to_owned(),
    })?;
    if answer.position.is_some_and(|found| found != position) {
        return Err("which belongs to another item".to_owned());
    }
    match (answer.ok, answer.skip, answer.error) {
        (Some(item), None, None) if answer.retry.is_none() => Ok(ItemOut::Ok(Value::Object(item))),
        (None, Some(true), None) if answer.retry.is_none() => Ok(ItemOut::Skip),
        (None, None, Some(reason)) => Ok(ItemOut::Failed { reason, retry: answer.retry.unwrap_or(false) }),
        _ => Err("which is no answer".to_owned()),
    }
}

/// Describes how a program that has closed its output ended.
async fn gone(program: &mut Program) -> String {
    match tokio::time::timeout(EXIT_WAIT, program.wait()).await {
        Ok(Ok(status)) => program::ending(status),
        Ok(Err(error)) => error,
        Err(_) => "has closed its standard output".to_owned(),
    }
}

/// Returns at most 200 characters of its output.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1_000)]);
    let cut: String = text.trim_end().chars().take(200).collect();
    format!("`{cut}`")
}

fn failure(message: String) -> ProcessFailure {
    ProcessFailure { message, retry_after: None, permanent: false }
}
