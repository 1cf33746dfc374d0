//! Items through a program: one JSON line in, one JSON line out, in the same order, as [`envelope`]
//! says.
//!
//! Each answer line must be flushed. A program stays alive from chunk to chunk ([`programs`](super::programs)); as many
//! programs run as chunks are under way at once. Any mistake ends the program. Then the items without an answer are
//! processed again in halves, by other programs, until the one that causes the mistake is alone.
//!
//! | how a program ends | what it means |
//! |---|---|
//! | exit code 65 (`EX_DATAERR`) | the item is at fault, and is set aside when it is alone |
//! | 64, 78 (`EX_USAGE`, `EX_CONFIG`) | no item will get through: the chunk is dead |
//! | 69, 75 (`EX_UNAVAILABLE`, `EX_TEMPFAIL`), or it cannot be started | the chunk's attempt fails |
//! | another code, a signal, no answer in time, an answer that is none | the other items of the chunk tell: [`blame`](super::blame) |

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use gristmill_core::definition::{ExecSpec, ProcessSpec};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use super::envelope::{self, RIGHT, Room, question, read_numbered};
use super::programs::{IdlePrograms, Partner, Share};
use crate::exec_policy::{ExecPolicy, Launch};
use crate::process::{ItemIn, ItemOut, ItemProcessor, ProcessContext, ProcessFailure, ProcessorFactory};
use crate::program::{self, Pipes, Program};

/// The longest line that a program may answer: 16 MiB.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long one item may take, by default.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait for the exit code of a program that has closed its output.
const EXIT_WAIT: Duration = Duration::from_secs(1);

/// The exit code that means that the data is at fault (BSD `sysexits`).
const DATA: i32 = 65;

/// Exit codes that mean that no retry helps: usage, configuration.
const PERMANENT: [i32; 2] = [64, 78];

/// Exit codes that mean "not now": a service is away, a temporary failure.
const PASSING: [i32; 2] = [69, 75];

/// Hands items to a program.
#[derive(Debug)]
pub struct ExecProcessor {
    launch: Launch,
    timeout: Duration,
    idle: Share,
}

impl ExecProcessor {
    /// Creates one from the definition. No program is started before the first item comes.
    ///
    /// # Errors
    ///
    /// When the command is empty, or the policy does not allow its program or a variable.
    pub fn new(spec: &ExecSpec, policy: &ExecPolicy) -> Result<Self, String> {
        Self::beside(spec, policy, &IdlePrograms::default())
    }

    /// The same, with a share in the idle programs of others.
    fn beside(spec: &ExecSpec, policy: &ExecPolicy, all: &IdlePrograms) -> Result<Self, String> {
        let launch = policy.launch(&spec.command, &spec.env, spec.dir.as_deref());
        let launch = launch.map_err(|wrong| format!("`process.exec`: {wrong}"))?;
        let timeout = spec.timeout.map_or(TIMEOUT, |span| span.0);
        Ok(Self { launch, timeout, idle: all.share() })
    }

    /// Returns an idle program, or a new one. One that has died meanwhile is skipped.
    fn partner(&self) -> Result<Partner, String> {
        while let Some(mut partner) = self.idle.take() {
            match partner.stdout.fill_buf().now_or_never() {
                // Something that it has left running may hold its output open.
                None if partner.program.has_ended() => {
                    tracing::debug!(program = partner.program.name, "has ended between two chunks");
                }
                None => {
                    partner.program.speak();
                    return Ok(partner);
                }
                Some(Ok(piece)) if !piece.is_empty() => {
                    let said = shown(&partner.program, piece);
                    return Err(format!("the program `{}` {TOO_MANY}: {said}", partner.program.name));
                }
                Some(_) => tracing::debug!(program = partner.program.name, "has closed its output between two chunks"),
            }
        }
        let (program, Pipes { stdin, stdout }) = Program::start(&self.launch)?;
        Ok(Partner { program, stdin, stdout: BufReader::new(stdout), rested: false })
    }
}

/// Makes [`ExecProcessor`]s, whose idle programs are bounded together.
#[derive(Debug, Clone, Default)]
pub struct ExecFactory {
    /// What may run.
    policy: ExecPolicy,
    idle: IdlePrograms,
}

