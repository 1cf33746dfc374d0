//! Cron expressions: the crate `croner` matches patterns against wall-clock time without a zone; this crate decides how
//! a zone affects that time.

use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use croner::Cron;

/// Nicknames that `croner` does not know.
const NICKNAMES: [(&str, &str); 1] = [("@midnight", "@daily")];

/// A parsed cron expression.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    cron: Cron,
    every_hour: bool,
}

impl Pattern {
    /// Reads an expression of five fields, of six with seconds first, of seven with years last, or a nickname.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let lower = text.to_lowercase();
        let known = NICKNAMES.iter().find(|(nickname, _)| *nickname == lower).map_or(text, |(_, same)| same);
        let cron = Cron::from_str(known).map_err(|error| error.to_string())?;
        let every_hour = (0..24).all(|hour| cron.pattern.hour_match(hour).unwrap_or(false));
        Ok(Self { cron, every_hour })
    }

    /// Whether it is the same for every hour of the day, so that it counts minutes and not hours.
    pub(super) fn every_hour(&self) -> bool {
        self.every_hour
    }

    /// Returns the first match after this wall-clock time, or at it if `inclusive`. `None` when there is none before
    /// the year 5000.
    pub(super) fn next(&self, wall: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        // As if the wall clock were UTC, which never jumps.
        let found = self.cron.find_next_occurrence(&wall.and_utc(), inclusive);
        found.ok().map(|found: DateTime<Utc>| found.naive_utc())
    }

    /// The description that `croner` gives in English.
    pub(super) fn in_english(&self) -> String {
        self.cron.describe()
    }
}
