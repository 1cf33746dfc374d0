//! When duties are due: the crate `tokio-cron-scheduler`, and what it cannot do.
//!
//! Each duty is a job of that crate with a cron expression of its own, in UTC, whose closure only signals that the time
//! has come. The rest is done here, and docs/decisions/0013 has the reasons:
//!
//! * The crate neither waits for a job that still runs nor replays what was missed. A duty takes its beats from a
//!   channel that holds one: beats that come while it works count as one, and it never runs twice at once.
//! * The crate looks at its jobs twice a second and counts whole seconds. A rhythm with a fraction is a job of each
//!   second, and a timer divides the second.
//! * The crate goes by the wall clock, and stops for an hour when that is set back by one. A duty that has received no
//!   beat for its rhythm and [`LOST_AFTER`] does not wait for it any longer.

use std::time::Duration;

use chrono::{DateTime, Timelike, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// A duty is due after its rhythm and this long without a beat. Shorter than the time that leadership lasts beyond its
/// own rhythm.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(2);

/// How early a beat may come when its step is shorter than the rhythm: the crate looks only twice a second, and a
/// little early is better than a whole step late.
const EARLY: Duration = Duration::from_millis(500);

/// The same for a rhythm that a timer keeps.
const EARLY_BY_TIMER: Duration = Duration::from_millis(100);

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The crate's scheduler, with one job for each duty.
pub(crate) struct Clock {
    cron: JobScheduler,
}

impl Clock {
    /// A clock that does not run yet.
    pub(crate) async fn new() -> Result<Self, JobSchedulerError> {
        Ok(Self { cron: JobScheduler::new().await? })
    }

    /// Registers a duty that is due at intervals of `every`, counted from `now`.
    pub(crate) async fn register(&self, every: Duration, now: DateTime<Utc>) -> Result<Beats, JobSchedulerError> {
        let rhythm = Rhythm::new(every);
        let (beat, heard) = watch::channel(());
        self.cron.add(Job::new(rhythm.expression(now), move |_, _| beat.send_replace(()))?).await?;
        Ok(Beats { rhythm, heard, last: None })
    }

    pub(crate) async fn start(&self) -> Result<(), JobSchedulerError> {
        self.cron.start().await
    }

    pub(crate) async fn stop(mut self) {
        if let Err(error) = self.cron.shutdown().await {
            tracing::debug!(%error, "the clock of the duties did not stop in order");
        }
    }
}

/// The beats of one duty.
pub(crate) struct Beats {
    rhythm: Rhythm,
    heard: watch::Receiver<()>,
    /// When the duty last began.
    last: Option<Instant>,
}

impl Beats {
    /// Waits until the duty is due: at once the first time. Returns since when it has been due, which is `None` the
    /// first time. Dropping the future loses no beat.
    pub(crate) async fn next(&mut self) -> Option<Instant> {
        let Some(last) = self.last else {
            self.begin();
            return None;
        };
        let due = last + self.rhythm.every;
        loop {
            let beaten = tokio::select! {
                biased;
                changed = self.heard.changed() => {
                    // The crate has dropped the job: the timer below goes on without it.
                    if changed.is_err() {
                        sleep_until(last + self.rhythm.patience).await;
                    }
                    changed.is_ok()
                }
                () = sleep_until(last + self.rhythm.patience) => false,
            };
            if !beaten || Instant::now() + self.rhythm.early >= due {
                self.begin();
                return Some(due.min(Instant::now()));
            }
        }
    }

    /// Treats the next beat as the first one again: for a duty that has paused.
    pub(crate) fn restart(&mut self) {
        self.last = None;
    }

    fn begin(&mut self) {
        self.heard.mark_unchanged();
        self.last = Some(Instant::now());
    }
}

/// How often a duty is due, and how that rhythm is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rhythm {
    every: Duration,
    /// The seconds between the beats of the crate.
    step: u64,
    /// A beat counts when it comes at most this long before the duty is due.
    early: Duration,
    /// After this long since the last time, the duty no longer waits for a beat.
    patience: Duration,
}

impl Rhythm {
    fn new(every: Duration) -> Self {
        let seconds = every.as_secs();
        if every.subsec_nanos() > 0 {
            return Self { every, step: 1, early: EARLY_BY_TIMER.min(every / 2), patience: every };
        }
        let step = step(seconds);
        let early = if step == seconds { every / 2 } else { EARLY };
        Self { every, step, early, patience: every + LOST_AFTER }
    }

