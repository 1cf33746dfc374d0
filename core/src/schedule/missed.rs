//! Which of the ticks that are due run, and which are recorded as skipped.
//!
//! More than one tick is due when the scheduler could not run them in time: it was down, the machine slept, its clock
//! jumped. A tick is **missed** when its successor is due as well, or when it is later than the grace.

use std::time::Duration;

use crate::Instant;

crate::words! {
    /// What happens to missed ticks.
    #[derive(Default)]
    pub enum Missed {
        /// None of them runs.
        Skip = "skip",
        /// Only the newest runs, on behalf of all.
        #[default]
        Latest = "latest",
        /// Each runs, the oldest first, up to the limit: the newest ones.
        All = "all",
    }
}

/// The policy with its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUp {
    /// What happens to missed ticks.
    pub policy: Missed,
    /// Missed ticks that are later than this never run. `None` means no bound.
    pub within: Option<Duration>,
    /// With [`Missed::All`], the most that run: the newest.
    pub max: usize,
    /// The newest tick counts as on time when it is no later than this.
    pub grace: Duration,
}

/// A tick whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueTick {
    /// The tick.
    pub tick: Instant,
    /// When it should have started: the tick and its jitter.
    pub fires_at: Instant,
}

/// Ticks whose time has come, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// The oldest of them.
    pub ticks: Vec<DueTick>,
    /// Whether newer ones are due as well.
    pub more: bool,
}

/// What happens to a due tick, as far as lateness decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedDecision {
    /// It runs.
    Run,
    /// It was missed, and the policy says that it does not run.
    Skip,
}

impl CatchUp {
    /// Decides what happens to each due tick, in the same order. When newer ones are due beyond those given, the last
    /// few may be left undecided and are missing at the end, because the newer ones determine them.
    pub fn judge(&self, due: &Due, now: Instant) -> Vec<MissedDecision> {
        let count = due.ticks.len();
        let kept = count.saturating_sub(self.max);
        let decided = if due.more && self.policy == Missed::All { kept } else { count };
        let late = |tick: &DueTick| (now - tick.fires_at).to_std().unwrap_or_default();
        due.ticks[..decided]
            .iter()
            .enumerate()
            .map(|(index, tick)| {
                let newest = index + 1 == count && !due.more;
                if newest && late(tick) <= self.grace {
                    return MissedDecision::Run;
                }
                let chosen = match self.policy {
                    Missed::Skip => false,
                    Missed::Latest => newest,
                    Missed::All => index >= kept,
                };
                let within = self.within.is_none_or(|within| late(tick) <= within);
                if chosen && within { MissedDecision::Run } else { MissedDecision::Skip }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    const NOW: Instant = Instant::UNIX_EPOCH;

    fn due(minutes_late: &[i64], more: bool) -> Due {
        let tick = |late: &i64| {
            let tick = NOW - TimeDelta::minutes(*late);
            DueTick { tick, fires_at: tick }
        };
        Due { ticks: minutes_late.iter().map(tick).collect(), more }
    }

    fn judged(policy: Missed, within: Option<u64>, max: usize, due: &Due) -> String {
        let within = within.map(|minutes| Duration::from_secs(60 * minutes));
        let catch_up = CatchUp { policy, within, max, grace: Duration::from_secs(60) };
        catch_up
            .judge(due, NOW)
            .iter()
            .map(|decision| if *decision == MissedDecision::Run { 'R' } else { '-' })
            .collect()
    }

    #[test]
    fn what_is_on_time_runs_whatever_the_policy() {
        for policy in Missed::ALL {
            assert_eq!(judged(policy, Some(0), 1, &due(&[0], false)), "R", "{policy}");
            assert_eq!(judged(policy, Some(0), 1, &due(&[1], false)), "R", "{policy}: just within the grace");
        }
    }

    #[test]
    fn each_policy_chooses_among_the_missed() {
        let late = due(&[50, 40, 30, 20, 10], false);
        assert_eq!(judged(Missed::Skip, None, 3, &late), "-----");
        assert_eq!(judged(Missed::Latest, None, 3, &late), "----R");
        assert_eq!(judged(Missed::All, None, 3, &late), "--RRR");
        assert_eq!(judged(Missed::All, None, 9, &late), "RRRRR");
    }

    #[test]
    fn the_window_bounds_what_runs_late() {
        let late = due(&[50, 40, 30, 20, 10], false);
        assert_eq!(judged(Missed::All, Some(20), 9, &late), "---RR");
        assert_eq!(judged(Missed::Latest, Some(20), 9, &late), "----R");
        assert_eq!(judged(Missed::Latest, Some(5), 9, &late), "-----");
    }

    #[test]
    fn a_newest_tick_on_time_stands_beside_what_the_policy_chooses() {
        let late = due(&[20, 10, 0], false);
        assert_eq!(judged(Missed::Skip, None, 9, &late), "--R");
        assert_eq!(judged(Missed::Latest, None, 9, &late), "--R");
        assert_eq!(judged(Missed::All, None, 2, &late), "-RR");
    }

    #[test]
    fn what_hangs_on_newer_ticks_is_left_undecided() {
        let late = due(&[50, 40, 30, 20, 10], true);
        assert_eq!(judged(Missed::All, None, 3, &late), "--");
        assert_eq!(judged(Missed::Latest, None, 3, &late), "-----");
        assert_eq!(judged(Missed::Skip, None, 3, &late), "-----");
    }
}
