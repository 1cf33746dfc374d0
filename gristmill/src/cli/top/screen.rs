//! What is known, and what a key changes. Nothing here reads, waits or draws.

use std::time::Duration;

use gristmill_core::id::BatchId;
use gristmill_service::documents::QueueDocument;
use gristmill_store::BatchDocument;
use tokio::time::Instant;

use super::glance::Glance;
use super::keys::Key;

/// A list of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Queues.
    Queues,
    /// Batches.
    Batches,
    /// Workers.
    Workers,
}

impl List {
    /// All of them, as they are one below the other.
    pub(super) const ALL: [Self; 3] = [Self::Queues, Self::Batches, Self::Workers];

    fn next(self) -> Self {
        match self {
            Self::Queues => Self::Batches,
            Self::Batches => Self::Workers,
            Self::Workers => Self::Queues,
        }
    }

    fn place(self) -> usize {
        Self::ALL.iter().position(|list| *list == self).unwrap_or_default()
    }
}

/// What a key asks of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing beyond what is drawn.
    Nothing,
    /// To end.
    Leave,
}

/// A look, and when it was.
#[derive(Debug, Clone)]
struct Seen {
    glance: Glance,
    at: Instant,
}

/// What is known.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    /// Which store or server.
    pub(super) place: String,
    pub(super) tenant: String,
    /// Why the last look brought nothing.
    pub(super) trouble: Option<String>,
    /// Whether what is shown stays.
    pub(super) held: bool,
    /// The list in which the arrows move.
    pub(super) chosen: List,
    latest: Option<Seen>,
    before: Option<Seen>,
    first: [usize; 3],
}

impl Screen {
    /// Nothing is known yet.
    pub(super) fn new(place: &str, tenant: &str) -> Self {
        Self {
            place: place.to_owned(),
            tenant: tenant.to_owned(),
            trouble: None,
            held: false,
            chosen: List::Batches,
            latest: None,
            before: None,
            first: [0; 3],
        }
    }

    /// What a look has brought.
    pub(super) fn saw(&mut self, glance: Glance, at: Instant) {
        self.trouble = None;
        if self.held {
            return;
        }
        self.before = self.latest.replace(Seen { glance, at });
        for list in List::ALL {
            self.first[list.place()] = self.first[list.place()].min(self.rows(list).saturating_sub(1));
        }
    }

    /// A look has brought nothing: what is shown grows old.
    pub(super) fn missed(&mut self, why: &str) {
        self.trouble = Some(why.to_owned());
    }

    /// What a key changes.
    pub(super) fn press(&mut self, key: Key) -> Asked {
        match key {
            Key::Leave => return Asked::Leave,
            Key::Hold => self.held = !self.held,
            Key::Next => self.chosen = self.chosen.next(),
            Key::Up => self.first[self.chosen.place()] = self.first(self.chosen).saturating_sub(1),
            Key::Down => {
                let last = self.rows(self.chosen).saturating_sub(1);
                self.first[self.chosen.place()] = (self.first(self.chosen) + 1).min(last);
            }
            Key::Resized => {}
        }
        Asked::Nothing
    }

    /// What is shown.
    pub(super) fn glance(&self) -> Option<&Glance> {
        self.latest.as_ref().map(|seen| &seen.glance)
    }

    /// How old that is.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        self.latest.as_ref().map(|seen| now.saturating_duration_since(seen.at))
    }

    /// The first row of a list that is shown.
    pub(super) fn first(&self, list: List) -> usize {
        self.first[list.place()]
    }

    fn rows(&self, list: List) -> usize {
        self.glance().map_or(0, |glance| match list {
            List::Queues => glance.queues.len(),
            List::Batches => glance.batches.len(),
            List::Workers => glance.workers.len(),
        })
    }

    /// Jobs of a queue that ended in a second, between the last two looks. `None` after the first one.
    pub(super) fn pace(&self, name: &str) -> Option<u64> {
        let of = |glance: &Glance| glance.queues.iter().find(|row| row.queue.name == name).map(ended);
        self.each_second(of)
    }

    /// Items of a batch that were settled in a second, likewise.
    pub(super) fn items(&self, id: BatchId) -> Option<u64> {
        let of = |glance: &Glance| glance.batches.iter().find(|batch| batch.id == id).map(settled);
        self.each_second(of)
    }

    fn each_second(&self, of: impl Fn(&Glance) -> Option<u64>) -> Option<u64> {
        let (latest, before) = (self.latest.as_ref()?, self.before.as_ref()?);
        let millis = u64::try_from(latest.at.saturating_duration_since(before.at).as_millis()).ok()?;
        // What is deleted in between makes a count smaller.
        let more = of(&latest.glance)?.saturating_sub(of(&before.glance)?);
        more.saturating_mul(1_000).checked_div(millis)
    }
}

