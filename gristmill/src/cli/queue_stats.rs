//! `gristmill queue stats`: how much passed through queues, and how long it waited and ran.

use std::time::Duration;

use chrono::TimeDelta;
use clap::Args;
use gristmill_core::duration;
use gristmill_core::history::HistoryStep;
use gristmill_service::documents::{HistoryBy, HistorySeriesDocument, PassedDocument, TimesDocument};
use gristmill_service::history::HistoryAsk;

use super::output::Output;
use crate::cli::context::CommandContext;
use crate::exit_code::{CommandError, Exit, Result};

/// How much passed through queues, by minute or by hour, and how long it waited and ran
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill queue stats                                  each queue in the last hour
  gristmill queue stats mail --for 24h --points
  gristmill queue stats --by kind --for 7d --json")]
pub(super) struct QueueStats {
    /// Of this queue alone
    queue: Option<String>,
    /// Of this kind alone
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// How far back, such as 6h or 7d
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    range: Duration,
    /// How long each point is [default: minute up to 6h, otherwise hour]
    #[arg(long, value_name = "minute|hour")]
    step: Option<HistoryStep>,
    /// What has a line of its own: total, queue or kind
    #[arg(long, value_name = "WHAT", default_value = "queue")]
    by: HistoryBy,
    /// Each minute or hour by itself; in JSON they are there in any case
    #[arg(long)]
    points: bool,
}

impl QueueStats {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let (backend, output) = (context.backend().await?, &context.output);
        let until = backend.now().await?;
        let from = TimeDelta::from_std(self.range).ok().and_then(|range| until.checked_sub_signed(range));
        let from = from.ok_or_else(|| CommandError::usage("there is no history from so long ago"))?;
        let (step, queue, kind, by) = (self.step, self.queue, self.kind, self.by);
        let found = backend.history(&HistoryAsk { from, until, step, queue, kind, by }).await?;
        if output.format == super::output::Format::Json {
            output.document(&found);
            return Ok(Exit::Success);
        }
        let lines = found.series.iter().flat_map(|series| lines(series, self.points, output));
        let columns =
            ["NAME", "SINCE", "ENQUEUED", "DONE", "FAILED", "DEAD", "WAIT P50", "P95", "P99", "RUN P50", "P95", "P99"];
        let rows: Vec<Vec<String>> = lines.collect();
        output.list(&rows, &columns, |row, _| row.clone());
        if found.truncated {
            output.warning("there is more than can be read at once: the oldest is missing; ask for less");
        }
        Ok(Exit::Success)
    }
}

/// The lines of a series: one for the whole range, or one for each point.
fn lines(series: &HistorySeriesDocument, points: bool, output: &Output) -> Vec<Vec<String>> {
    let name = series.name.clone().unwrap_or_else(|| "(all)".to_owned());
    if !points {
        let since = series.points.first().map(|point| point.at);
        return vec![line(&name, output.time_or_dash(since), &series.total)];
    }
    series.points.iter().map(|point| line(&name, output.time_or_dash(Some(point.at)), &point.passed)).collect()
}

fn line(name: &str, since: String, passed: &PassedDocument) -> Vec<String> {
    let PassedDocument { enqueued, done, failed, dead, wait, run } = passed;
    let counts = [enqueued, done, failed, dead].map(u64::to_string);
    let times = |times: &TimesDocument| {
        [times.p50_ms, times.p95_ms, times.p99_ms]
            .map(|millis| millis.map_or("-".to_owned(), |millis| duration::format(Duration::from_millis(millis))))
    };
    let texts = [vec![name.to_owned(), since], counts.to_vec(), times(wait).to_vec(), times(run).to_vec()];
    texts.concat()
}
