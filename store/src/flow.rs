//! What passes within one transaction, gathered until its end: a few rows, whatever the number of jobs.

use std::time::Duration;

use gristmill_core::history::{Passed, bucket};

/// So many jobs of one queue and kind to which the same happened, after times in the same buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlowRow {
    pub(crate) tenant: String,
    pub(crate) queue: String,
    pub(crate) kind: String,
    pub(crate) what: Passed,
    pub(crate) wait: Option<i16>,
    pub(crate) run: Option<i16>,
    pub(crate) jobs: i64,
}

/// What has passed so far.
#[derive(Debug, Default)]
pub(crate) struct Flow(Vec<FlowRow>);

/// Whose it is: tenant, queue and kind.
pub(crate) type Whose<'a> = (&'a str, &'a str, &'a str);

impl Flow {
    /// A job was created.
    pub(crate) fn enqueued(&mut self, whose: Whose<'_>) {
        self.count(whose, Passed::Enqueued, None, None);
    }

    /// One job more. They are few, and mostly the same: looked up one after the other, without a copy of their names.
    pub(crate) fn count(
        &mut self,
        (tenant, queue, kind): Whose<'_>,
        what: Passed,
        wait: Option<i16>,
        run: Option<i16>,
    ) {
        let same = |row: &&mut FlowRow| {
            (row.what, row.wait, row.run) == (what, wait, run)
                && row.kind == kind
                && row.queue == queue
                && row.tenant == tenant
        };
        match self.0.iter_mut().find(same) {
            Some(row) => row.jobs += 1,
            None => {
                let [tenant, queue, kind] = [tenant, queue, kind].map(str::to_owned);
                self.0.push(FlowRow { tenant, queue, kind, what, wait, run, jobs: 1 });
            }
        }
    }

    /// Whether nothing has passed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what has passed.
    pub(crate) fn take(&mut self) -> Vec<FlowRow> {
        std::mem::take(&mut self.0)
    }
}

/// The bucket of the time between two instants in microseconds; what is negative, because a clock was set back, is 0.
pub(crate) fn bucket_between(from: Option<i64>, to: i64) -> Option<i16> {
    let micros = to.saturating_sub(from?).max(0);
    Some(bucket(Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_to_which_the_same_happened_are_one_row() {
        let mut flow = Flow::default();
        for kind in ["a", "b", "a"] {
            flow.enqueued(("main", "mail", kind));
        }
        flow.count(("main", "mail", "a"), Passed::Done, Some(1), Some(2));
        flow.count(("main", "mail", "a"), Passed::Done, Some(1), Some(3));
        flow.count(("main", "mail", "a"), Passed::Done, Some(1), Some(2));
        let rows: Vec<_> = flow.take().into_iter().map(|row| (row.kind, row.what, row.run, row.jobs)).collect();
        let expected = [
            ("a".to_owned(), Passed::Enqueued, None, 2),
            ("b".to_owned(), Passed::Enqueued, None, 1),
            ("a".to_owned(), Passed::Done, Some(2), 2),
            ("a".to_owned(), Passed::Done, Some(3), 1),
        ];
        assert_eq!(rows, expected);
        assert!(flow.is_empty());
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_time_negative() {
        assert_eq!(bucket_between(Some(10_000_000), 5), Some(0));
        assert_eq!(bucket_between(None, 5), None);
        assert_eq!(bucket_between(Some(0), 2_000), Some(bucket(Duration::from_millis(2))));
    }
}
