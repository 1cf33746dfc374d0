//! When a batch will have ended: a range, or why none can be given.
//!
//! Chunks that run longer are still running when the short ones have finished, so that the times of those that have finished
//! say too little. Therefore what runs counts as at least as long as it has run (Kaplan and Meier 1958), the uncertainty
//! about the times is drawn with them (Rubin's Bayesian bootstrap, 1981), and the rest of the batch is scheduled onto the slots
//! that work. No method foresees that a service becomes slower: a range holds as long as things stay as they are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How often the rest of a batch is played through.
const RUNS: usize = 160;

/// How many of the chunks that wait are scheduled one by one; of more, the first count by their mean.
const SCHEDULED_MAX: u64 = 300;

/// The most observations that are used: more say no more, and cost time.
const OBSERVED_MAX: usize = 600;

/// How far the speed may change by itself, as the deviation of its logarithm.
const DRIFT: f64 = 0.06;

/// From this ratio of the longest time to the median on, the longest decide, and no upper end is known.
const HEAVY_TAIL: f64 = 20.0;

/// The share of the runs below the lower end of a range, and above its upper end.
const OUTSIDE: f64 = 0.1;

/// What is known of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// How long chunks that have finished took, each its last attempt.
    pub finished: Vec<Duration>,
    /// How long those that run have run so far.
    pub running: Vec<Duration>,
    /// How many have not begun.
    pub waiting: u64,
    /// How long ago the last one finished.
    pub since_last: Duration,
}

/// When a batch will have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Estimate {
    /// Nothing remains.
    Over,
    /// Chunks wait, and none runs: what they wait for decides.
    Idle,
    /// Too few have finished.
    Early {
        /// How many have.
        finished: usize,
        /// How many it takes.
        needed: usize,
    },
    /// None has finished for longer than nearly all of them took.
    Stalled {
        /// For how long.
        quiet: Duration,
    },
    /// A few take so long that only the lower end is known.
    AtLeast(Duration),
    /// From now on, in four of five cases: between the first and the last.
    Between {
        /// The lower end.
        soonest: Duration,
        /// The middle.
        likely: Duration,
        /// The upper end.
        latest: Duration,
    },
}

/// Estimates when a batch will have ended. The same `seed` gives the same answer.
pub fn estimate(observed: &Observed, seed: u64) -> Estimate {
    let (slots, waiting) = (observed.running.len(), observed.waiting);
    if slots == 0 {
        return if waiting == 0 { Estimate::Over } else { Estimate::Idle };
    }
    let (finished, needed) = (observed.finished.len(), 20.max(3 * slots));
    if finished < needed {
        return Estimate::Early { finished, needed };
    }
    let mut times: Vec<Duration> = observed.finished.clone();
    times.sort_unstable();
    let longest = times[(times.len() * 99 / 100).min(times.len() - 1)];
    if observed.since_last > (longest * 3).max(Duration::from_secs(30)) {
        return Estimate::Stalled { quiet: observed.since_last };
    }
    let median = times[times.len() / 2].as_secs_f64().max(0.001);
    let most = times.iter().chain(&observed.running).max().map_or(0.0, Duration::as_secs_f64);
    let ends = play(observed, &mut Random(seed));
    let at = |share: f64| Duration::from_secs_f64(ends[((ends.len() - 1) as f64 * share).round() as usize]);
    if most / median > HEAVY_TAIL && most > 1.0 {
        return Estimate::AtLeast(at(OUTSIDE));
    }
    Estimate::Between { soonest: at(OUTSIDE), likely: at(0.5), latest: at(1.0 - OUTSIDE) }
}

/// How many seconds each run took, in order.
fn play(observed: &Observed, random: &mut Random) -> Vec<f64> {
    let known = observations(observed);
    let mut ends: Vec<f64> = (0..RUNS).map(|_| run(&Times::draw(&known, random), observed, random)).collect();
    ends.sort_unstable_by(f64::total_cmp);
    ends
}

/// A time, and whether it has ended by then.
type Observation = (f64, bool);

/// The observations in the order of their times.
fn observations(observed: &Observed) -> Vec<Observation> {
    // Of many, evenly spread ones: they come in the order of their numbers.
    let step = observed.finished.len().div_ceil(OBSERVED_MAX).max(1);
    let finished = observed.finished.iter().step_by(step).map(|time| (time.as_secs_f64(), true));
    let running = observed.running.iter().take(OBSERVED_MAX).map(|time| (time.as_secs_f64(), false));
    let mut known: Vec<Observation> = finished.chain(running).collect();
    // Of two with the same time the one that has ended comes first: the other was still there.
    known.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(other.1.cmp(&one.1)));
    known
}

