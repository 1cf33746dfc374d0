//! How far a batch is: a bar on a terminal, a line for each tenth elsewhere.

use std::time::{Duration, Instant};

use gristmill_store::BatchView;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output::{Output, grouped};

/// The longest silence when standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far one batch is, on standard error.
pub(crate) struct Progress {
    output: Output,
    bar: Option<ProgressBar>,
    started: Instant,
    /// What the batch had settled when the display began: the rate is measured from there.
    settled_before: Option<u64>,
    last_line: Instant,
    last_tenth: u64,
    /// What the batch was last said to wait for.
    waits: String,
}

impl Progress {
    /// Begins to show progress.
    pub(crate) fn new(output: Output) -> Self {
        let bar = output.interactive().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8));
            let style = ProgressStyle::with_template("{bar:28} {percent:>3}%  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar
        });
        let now = Instant::now();
        Self { output, bar, started: now, settled_before: None, last_line: now, last_tenth: 0, waits: String::new() }
    }

    /// Shows the batch as it is now, and what it waits for.
    pub(crate) fn show(&mut self, batch: &BatchView, waits: &[String]) {
        let settled = batch.counts.input - batch.counts.pending();
        let before = *self.settled_before.get_or_insert(settled);
        let waits = waits.join("; ");
        let line = describe(batch, settled - before.min(settled), self.started.elapsed(), &waits);
        let news = std::mem::replace(&mut self.waits, waits) != self.waits;
        match &self.bar {
            Some(bar) => {
                bar.set_length(batch.counts.input);
                bar.set_position(settled);
                bar.set_message(line);
            }
            None => {
                let tenth = (settled * 10).checked_div(batch.counts.input).unwrap_or(0);
                if news || tenth > self.last_tenth || self.last_line.elapsed() >= LINE_EVERY {
                    self.last_tenth = tenth;
                    self.last_line = Instant::now();
                    let percent = (settled * 100).checked_div(batch.counts.input).unwrap_or(0);
                    self.output.note(&format!("{percent:>3}%  {line}"));
                }
            }
        }
    }

    /// Removes the bar; what follows is written where it was.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

fn describe(batch: &BatchView, done: u64, elapsed: Duration, waits: &str) -> String {
    let counts = &batch.counts;
    let pace = pace(done, elapsed);
    let left = match (pace, counts.pending()) {
        _ if !waits.is_empty() => format!("waiting: {waits}"),
        (_, 0) => batch.state.to_string(),
        // Only an order of magnitude can be promised; when even that is too early, the text says so.
        (Some(pace @ 1..), pending) if elapsed >= Duration::from_secs(1) => {
            format!("about {} left", span(pending / pace))
        }
        _ => "too early to say how long".to_owned(),
    };
    let mut text = format!(
        "{} items/s  {} ok  {} retried  {} quarantined  {left}",
        grouped(pace.unwrap_or(0)),
        grouped(counts.ok),
        // Chunks tried again by the store's count, and items tried again within a chunk in this process.
        grouped(batch.retries + crate::cli::demo::gateway::RETRIED.load(std::sync::atomic::Ordering::Relaxed)),
        grouped(counts.quarantined),
    );
    if batch.paused {
        text.push_str("  paused");
    }
    text
}

fn pace(done: u64, elapsed: Duration) -> Option<u64> {
    let millis = u64::try_from(elapsed.as_millis()).ok().filter(|millis| *millis > 0)?;
    Some(done.saturating_mul(1_000) / millis)
}

fn span(seconds: u64) -> String {
    gristmill_core::duration::format(Duration::from_secs(seconds.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_items_by_time() {
        assert_eq!(pace(500, Duration::from_millis(250)), Some(2_000));
        assert_eq!(pace(500, Duration::ZERO), None);
        assert_eq!(span(0), "1s");
        assert_eq!(span(61), "1m1s");
    }
}
