//! `gristmill job logs`: what the attempts of a job have said, and go on saying.

use std::time::Duration;

use clap::Args;
use gristmill_core::attempt_log::{LogLine, LogSource, missing_between};
use gristmill_core::id::JobId;
use gristmill_service::documents::AttemptLogDocument;
use tokio::time::sleep;

use super::list::id;
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, rfc3339, visible};
use crate::exit_code::{Exit, Result};
use crate::runtime::signals::Signals;

/// How often a job that runs is asked: as often as its worker writes.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Its id
    id: String,
    /// Only of this attempt
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
    /// Go on until the job has ended
    #[arg(long, short)]
    follow: bool,
}

/// What has been printed so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Printed {
    attempt: u32,
    last: Option<LogLine>,
}

impl Logs {
    /// Of all attempts, as they are now.
    pub(super) fn of(id: String) -> Self {
        Self { id, attempt: None, follow: false }
    }

    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let (backend, job) = (context.backend().await?, id::<JobId>("job", &self.id)?);
        let mut signals = Signals::listen()?;
        let mut printed = Printed::default();
        let as_json = context.output.format == Format::Json;
        loop {
            // Asked before what it has said: a job that has ended says nothing more.
            let ended = backend.job(job).await?.state.is_final();
            let over = ended || !self.follow;
            let mut logs = backend.job_logs(job, self.attempt).await?;
            if as_json && over {
                context.output.document(&logs);
            } else if !as_json {
                logs.reverse();
                let lines = logs.iter().flat_map(|log| printed.news(log));
                lines.collect::<Vec<_>>().iter().for_each(|line| context.output.line(line));
            }
            if over {
                return Ok(Exit::Success);
            }
            tokio::select! {
                biased;
                exit = signals.next() => return Ok(exit),
                () = sleep(EVERY) => {}
            }
        }
    }
}

impl Printed {
    /// The lines of a log that were not printed yet. Attempts come in their order.
    fn news(&mut self, log: &AttemptLogDocument) -> Vec<String> {
        let mut lines = Vec::new();
        if log.attempt < self.attempt {
            return lines;
        }
        if log.attempt > self.attempt {
            *self = Self { attempt: log.attempt, last: None };
            lines.push(format!("attempt {}", log.attempt));
        }
        for line in &log.lines {
            let before = self.last.as_ref();
            if before.is_some_and(|before| before.number >= line.number) {
                continue;
            }
            let cut = before.map_or(line.number - 1, |before| missing_between(before, line));
            if cut > 0 {
                lines.push(format!("  … {cut} lines were cut out"));
            }
            lines.push(said(line));
            self.last = Some(line.clone());
        }
        lines
    }
}

/// A line with where it came from: the level of an event, or the output of a program.
fn said(line: &LogLine) -> String {
    let from = match (line.source, line.level) {
        (LogSource::Handler, Some(level)) => level.to_string(),
        (source, _) => source.to_string(),
    };
    format!("  {} {from:<6} {}", rfc3339(line.at), visible(&line.text))
}

#[cfg(test)]
mod tests {
    use gristmill_core::attempt_log::LogLevel;

    use super::*;

    fn line(number: u64, text: &str) -> LogLine {
        let (at, level) = (chrono::DateTime::UNIX_EPOCH, Some(LogLevel::Warn));
        LogLine { number, at, source: LogSource::Handler, level, text: text.to_owned() }
    }

    fn log(attempt: u32, lines: Vec<LogLine>) -> AttemptLogDocument {
        AttemptLogDocument { attempt, written_at: chrono::DateTime::UNIX_EPOCH, said: 99, lines }
    }

    #[test]
    fn each_line_is_printed_once_and_what_was_cut_out_is_said() {
        let mut printed = Printed::default();
        let first = printed.news(&log(1, vec![line(1, "one"), line(4, "four\u{1b}[2J")]));
        assert_eq!(
            first,
            [
                "attempt 1",
                "  1970-01-01T00:00:00.000Z warn   one",
                "  … 2 lines were cut out",
                "  1970-01-01T00:00:00.000Z warn   four\\u{1b}[2J",
            ]
        );
        assert_eq!(printed.news(&log(1, vec![line(1, "one"), line(4, "four")])), Vec::<String>::new());
        assert_eq!(printed.news(&log(1, vec![line(5, "five")])).len(), 1);
        assert_eq!(printed.news(&log(2, vec![line(1, "again")]))[0], "attempt 2");
        assert_eq!(printed.news(&log(1, vec![line(6, "late")])), Vec::<String>::new());
    }
}
