//! `[retention]` in `config.toml`: how long what has ended is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::duration::{self, Span};
use gristmill_store::{ExpiredRow, PruneNoun};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How long what has ended is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// Jobs that are done or cancelled, and belong to no batch.
    pub jobs: Keep,
    /// Batches with their jobs, results and quarantined items.
    pub batches: Keep,
    /// Dead letters, and at least as long batches with dead jobs or open quarantined items.
    pub dead_letters: Keep,
    /// Rows of the ledger that a schedule or an operator made, and backfills.
    pub ticks: Keep,
    /// Rows of the ledger that an event made: for as long the same event starts nothing again.
    pub triggers: Keep,
    /// Delivery records of emails, after their job is gone.
    pub emails: Keep,
    /// Messages that no process could act upon.
    pub poison: Keep,
    /// What attempts have said.
    pub logs: Keep,
    /// Events, since they were accepted.
    pub events: Keep,
    /// Operations, after they ended.
    pub operations: Keep,
    /// Minutes of the history.
    pub history_minutes: Keep,
    /// Hours of the history.
    pub history_hours: Keep,
    /// How long an operation can be undone, after it ended: what it has discarded is deleted then.
    pub undo: Span,
    /// How long an idempotency key answers, from the creation of its job or batch; at least as long as that is kept.
    pub idempotency_keys: Span,
    /// Entries of the audit, from when they were written.
    pub audit: Keep,
    /// Files in `done/` and `failed/` of watched folders.
    pub watched_files: Keep,
    /// The folder to which everything is written before it is deleted; empty is none.
    pub archive: String,
    /// Other times for the jobs of a queue, by its name.
    pub queue: BTreeMap<String, Keep>,
    /// Other times for the batches of a definition, by its name.
    pub batch: BTreeMap<String, Keep>,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        let days = |days: u64| Keep::For(Duration::from_secs(days * 86_400));
        Self {
            jobs: days(7),
            batches: days(90),
            dead_letters: days(180),
            ticks: days(90),
            triggers: days(180),
            emails: days(90),
            poison: days(90),
            logs: days(14),
            events: days(90),
            operations: days(90),
            history_minutes: days(7),
            history_hours: days(90),
            undo: Span(Duration::from_secs(600)),
            idempotency_keys: Span(Duration::from_secs(30 * 86_400)),
            audit: days(400),
            watched_files: Keep::Forever,
            archive: String::new(),
            queue: BTreeMap::new(),
            batch: BTreeMap::new(),
        }
    }
}

/// How long something is kept: `7d`, or `forever`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// This long after its end.
    For(Duration),
    /// Until an operator deletes it.
    Forever,
}

impl Keep {
    /// The instant at or before which it must have ended to be deleted now. `None` when nothing is.
    pub fn before(self, now: Instant) -> Option<Instant> {
        match self {
            Self::For(time) => now.checked_sub_signed(TimeDelta::from_std(time).ok()?),
            Self::Forever => None,
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(time) => f.write_str(&duration::format(*time)),
            Self::Forever => f.write_str("forever"),
        }
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim() == "forever" {
            return Ok(Self::Forever);
        }
        let time = duration::parse(&text).map_err(|error| D::Error::custom(format!("{error}, or `forever`")))?;
        Ok(Self::For(time))
    }
}

impl RetentionSettings {
    /// How long a row that has ended is kept.
    fn keep(&self, row: &ExpiredRow) -> Keep {
        let now = Keep::For(Duration::ZERO);
        match row.noun {
            PruneNoun::Jobs => self.queue.get(&row.name).copied().unwrap_or(self.jobs),
            PruneNoun::DeadLetters => self.dead_letters,
            PruneNoun::Batches if row.deleting => now,
            PruneNoun::Batches => {
                let own = self.batch.get(&row.name).copied().unwrap_or(self.batches);
                if row.unsolved { own.max(self.dead_letters) } else { own }
            }
            PruneNoun::Ticks | PruneNoun::Backfills => self.ticks,
            PruneNoun::Triggers => self.triggers,
            PruneNoun::Emails => self.emails,
            PruneNoun::Poison => self.poison,
            PruneNoun::Discarded => self.jobs,
            PruneNoun::Chunks | PruneNoun::Results | PruneNoun::Quarantine | PruneNoun::Keys | PruneNoun::Queues => now,
        }
    }

    /// How long it is kept that an error was acknowledged: as long as there may be jobs of before that.
    pub fn acknowledged(&self) -> Keep {
        self.batch.values().copied().fold(self.dead_letters.max(self.batches), Keep::max)
    }

    /// Whether a row that has ended may be deleted now.
    pub fn expires(&self, row: &ExpiredRow, now: Instant) -> bool {
        match row.at {
            Some(at) => self.keep(row).before(now).is_some_and(|before| at <= before),
            None => true,
        }
    }

