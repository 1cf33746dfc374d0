//! One run of a program: its input, its output, and its end.
//!
//! The run is over when the program has ended, whatever it has left running: a daemon in a group of its own may hold its
//! output open for ever. Everything in its own group ends with it, and what was in the pipe by then is its output.

use std::process::ExitStatus;

use gristmill_core::attempt_log::LogSource;
use rustix::io::{ioctl_fionread, read};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};

use crate::attempt_log::{Lines, Voice};
use crate::program::{Pipes, Program};

/// The most bytes of standard output that become the job's output: 1 MiB.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// Gives a program its input and returns how it ended and what it wrote: JSON if it is JSON that can be kept
/// exactly, else text.
pub(super) async fn until_its_end(
    program: &mut Program,
    pipes: Pipes,
    input: &Value,
) -> (Result<ExitStatus, String>, Value) {
    let Pipes { stdin, mut stdout } = pipes;
    let mut output = Output { voice: Voice::current(), ..Output::default() };
    let status = {
        // Both at once: a program that answers before it has read everything would block on a full pipe.
        let talking = async { tokio::join!(feed(stdin, input), output.read_all(&mut stdout)) };
        tokio::select! {
            status = program.wait() => Some(status),
            _ = talking => None,
        }
    };
    let status = match status {
        Some(status) => status,
        None => program.wait().await,
    };
    program.kill();
    output.read_rest(&stdout);
    (status, output.value())
}

/// A program need not read its input: it is not a failure if it has closed it.
async fn feed(mut stdin: ChildStdin, input: &Value) {
    let line = format!("{input}\n");
    if stdin.write_all(line.as_bytes()).await.is_ok() {
        let _ = stdin.shutdown().await;
    }
}

/// What a program has written. What exceeds the limit is discarded, so that the program does not wait for ever.
#[derive(Default)]
struct Output {
    kept: Vec<u8>,
    cut: bool,
    /// Whose log its lines are in, until it turns out that they are the job's output.
    voice: Option<Voice>,
    lines: Lines,
}

impl Output {
    async fn read_all(&mut self, stdout: &mut ChildStdout) {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(bytes @ 1..) = stdout.read(&mut piece).await {
            self.keep(&piece[..bytes]);
        }
    }

    /// Reads what is in the pipe at this moment: more may follow for ever, but it is not the program's.
    fn read_rest(&mut self, stdout: &ChildStdout) {
        let mut left = ioctl_fionread(stdout).map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut piece = vec![0; left.min(16 * 1024)];
        while left > 0
            && let Ok(bytes @ 1..) = read(stdout, &mut piece[..])
        {
            self.keep(&piece[..bytes.min(left)]);
            left = left.saturating_sub(bytes);
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = OUTPUT_BYTES_MAX - self.kept.len();
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
        self.cut |= piece.len() > room;
        if let Some(voice) = &self.voice {
            self.lines.add(piece, voice, LogSource::Stdout);
        }
    }

    fn value(mut self) -> Value {
        if let Some(voice) = &self.voice {
            self.lines.end(voice, LogSource::Stdout);
        }
        let text = || String::from_utf8_lossy(&self.kept);
        if self.cut {
            return json!({ "cut": true, "text": text() });
        }
        match gristmill_core::json::read(&self.kept) {
            Ok(value) => {
                self.voice.iter().for_each(Voice::take_back_output);
                value
            }
            Err(_) => Value::String(text().trim_end().to_owned()),
        }
    }
}