/// One run: the rest of the chunks on the slots that work.
fn run(times: &Times, observed: &Observed, random: &mut Random) -> f64 {
    let mut free: BinaryHeap<Reverse<u64>> = BinaryHeap::with_capacity(observed.running.len());
    let micros = |seconds: f64| (seconds * 1e6) as u64;
    for ran in &observed.running {
        let ran = ran.as_secs_f64();
        free.push(Reverse(micros(times.longer_than(ran, random) - ran)));
    }
    let one_by_one = observed.waiting.min(SCHEDULED_MAX);
    let rest = (observed.waiting - one_by_one) as f64;
    let rest = (rest * times.mean + rest.sqrt() * times.deviation * random.normal()).max(0.0);
    let offset = rest / observed.running.len() as f64;
    let mut end = 0;
    for _ in 0..one_by_one {
        let Reverse(at) = free.pop().unwrap_or_default();
        free.push(Reverse(at + micros(times.any(random))));
    }
    for Reverse(at) in free {
        end = end.max(at);
    }
    (end as f64 / 1e6 + offset) * (DRIFT * random.normal()).exp()
}

/// A distribution of times, as one draw of what is uncertain about it.
#[derive(Debug)]
struct Times {
    /// Times with the share of all that have ended by then, both rising.
    ended: Vec<(f64, f64)>,
    /// The longest time that was seen.
    most: f64,
    mean: f64,
    deviation: f64,
}

impl Times {
    /// Draws weights for the observations, and multiplies the shares that survive.
    fn draw(known: &[Observation], random: &mut Random) -> Self {
        let weights: Vec<f64> = known.iter().map(|_| random.exponential()).collect();
        let mut at_risk: f64 = weights.iter().sum();
        let (mut alive, mut ended) = (1.0, Vec::with_capacity(known.len()));
        let (mut sum, mut squares) = (0.0, 0.0);
        for ((time, has_ended), weight) in known.iter().zip(&weights) {
            if *has_ended {
                let share = alive * weight / at_risk.max(f64::MIN_POSITIVE);
                alive -= share;
                ended.push((*time, 1.0 - alive));
                (sum, squares) = (sum + share * time, squares + share * time * time);
            }
            at_risk -= weight;
        }
        let most = known.last().map_or(0.0, |(time, _)| *time);
        // What is left has no end yet: it takes half as long again, on average.
        let tail = most * 1.5;
        let alive = alive.max(0.0);
        (sum, squares) = (sum + alive * tail, squares + alive * (tail * tail + most * most / 4.0));
        Self { ended, most, mean: sum, deviation: (squares - sum * sum).max(0.0).sqrt() }
    }

    /// Any time.
    fn any(&self, random: &mut Random) -> f64 {
        self.at(random.uniform(), random)
    }

    /// A time longer than this one.
    fn longer_than(&self, time: f64, random: &mut Random) -> f64 {
        let before = self.ended.partition_point(|(known, _)| *known <= time);
        let passed = before.checked_sub(1).map_or(0.0, |at| self.ended[at].1);
        self.at(passed + (1.0 - passed) * random.uniform(), random).max(time)
    }

    /// The time by which that share has ended.
    fn at(&self, share: f64, random: &mut Random) -> f64 {
        let found = self.ended.partition_point(|(_, ended)| *ended < share);
        match self.ended.get(found) {
            Some((time, _)) => *time,
            None => self.most * (1.0 + 0.5 * random.exponential()),
        }
    }
}

