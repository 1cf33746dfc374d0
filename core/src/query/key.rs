//! The lists that are asked, their keys, and what each key is compared with: the one table.

use std::sync::LazyLock;

use crate::batch::BatchState;
use crate::job_state::JobState;

crate::words! {
    /// A list that understands queries.
    #[derive(PartialOrd, Ord)]
    pub enum List {
        /// Jobs.
        Jobs = "jobs",
        /// Dead letters: jobs in state `dead`.
        DeadLetters = "dead letters",
        /// Batches.
        Batches = "batches",
        /// Quarantined items.
        Quarantine = "quarantined items",
    }
}

crate::words! {
    /// A key of a query.
    #[derive(PartialOrd, Ord)]
    pub enum Key {
        /// The state.
        State = "state",
        /// The queue.
        Queue = "queue",
        /// The kind.
        Kind = "kind",
        /// The key by which a job takes turns and is limited.
        Key = "key",
        /// The name of a batch's definition.
        Name = "name",
        /// The batch.
        Batch = "batch",
        /// The stage that refused an item.
        Stage = "stage",
        /// The error.
        Error = "error",
        /// The reason.
        Reason = "reason",
        /// How many attempts were made.
        Attempts = "attempts",
        /// When it was created.
        Created = "created",
        /// When it became final.
        Ended = "ended",
        /// How long ago it was created.
        Age = "age",
    }
}

/// What a key is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Words of a fixed list.
    Words,
    /// Names, or how they begin.
    Name,
    /// A text that is in it.
    Text,
    /// Ids.
    Id,
    /// A number, a range of them, or `>=`, `>`, `<=`, `<`.
    Number,
    /// A day, or a range of days or instants.
    Time,
    /// `>`, `>=`, `<` or `<=` and a duration.
    Age,
}

/// How a list answers for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// An index leads to the rows.
    Index,
    /// The rows to which an index leads are compared.
    Compared,
}

/// A key of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOf {
    /// The key.
    pub key: Key,
    /// What it is compared with.
    pub kind: Kind,
    /// What it means.
    pub about: &'static str,
    /// An example.
    pub example: &'static str,
    /// The lists that have it.
    pub lists: &'static [List],
    /// How it is answered.
    pub answered: Answered,
}

const JOBS: &[List] = &[List::Jobs, List::DeadLetters];
const ALL: &[List] = &List::ALL;

/// Every key, in the order in which they are documented.
pub const KEYS: [KeyOf; 13] = {
    use Answered::{Compared, Index};
    const fn key(
        key: Key,
        kind: Kind,
        lists: &'static [List],
        answered: Answered,
        about: &'static str,
        example: &'static str,
    ) -> KeyOf {
        KeyOf { key, kind, about, example, lists, answered }
    }
    [
        key(
            Key::State,
            Kind::Words,
            &[List::Jobs, List::Batches, List::Quarantine],
            Index,
            "the state",
            "state:retry,dead",
        ),
        key(Key::Queue, Kind::Name, JOBS, Index, "the queue", "queue:mail"),
        key(Key::Kind, Kind::Name, JOBS, Index, "what the job does", "kind:import*"),
        key(Key::Key, Kind::Name, JOBS, Index, "whose turn and limit it falls under", "key:customer-7"),
        key(Key::Name, Kind::Name, &[List::Batches], Index, "the definition of the batch", "name:retail"),
        key(
            Key::Batch,
            Kind::Id,
            &[List::Jobs, List::DeadLetters, List::Quarantine],
            Index,
            "the batch it belongs to",
            "batch:0198f9c1-7f3a-7cc2-9e2b-0123456789ab",
        ),
        key(Key::Stage, Kind::Name, &[List::Quarantine], Compared, "the stage that refused the item", "stage:parse"),
        key(Key::Error, Kind::Text, JOBS, Compared, "a text in the error, whatever its case", "error:\"no route\""),
        key(
            Key::Reason,
            Kind::Text,
            &[List::Quarantine],
            Compared,
            "a text in the reason, whatever its case",
            "reason:\"not a number\"",
        ),
        key(Key::Attempts, Kind::Number, JOBS, Compared, "how many attempts were made", "attempts>=3"),
        key(Key::Created, Kind::Time, ALL, Compared, "when it was created", "created:2026-11-19.."),
        key(
            Key::Ended,
            Kind::Time,
            &[List::Jobs, List::DeadLetters, List::Batches],
            Compared,
            "when it became final",
            "ended:2026-11-19..2026-11-21",
        ),
        key(Key::Age, Kind::Age, ALL, Compared, "how long ago it was created", "age>1h"),
    ]
};

impl List {
    /// The keys that it has.
    pub fn keys(self) -> impl Iterator<Item = &'static KeyOf> {
        KEYS.iter().filter(move |key| key.lists.contains(&self))
    }

    /// The states of what it lists.
    pub fn states(self) -> Vec<&'static str> {
        match self {
            Self::Jobs | Self::DeadLetters => JobState::ALL.map(JobState::as_str).to_vec(),
            Self::Batches => BatchState::ALL.map(BatchState::as_str).to_vec(),
            Self::Quarantine => vec!["open", "redriven"],
        }
    }

    /// What its queries are, in a sentence: for the description of the API and for help.
    pub fn about(self) -> &'static str {
        static ABOUT: LazyLock<[String; 4]> = LazyLock::new(|| List::ALL.map(sentence));
        &ABOUT[self as usize]
    }
}

fn sentence(list: List) -> String {
    let keys: Vec<&str> = list.keys().map(|key| key.example).collect();
    format!("Only what matches this query, such as `{}`; docs/query.md says more", keys.join(" "))
}

/// The table of the documentation: one row for each key.
pub fn keys_table() -> String {
    let mut table = "| key | lists | answered | means | example |\n|---|---|---|---|---|\n".to_owned();
    for key in &KEYS {
        let lists: Vec<&str> = key.lists.iter().map(|list| list.as_str()).collect();
        let answered = match key.answered {
            Answered::Index => "by an index",
            Answered::Compared => "row by row",
        };
        table.push_str(&format!(
            "| `{}` | {} | {answered} | {} | `{}` |\n",
            key.key,
            lists.join(", "),
            key.about,
            key.example
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::parse;

    #[test]
    fn every_example_is_read_by_every_list_that_has_its_key_and_by_no_other() {
        for key in &KEYS {
            for list in List::ALL {
                let example = match (key.key, list) {
                    (Key::State, List::Batches) => "state:open,halted",
                    (Key::State, List::Quarantine) => "state:open",
                    _ => key.example,
                };
                assert_eq!(parse(list, example).is_ok(), key.lists.contains(&list), "{example} of {list}");
            }
        }
    }

    #[test]
    fn every_key_is_in_the_table_once() {
        for key in Key::ALL {
            assert_eq!(KEYS.iter().filter(|row| row.key == key).count(), 1, "{key}");
        }
        assert!(List::Jobs.about().contains("attempts>=3") && !List::Batches.about().contains("attempts"));
    }
}