impl ExecFactory {
    /// Makes processors within a policy.
    pub(super) fn new(policy: ExecPolicy) -> Self {
        Self { policy, idle: IdlePrograms::default() }
    }
}

impl ProcessorFactory for ExecFactory {
    fn make(&self, spec: &ProcessSpec) -> Result<Arc<dyn ItemProcessor>, String> {
        let spec = spec.exec.as_ref().ok_or("`process.exec` is missing")?;
        Ok(Arc::new(ExecProcessor::beside(spec, &self.policy, &self.idle)?))
    }
}

/// How many bytes of an output are looked at, to show some of them.
const SHOWN_OF: usize = 4_096;

const TOO_MANY: &str =
    "has answered more lines than it was given items; it must answer each item with exactly one line";

#[async_trait]
impl ItemProcessor for ExecProcessor {
    async fn process(&self, items: Vec<ItemIn>, context: &ProcessContext) -> Result<Vec<ItemOut>, ProcessFailure> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        loop {
            let mut partner = self.partner().map_err(|reason| ProcessFailure::whole(reason, false))?;
            let rested = partner.rested;
            let mut spoken = Spoken::default();
            // Dropping the partner on leaving here kills the program: after a cancel the number of answers still to
            // come is unknown.
            let outcome = tokio::select! {
                outcome = exchange(&mut partner, &items, context, self.timeout, &mut spoken) => outcome,
                () = context.cancel.cancelled() => return Err(ProcessFailure::whole("the attempt was called off", false)),
            };
            match outcome {
                Ok(()) => {
                    partner.rested = true;
                    partner.program.rest();
                    self.idle.put(partner);
                    return Ok(spoken.outs);
                }
                // It had ended after the previous chunk, and this had not been noticed yet: not the fault of this
                // chunk.
                Err(broken) if broken.silent && spoken.outs.is_empty() && rested => {}
                Err(broken) => {
                    let words = partner.program.last_words().await;
                    return failed(broken, &words, spoken, items.len(), &context.room);
                }
            }
        }
    }
}

/// What a broken exchange means for its items.
fn failed(
    broken: Broken,
    words: &str,
    spoken: Spoken,
    items: usize,
    room: &Room,
) -> Result<Vec<ItemOut>, ProcessFailure> {
    let reason = format!("{}{words}", broken.reason);
    if items == 1 && broken.code == Some(DATA) {
        return Ok(vec![ItemOut::Failed { reason, retry: false }]);
    }
    let permanent = broken.code.is_some_and(|code| PERMANENT.contains(&code));
    let passing = broken.code.is_some_and(|code| PASSING.contains(&code));
    let progress = !spoken.outs.is_empty();
    // Without their positions, answers may be those of other items: a line too many moves all that follow.
    let kept = if spoken.numbered && broken.counted { spoken.outs } else { Vec::new() };
    if kept.is_empty() {
        room.give_back(spoken.bytes);
    }
    Err(ProcessFailure {
        suspect: !permanent && !passing,
        answered: kept.into_iter().map(Some).collect(),
        progress,
        ..ProcessFailure::whole(reason, permanent)
    })
}

/// What a program has answered.
struct Spoken {
    outs: Vec<ItemOut>,
    /// Whether each answer repeated its position.
    numbered: bool,
    bytes: usize,
}

impl Default for Spoken {
    fn default() -> Self {
        Self { outs: Vec::new(), numbered: true, bytes: 0 }
    }
}

impl Spoken {
    fn add(&mut self, line: &[u8], position: u64, room: &Room) -> Result<(), String> {
        let (out, numbered) = read_numbered(line, position)?;
        self.numbered &= numbered;
        self.outs.push(match room.take(line.len()) {
            Ok(()) => {
                self.bytes += line.len();
                out
            }
            Err(too_much) => too_much,
        });
        Ok(())
    }
}

/// Why an exchange failed.
struct Broken {
    reason: String,
    /// The program ended without answering any further.
    silent: bool,
    /// With which exit code it ended, if it did.
    code: Option<i32>,
    /// Whether there were no more answers than items.
    counted: bool,
}

impl From<String> for Broken {
    fn from(reason: String) -> Self {
        Self { reason, silent: false, code: None, counted: true }
    }
}

