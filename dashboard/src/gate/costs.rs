//! What the pages have cost the database: by page, since this server began.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The page that a request is for, as its route has it.
#[derive(Debug, Clone)]
pub struct PageRoute(pub String);

/// What one page has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageCost {
    /// How often it was made.
    pub times: u64,
    /// How often it asked the store.
    pub readings: u64,
    /// How long the store took for all of that.
    pub took: Duration,
    /// How long it took for the one that took longest.
    pub longest: Duration,
}

/// What all of them have cost. There are as many as there are pages, whatever is asked for.
#[derive(Debug)]
pub struct Costs {
    since: Instant,
    pages: Mutex<BTreeMap<String, PageCost>>,
}

impl Default for Costs {
    fn default() -> Self {
        Self { since: Instant::now(), pages: Mutex::default() }
    }
}

impl Costs {
    /// Adds what a page has cost that was made just now.
    pub fn add(&self, page: &str, readings: u32, took: Duration) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if !pages.contains_key(page) {
            pages.insert(page.to_owned(), PageCost::default());
        }
        let Some(cost) = pages.get_mut(page) else { return };
        cost.times += 1;
        cost.readings += u64::from(readings);
        cost.took += took;
        cost.longest = cost.longest.max(took);
    }

    /// For how long it is counted, and what each page has cost, the dearest first.
    pub fn seen(&self) -> (Duration, Vec<(String, PageCost)>) {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut pages: Vec<(String, PageCost)> = pages.into_iter().collect();
        pages.sort_by_key(|(_, cost)| std::cmp::Reverse(cost.took));
        (self.since.elapsed(), pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pages_cost_adds_up_and_the_dearest_comes_first() {
        let (costs, ms) = (Costs::default(), Duration::from_millis);
        for (page, readings, took) in [("/jobs", 2, 5), ("/", 9, 8), ("/jobs", 3, 7)] {
            costs.add(page, readings, ms(took));
        }
        let jobs = PageCost { times: 2, readings: 5, took: ms(12), longest: ms(7) };
        let overview = PageCost { times: 1, readings: 9, took: ms(8), longest: ms(8) };
        assert_eq!(costs.seen().1, [("/jobs".to_owned(), jobs), ("/".to_owned(), overview)]);
    }
}
