//! What one client watches, and what it has not seen yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::hub::{Entry, Frame, Hub, Place, Progress};
use super::topic::Topic;

/// The most topics that one client watches.
pub const TOPICS_MAX: usize = 100;

/// What one client watches. Nothing is kept for it: it gets the latest state of what has changed since it last asked.
#[derive(Debug)]
pub struct Feed {
    hub: Hub,
    tenant: String,
    progress: watch::Receiver<Progress>,
    watched: BTreeMap<Topic, Watched>,
}

#[derive(Debug)]
struct Watched {
    entry: Arc<Entry>,
    /// The last place whose frames of this topic the client has.
    seen: Option<Place>,
}

/// Why a topic is not watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotWatched {
    /// The client watches as many as one may.
    #[error("at most {TOPICS_MAX} topics are watched over one connection")]
    Client,
    /// All clients together do, or those of its tenant.
    #[error("too many topics are watched at once")]
    Server,
}

impl Feed {
    /// A client of a tenant that watches nothing yet.
    pub fn new(hub: &Hub, tenant: impl Into<String>) -> Self {
        Self { hub: hub.clone(), tenant: tenant.into(), progress: hub.progress(), watched: BTreeMap::new() }
    }

    /// Watches a topic. Its present state comes first, unless the client has seen it at the place `after`.
    ///
    /// # Errors
    ///
    /// [`NotWatched`]. What was watched before still is.
    pub fn watch(&mut self, topic: Topic, after: Option<Place>) -> Result<(), NotWatched> {
        if self.watched.contains_key(&topic) {
            return Ok(());
        }
        if self.watched.len() >= TOPICS_MAX {
            return Err(NotWatched::Client);
        }
        let entry = self.hub.watch(&self.tenant, topic).ok_or(NotWatched::Server)?;
        self.watched.insert(topic, Watched { entry, seen: after });
        // Its state may be there since an earlier round.
        self.progress.mark_changed();
        Ok(())
    }

    /// Watches a topic no longer. Returns whether it was watched.
    pub fn unwatch(&mut self, topic: Topic) -> bool {
        self.watched.remove(&topic).is_some()
    }

    /// What is watched.
    pub fn topics(&self) -> impl Iterator<Item = Topic> {
        self.watched.keys().copied()
    }

    /// When everything that is watched was last read; `None` before that.
    pub fn read_at(&self) -> Option<DateTime<Utc>> {
        self.progress.borrow().read_at
    }

    /// Waits for changes, and returns the latest state of each topic that has changed, in the order of their rounds.
    /// `None` when the server stops. When the call is dropped, nothing is lost.
    pub async fn next(&mut self) -> Option<Vec<Arc<Frame>>> {
        loop {
            let progress = *self.progress.borrow_and_update();
            if progress.closed {
                return None;
            }
            let news = self.news(progress.round);
            if !news.is_empty() {
                return Some(news);
            }
            self.progress.changed().await.ok()?;
        }
    }

    /// Frames of rounds that are complete: a client that has seen one of a round has seen all up to it, so that the place
    /// of the last one says what it lacks.
    fn news(&mut self, round: u64) -> Vec<Arc<Frame>> {
        let here = self.hub.place(round);
        let mut news = Vec::new();
        for watched in self.watched.values_mut() {
            let latest = watched.entry.latest().filter(|frame| here.has_seen(frame));
            let fresh = latest.filter(|frame| !watched.seen.is_some_and(|seen| seen.has_seen(frame)));
            if let Some(frame) = fresh {
                watched.seen = Some(frame.place);
                news.push(frame);
            }
        }
        news.sort_by_key(|frame| frame.place.round());
        news
    }
}