async fn exchange(
    partner: &mut Partner,
    items: &[ItemIn],
    context: &ProcessContext,
    timeout: Duration,
    spoken: &mut Spoken,
) -> Result<(), Broken> {
    let Partner { program, stdin, stdout, .. } = partner;
    let mut reading: Pin<Box<dyn Future<Output = Result<(), Broken>> + Send + '_>> = Box::pin(async {
        for item in items {
            let line = answer(program, stdout, item.position, timeout).await?;
            spoken.add(&line, item.position, &context.room).map_err(|wrong| {
                let (name, position) = (&program.name, item.position);
                format!("the program `{name}` answers item {position} with {}, {wrong}; {RIGHT}", shown(program, &line))
            })?;
        }
        Ok(())
    });
    // Both at once, or two full pipes would wait for each other. When the program does not take its input, its answer
    // (or its end) says more than the broken pipe.
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
        [] => Ok(()),
        more => {
            let reason = format!("the program `{}` {TOO_MANY}: {}", program.name, shown(program, more));
            Err(Broken { counted: false, ..reason.into() })
        }
    }
}

async fn write(stdin: &mut ChildStdin, items: &[ItemIn], context: &ProcessContext) -> std::io::Result<()> {
    for item in items {
        let mut line = question(item, context)?;
        line.push(b'\n');
        stdin.write_all(&line).await?;
    }
    stdin.flush().await
}

/// The line that answers an item.
async fn answer(
    program: &mut Program,
    stdout: &mut BufReader<ChildStdout>,
    position: u64,
    timeout: Duration,
) -> Result<Vec<u8>, Broken> {
    let mut line = Vec::new();
    let name = program.name.clone();
    let reason = match tokio::time::timeout(timeout, read_line(program, stdout, &mut line)).await {
        Err(_) => format!(
            "the program `{name}` has not answered item {position} within {}; it must answer each line with one line and flush it",
            gristmill_core::duration::format(timeout)
        ),
        Ok(Err(error)) => format!("the program `{name}` cannot be read from: {error}"),
        Ok(Ok(())) if line.len() > LINE_BYTES_MAX => format!(
            "the program `{name}` answers item {position} with a line of more than {} MiB: {}",
            LINE_BYTES_MAX / 1024 / 1024,
            shown(program, &line)
        ),
        Ok(Ok(())) if line.last() == Some(&b'\n') => return Ok(line),
        Ok(Ok(())) => {
            let (ending, code) = gone(program).await;
            let silent = line.is_empty();
            let reason = match silent {
                true => format!("the program `{name}` {ending} before it answered item {position}"),
                false => {
                    format!(
                        "the program `{name}` {ending} in the middle of its answer to item {position}: {}",
                        shown(program, &line)
                    )
                }
            };
            return Err(Broken { silent, code, ..reason.into() });
        }
    };
    Err(reason.into())
}

/// Reads up to a line end, to the end of the output, or beyond the longest line. Once the program has ended, only what
/// it has written until then counts: what it has left running may hold the pipe open for ever.
async fn read_line(
    program: &mut Program,
    stdout: &mut BufReader<ChildStdout>,
    line: &mut Vec<u8>,
) -> std::io::Result<()> {
    let limit = LINE_BYTES_MAX as u64 + 1;
    let mut reader = (&mut *stdout).take(limit);
    tokio::select! {
        biased;
        read = reader.read_until(b'\n', line) => return read.map(drop),
        _ = program.wait() => program.kill(),
    }
    let mut reader = stdout.take(limit.saturating_sub(line.len() as u64));
    match tokio::time::timeout(EXIT_WAIT, reader.read_until(b'\n', line)).await {
        Ok(read) => read.map(drop),
        Err(_) => Ok(()),
    }
}

/// Describes how a program that has closed its output ended.
async fn gone(program: &mut Program) -> (String, Option<i32>) {
    match tokio::time::timeout(EXIT_WAIT, program.wait()).await {
        Ok(Ok(status)) => (program::ending(status), status.code()),
        Ok(Err(error)) => (error, None),
        Err(_) => ("has closed its standard output".to_owned(), None),
    }
}

/// Returns at most 200 characters of its output, without secrets.
fn shown(program: &Program, bytes: &[u8]) -> String {
    envelope::shown(&program.without_secrets(&bytes[..bytes.len().min(SHOWN_OF)], bytes.len() > SHOWN_OF))
}