/// Numbers from a seed (SplitMix64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and 1, and neither.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// With mean 1.
    fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// With mean 0 and deviation 1 (Box and Muller).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a whole batch, and returns what is seen when a share of its chunks has finished, and how long the rest takes.
    fn seen(times: &[f64], slots: usize, share: f64) -> (Observed, f64) {
        let mut free: BinaryHeap<Reverse<u64>> = (0..slots).map(|_| Reverse(0)).collect();
        let mut spans = Vec::new();
        for time in times {
            let Reverse(from) = free.pop().expect("a slot");
            spans.push((from as f64 / 1e6, from as f64 / 1e6 + time));
            free.push(Reverse(from + (time * 1e6) as u64));
        }
        let mut ends: Vec<f64> = spans.iter().map(|(_, to)| *to).collect();
        ends.sort_unstable_by(f64::total_cmp);
        let now = ends[(times.len() as f64 * share) as usize];
        let seconds = Duration::from_secs_f64;
        let finished = spans.iter().filter(|(_, to)| *to <= now).map(|(from, to)| seconds(to - from)).collect();
        let running = spans.iter().filter(|(from, to)| *from <= now && *to > now).map(|(from, _)| seconds(now - from));
        let waiting = spans.iter().filter(|(from, _)| *from > now).count() as u64;
        let observed = Observed { finished, running: running.collect(), waiting, since_last: Duration::ZERO };
        (observed, ends[ends.len() - 1] - now)
    }

    /// In how many of a hundred batches the true end is within the range.
    fn coverage(draw: impl Fn(&mut Random) -> f64, share: f64) -> u32 {
        let within = |seed: u64| {
            let mut random = Random(seed * 7_919 + 1);
            let times: Vec<f64> = (0..300).map(|_| draw(&mut random)).collect();
            let (observed, rest) = seen(&times, 8, share);
            match estimate(&observed, seed) {
                Estimate::Between { soonest, latest, .. } => {
                    soonest.as_secs_f64() <= rest && rest <= latest.as_secs_f64()
                }
                Estimate::AtLeast(soonest) => soonest.as_secs_f64() <= rest,
                other => panic!("{other:?}"),
            }
        };
        u32::try_from((0..100).filter(|seed| within(*seed)).count()).expect("few")
    }

    #[test]
    fn steady_work_ends_within_its_range_in_most_cases() {
        for share in [0.3, 0.6, 0.9] {
            let covered = coverage(|random| (0.5 * random.normal()).exp() * 10.0, share);
            assert!((70..=100).contains(&covered), "{covered} of 100 at {share}");
        }
    }

    #[test]
    fn a_few_slow_chunks_that_still_run_are_not_forgotten() {
        let draw = |random: &mut Random| if random.uniform() < 0.1 { 60.0 } else { 5.0 + random.uniform() };
        for share in [0.3, 0.6] {
            let covered = coverage(draw, share);
            assert!(covered >= 65, "{covered} of 100 at {share}");
        }
    }

    #[test]
    fn the_range_is_of_use() {
        let mut random = Random(7);
        let times: Vec<f64> = (0..300).map(|_| (0.3 * random.normal()).exp() * 10.0).collect();
        let (observed, rest) = seen(&times, 8, 0.5);
        let Estimate::Between { soonest, likely, latest } = estimate(&observed, 1) else { panic!("a range") };
        assert!(soonest <= likely && likely <= latest);
        assert!((latest - soonest).as_secs_f64() < rest, "narrower than what is left: {soonest:?} to {latest:?}");
        assert_eq!(estimate(&observed, 1), estimate(&observed, 1), "the same seed, the same answer");
    }

    #[test]
    fn what_cannot_be_said_is_not_said() {
        let ten = Duration::from_secs(10);
        let steady = Observed { finished: vec![ten; 40], running: vec![ten / 2; 4], waiting: 60, since_last: ten };
        assert!(matches!(estimate(&steady, 1), Estimate::Between { .. }));
        let early = Observed { finished: vec![ten; 19], ..steady.clone() };
        assert_eq!(estimate(&early, 1), Estimate::Early { finished: 19, needed: 20 });
        let many = Observed { running: vec![ten / 2; 20], ..steady.clone() };
        assert_eq!(estimate(&many, 1), Estimate::Early { finished: 40, needed: 60 });
        let stalled = Observed { since_last: ten * 4, ..steady.clone() };
        assert_eq!(estimate(&stalled, 1), Estimate::Stalled { quiet: ten * 4 });
        let heavy = Observed { running: vec![ten * 25; 4], ..steady.clone() };
        assert!(matches!(estimate(&heavy, 1), Estimate::AtLeast(_)));
        assert_eq!(estimate(&Observed { running: Vec::new(), ..steady.clone() }, 1), Estimate::Idle);
        assert_eq!(estimate(&Observed { running: Vec::new(), waiting: 0, ..steady }, 1), Estimate::Over);
    }

    #[test]
    fn a_million_chunks_take_no_longer_to_estimate() {
        let ten = Duration::from_secs(10);
        let observed =
            Observed { finished: vec![ten; 2_000], running: vec![ten / 2; 10], waiting: 1_000_000, since_last: ten };
        let Estimate::Between { soonest, latest, .. } = estimate(&observed, 3) else { panic!("a range") };
        let exact = 1_000_000.0;
        assert!(soonest.as_secs_f64() < exact && exact < latest.as_secs_f64(), "{soonest:?} to {latest:?}");
        assert!(latest.as_secs_f64() < exact * 1.3, "{latest:?}");
    }
}