    /// The instant after which nothing of a noun can have been created that may be deleted now. `None` when nothing of
    /// it may.
    pub fn bound(&self, noun: PruneNoun, now: Instant) -> Option<Instant> {
        let keeps: Vec<Keep> = match noun {
            PruneNoun::Jobs => self.queue.values().copied().chain([self.jobs, self.dead_letters]).collect(),
            // One whose deletion was begun by an operator is younger than that.
            PruneNoun::Batches => return Some(now),
            PruneNoun::Ticks => vec![self.ticks, self.triggers],
            PruneNoun::Backfills => vec![self.ticks],
            PruneNoun::Emails => vec![self.emails],
            PruneNoun::Poison => vec![self.poison],
            PruneNoun::Discarded => vec![self.jobs],
            _ => return Some(now),
        };
        keeps.into_iter().min().and_then(|keep| keep.before(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: TimeDelta = TimeDelta::days(1);

    fn now() -> Instant {
        Instant::from_timestamp_micros(1_700_000_000_000_000).expect("an instant")
    }

    fn row(noun: PruneNoun, days_ago: i32) -> ExpiredRow {
        ExpiredRow {
            noun,
            key: String::new(),
            at: Some(now() - DAY * days_ago),
            tenant: "main".to_owned(),
            name: "mail".to_owned(),
            unsolved: false,
            deleting: false,
            weight: 1,
        }
    }

    #[test]
    fn what_ended_longer_ago_than_it_is_kept_may_go() {
        let settings = RetentionSettings::default();
        for (noun, days) in [
            (PruneNoun::Jobs, 7),
            (PruneNoun::Batches, 90),
            (PruneNoun::DeadLetters, 180),
            (PruneNoun::Ticks, 90),
            (PruneNoun::Triggers, 180),
            (PruneNoun::Emails, 90),
            (PruneNoun::Poison, 90),
        ] {
            assert!(settings.expires(&row(noun, days), now()), "{noun} after {days} days");
            assert!(!settings.expires(&row(noun, days - 1), now()), "{noun} a day earlier");
        }
    }

    #[test]
    fn what_was_acknowledged_is_kept_as_long_as_any_job_of_that_time() {
        let mut settings = RetentionSettings::default();
        assert_eq!(settings.acknowledged(), settings.dead_letters);
        settings.batches = Keep::For(Duration::from_secs(400 * 86_400));
        assert_eq!(settings.acknowledged(), settings.batches);
        settings.batch.insert("audited".to_owned(), Keep::Forever);
        assert_eq!(settings.acknowledged(), Keep::Forever);
    }

    #[test]
    fn a_queue_or_a_batch_has_a_time_of_its_own() {
        let mut settings = RetentionSettings::default();
        settings.queue.insert("mail".to_owned(), Keep::For(Duration::from_secs(86_400)));
        settings.batch.insert("mail".to_owned(), Keep::Forever);
        assert!(settings.expires(&row(PruneNoun::Jobs, 1), now()));
        assert!(!settings.expires(&row(PruneNoun::Batches, 10_000), now()));
        let other = ExpiredRow { name: "other".to_owned(), ..row(PruneNoun::Jobs, 1) };
        assert!(!settings.expires(&other, now()));
        assert_eq!(settings.bound(PruneNoun::Jobs, now()), Some(now() - DAY));
        settings.queue.insert("mail".to_owned(), Keep::Forever);
        assert_eq!(settings.bound(PruneNoun::Jobs, now()), Some(now() - DAY * 7));
    }

    #[test]
    fn a_batch_with_unsolved_work_stays_as_long_as_dead_letters_do() {
        let settings = RetentionSettings::default();
        let unsolved = |days| ExpiredRow { unsolved: true, ..row(PruneNoun::Batches, days) };
        assert!(!settings.expires(&unsolved(179), now()));
        assert!(settings.expires(&unsolved(180), now()));
        assert!(settings.expires(&ExpiredRow { deleting: true, ..unsolved(0) }, now()), "its deletion has begun");
    }

    #[test]
    fn a_time_is_a_duration_or_forever() {
        let read = |text: &str| serde_json::from_value::<Keep>(text.into());
        assert_eq!(read("7d").expect("read"), Keep::For(Duration::from_secs(7 * 86_400)));
        assert_eq!(read("forever").expect("read"), Keep::Forever);
        assert!(Keep::Forever > Keep::For(Duration::MAX));
        let error = read("never").expect_err("no duration").to_string();
        assert!(error.contains("`3d`") && error.contains("`forever`"), "{error}");
        for keep in [Keep::Forever, Keep::For(Duration::from_secs(90))] {
            assert_eq!(read(&keep.to_string()).expect("read"), keep);
        }
    }
}