fn ended(row: &QueueDocument) -> u64 {
    row.queue.done + row.queue.dead + row.queue.cancelled
}

/// Items that have an outcome.
pub(super) fn settled(batch: &BatchDocument) -> u64 {
    batch.counts.input - batch.counts.pending
}

#[cfg(test)]
pub(super) mod tests {
    use gristmill_store::QueueView;

    use super::*;

    /// A look with one queue in which so many jobs are done.
    pub(in super::super) fn glance(done: u64) -> Glance {
        let queue = QueueView { name: "mail".to_owned(), done, queued: 7, ..QueueView::default() };
        let at = chrono::DateTime::from_timestamp(1_000_000, 0).expect("an instant");
        let queues = vec![QueueDocument { queue, unhandled: Vec::new() }];
        Glance { at, queues, batches: Vec::new(), workers: Vec::new() }
    }

    #[test]
    fn a_pace_is_what_ended_between_two_looks() {
        let (mut screen, start) = (Screen::new("sqlite:a.db", "main"), Instant::now());
        assert_eq!(screen.pace("mail"), None);
        screen.saw(glance(10), start);
        assert_eq!(screen.pace("mail"), None, "one look is no pace");
        screen.saw(glance(50), start + Duration::from_secs(2));
        assert_eq!((screen.pace("mail"), screen.pace("other")), (Some(20), None));
        screen.saw(glance(40), start + Duration::from_secs(4));
        assert_eq!(screen.pace("mail"), Some(0), "some were deleted");
        screen.saw(glance(40), start + Duration::from_secs(4));
        assert_eq!(screen.pace("mail"), None, "no time has passed");
    }

    #[test]
    fn what_is_held_stays_and_grows_old() {
        let (mut screen, start) = (Screen::new("sqlite:a.db", "main"), Instant::now());
        screen.saw(glance(10), start);
        assert_eq!(screen.press(Key::Hold), Asked::Nothing);
        screen.saw(glance(50), start + Duration::from_secs(2));
        assert_eq!(screen.glance().map(|glance| glance.queues[0].queue.done), Some(10));
        assert_eq!(screen.age(start + Duration::from_secs(5)), Some(Duration::from_secs(5)));
        screen.press(Key::Hold);
        screen.missed("away");
        assert_eq!(screen.trouble.as_deref(), Some("away"));
        screen.saw(glance(50), start + Duration::from_secs(6));
        assert_eq!(screen.trouble, None);
    }

    #[test]
    fn the_arrows_move_in_the_chosen_list_and_not_beyond_it() {
        let mut screen = Screen::new("sqlite:a.db", "main");
        let mut many = glance(0);
        many.queues = (0..3).map(|_| many.queues[0].clone()).collect();
        screen.saw(many, Instant::now());
        assert_eq!(screen.chosen, List::Batches);
        screen.press(Key::Down);
        assert_eq!(screen.first(List::Batches), 0, "it is empty");
        screen.press(Key::Next);
        screen.press(Key::Next);
        for _ in 0..5 {
            screen.press(Key::Down);
        }
        assert_eq!((screen.chosen, screen.first(List::Queues)), (List::Queues, 2));
        screen.saw(glance(0), Instant::now());
        assert_eq!(screen.first(List::Queues), 0, "there are fewer now");
        screen.press(Key::Up);
        assert_eq!(screen.press(Key::Leave), Asked::Leave);
    }
}