    /// The crate's cron expression (second, minute, hour, day, month, weekday), whose beats include the second, minute
    /// and hour of `now`, so that the first one comes one step later.
    fn expression(&self, now: DateTime<Utc>) -> String {
        let (second, minute, hour, step) = (now.second(), now.minute(), now.hour(), self.step);
        let from = |at: u32, step: u64, last: u32| format!("{}-{last}/{step}", u64::from(at) % step);
        match step {
            1 => "* * * * * *".to_owned(),
            step if step < MINUTE => format!("{} * * * * *", from(second, step, 59)),
            step if step < HOUR => format!("{second} {} * * * *", from(minute, step / MINUTE, 59)),
            step if step < DAY => format!("{second} {minute} {} * * *", from(hour, step / HOUR, 23)),
            _ => format!("{second} {minute} {hour} * * *"),
        }
    }
}

/// The longest step that cron can repeat evenly and that divides this many seconds.
fn step(seconds: u64) -> u64 {
    let even =
        |unit: u64, units: u64| (1..units).rev().filter(move |n| units.is_multiple_of(*n)).map(move |n| n * unit);
    let steps = std::iter::once(DAY).chain(even(HOUR, 24)).chain(even(MINUTE, 60)).chain(even(1, 60));
    steps.into_iter().find(|step| seconds.is_multiple_of(*step)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    fn beats(every: Duration) -> (watch::Sender<()>, Beats) {
        let (beat, heard) = watch::channel(());
        (beat, Beats { rhythm: Rhythm::new(every), heard, last: None })
    }

    #[test]
    fn a_rhythm_is_counted_in_the_longest_step_that_cron_repeats_evenly() {
        let known = [(1, 1), (5, 5), (7, 1), (60, 60), (90, 30), (3_600, 3_600), (5_400, 1_800), (7_200, 7_200)];
        for (seconds, expected) in known.into_iter().chain([(86_400, 86_400), (604_800, 86_400), (100_000, 20)]) {
            assert_eq!(step(seconds), expected, "{seconds} s");
        }
    }

    #[test]
    fn the_crate_beats_first_one_step_after_the_start() {
        let now = at("2030-03-31T13:47:23Z");
        for seconds in [1, 2, 5, 30, 60, 300, 1_800, 3_600, 7_200, 86_400] {
            let expression = Rhythm::new(Duration::from_secs(seconds)).expression(now);
            let cron: croner::Cron = croner::parser::CronParser::builder()
                .seconds(croner::parser::Seconds::Required)
                .build()
                .parse(&expression)
                .unwrap_or_else(|error| panic!("{expression}: {error}"));
            let first = cron.find_next_occurrence(&now, false).expect("there is one");
            assert_eq!((first - now).num_seconds(), i64::try_from(seconds).expect("small"), "{expression}");
            Job::new(expression, |_, _| ()).expect("the crate reads it, too");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn beats_that_come_while_a_duty_works_are_one_and_tell_how_late_it_is() {
        let (beat, mut beats) = beats(SECOND);
        assert_eq!(beats.next().await, None, "the first time it is due at once");
        let begun = Instant::now();
        for _ in 0..5 {
            advance(SECOND).await;
            beat.send_replace(());
        }
        assert_eq!(beats.next().await, Some(begun + SECOND), "due since four seconds");
        let second = Instant::now();
        assert_eq!(second, begun + 5 * SECOND);
        // No beat is left: without another one, only the timeout ends the wait.
        assert_eq!(beats.next().await, Some(second + SECOND));
        assert_eq!(Instant::now(), second + SECOND + LOST_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_beat_of_a_shorter_step_is_not_one_of_the_rhythm() {
        let (beat, mut beats) = beats(7 * SECOND);
        beats.next().await;
        let begun = Instant::now();
        let clock = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SECOND).await;
                beat.send_replace(());
            }
        });
        for time in 1u32..=3 {
            beats.next().await;
            assert_eq!(Instant::now(), begun + 7 * time * SECOND);
        }
        clock.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_fraction_of_a_second_is_kept_by_a_timer_without_any_beat() {
        let (_beat, mut beats) = beats(SECOND / 5);
        beats.next().await;
        let begun = Instant::now();
        for time in 1u32..=10 {
            assert_eq!(beats.next().await, Some(begun + time * SECOND / 5));
            assert_eq!(Instant::now(), begun + time * SECOND / 5);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_duty_that_paused_is_due_at_once_and_late_for_nothing() {
        let (_beat, mut beats) = beats(60 * SECOND);
        beats.next().await;
        advance(600 * SECOND).await;
        beats.restart();
        let now = Instant::now();
        assert_eq!(beats.next().await, None);
        assert_eq!(Instant::now(), now);
    }
}
