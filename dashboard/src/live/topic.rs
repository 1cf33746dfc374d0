//! What can be watched.

use std::fmt;
use std::str::FromStr;

use gristmill_core::access::Permission;
use gristmill_core::id::{BatchId, JobId};

/// The topics that a client may name, for messages.
const KNOWN: &str = "queues, workers, batches, events, batch:ID, job:ID";

/// Something of a tenant that can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Every queue with its counters.
    Queues,
    /// Every process that is alive or was seen within the last day.
    Workers,
    /// The newest batches.
    Batches,
    /// The newest events, without what they say.
    Events,
    /// One batch.
    Batch(BatchId),
    /// One job, without its payload.
    Job(JobId),
}

impl Topic {
    /// What a caller needs to watch it.
    pub fn permission(self) -> Permission {
        match self {
            Self::Queues => Permission::QueuesRead,
            Self::Workers => Permission::WorkersRead,
            Self::Batches | Self::Batch(_) => Permission::BatchesRead,
            Self::Events => Permission::EventsRead,
            Self::Job(_) => Permission::JobsRead,
        }
    }

    /// The kind of topic, which names its events.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Workers => "workers",
            Self::Batches => "batches",
            Self::Events => "events",
            Self::Batch(_) => "batch",
            Self::Job(_) => "job",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queues | Self::Workers | Self::Batches | Self::Events => f.write_str(self.kind()),
            Self::Batch(id) => write!(f, "batch:{id}"),
            Self::Job(id) => write!(f, "job:{id}"),
        }
    }
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown =
            || format!("there is no topic `{}`; there are {KNOWN}", text.chars().take(80).collect::<String>());
        let no_id = |id: &str| format!("`{}` is no id", id.chars().take(80).collect::<String>());
        match text.split_once(':') {
            None => match text {
                "queues" => Ok(Self::Queues),
                "workers" => Ok(Self::Workers),
                "batches" => Ok(Self::Batches),
                "events" => Ok(Self::Events),
                _ => Err(unknown()),
            },
            Some(("batch", id)) => id.parse().map(Self::Batch).map_err(|_| no_id(id)),
            Some(("job", id)) => id.parse().map(Self::Job).map_err(|_| no_id(id)),
            Some(_) => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_written_as_it_is_read() {
        let id = "0198f9c1-7d2e-7000-8000-000000000001";
        for text in ["queues", "workers", "batches", "events", &format!("batch:{id}"), &format!("job:{id}")] {
            let topic: Topic = text.parse().expect(text);
            assert_eq!(topic.to_string(), text);
            assert!(text.starts_with(topic.kind()), "{text}");
        }
        for (odd, part) in [("", "no topic"), ("queue", "there are queues"), ("batch:7", "no id"), ("job:", "no id")] {
            assert!(odd.parse::<Topic>().expect_err(odd).contains(part), "{odd}");
        }
    }
}
