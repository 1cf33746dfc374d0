//! Breadth first through every state, then the calm way from each of them.

use super::clauses::{Bounds, Clause};
use super::invariants::wrong;
use super::state::State;
use super::steps::{self, Step, is_good_end};
use super::transitions::World;

/// What an exploration came to.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// How many states were reached, those that differ by names only counted once.
    pub states: usize,
    /// How many steps lead from one to another.
    pub steps: u64,
    /// How many steps the farthest state is away from the first.
    pub depth: usize,
    /// How many of them are quiet, good ends.
    pub ends: usize,
    /// What was wrong first, with the steps that lead there.
    pub violation: Option<Found>,
    /// From how many states no quiet end was reached on the calm way.
    pub stuck: usize,
    /// The nearest of these, and the steps that lead there.
    pub stuck_at: Option<Found>,
}

impl Figures {
    /// What was found, if anything.
    pub fn found(&self) -> Option<&Found> {
        self.violation.as_ref().or(self.stuck_at.as_ref())
    }
}

/// Something that must not be.
#[derive(Debug, Clone)]
pub struct Found {
    /// What it is.
    pub what: String,
    /// The shortest way there. Names may change on the way: states that differ by names only are one.
    pub way: Vec<String>,
}

/// Explores all that these bounds allow, with at most one clause taken away. Stops at the first violation.
///
/// # Panics
///
/// When more than `u32::MAX - 1` states are reached.
pub fn explore(bounds: &Bounds, removed: Option<Clause>) -> Figures {
    // Two incarnations of one process that are over are one in the encoding: see `state::Holder`.
    assert!(bounds.left.stalls <= 1 && bounds.chunks <= super::state::CHUNKS, "bounds beyond the encoding");
    let mut search = Search { bounds: *bounds, removed, seen: Seen::default() };
    let mut figures = search.breadth_first();
    if figures.violation.is_none() {
        search.calm_ways(&mut figures);
    }
    figures
}

struct Search {
    bounds: Bounds,
    removed: Option<Clause>,
    seen: Seen,
}

impl Search {
    fn world(&self, packed: u128) -> World {
        World { state: State::unpack(packed), removed: self.removed, broken: None }
    }

    fn breadth_first(&mut self) -> Figures {
        let mut figures = Figures::default();
        let all = steps::all();
        self.seen.enter(State::first(self.bounds.left, self.bounds.mishaps).canonical(), NOWHERE);
        let (mut next, mut layer_ends) = (0, 1);
        while next < self.seen.states.len() {
            if next == layer_ends {
                (figures.depth, layer_ends) = (figures.depth + 1, self.seen.states.len());
            }
            let here = self.world(self.seen.states[next]);
            figures.ends += usize::from(is_good_end(&here.state, &self.bounds));
            for step in &all {
                let Some(there) = here.after(*step, &self.bounds) else { continue };
                figures.steps += 1;
                let (index, fresh) = self.seen.enter(there.state.canonical(), next as u32);
                let what =
                    there.broken.or_else(|| if fresh { wrong(&there.state, &self.bounds, self.removed) } else { None });
                if let Some(what) = what {
                    let mut way = self.way(next);
                    way.push(format!("{step:?}"));
                    figures.violation = Some(Found { what: what.to_owned(), way });
                    figures.states = index.max(self.seen.states.len());
                    return figures;
                }
            }
            next += 1;
        }
        figures.states = self.seen.states.len();
        figures
    }

    /// From each state the calm way is followed until it meets a state that is known to end well, or badly.
    fn calm_ways(&self, figures: &mut Figures) {
        const ON_THE_ROAD: u8 = 1;
        const WELL: u8 = 2;
        const STUCK: u8 = 3;
        let calm = steps::calm();
        let mut known = vec![0u8; self.seen.states.len()];
        let mut dispatcher = Vec::new();
        for from in 0..known.len() {
            let mut here = from;
            let verdict = loop {
                match known[here] {
                    // The way has come back to itself: it never ends.
                    ON_THE_ROAD => break STUCK,
                    0 => {}
                    verdict => break verdict,
                }
                known[here] = ON_THE_ROAD;
                dispatcher.push(here);
                let world = self.world(self.seen.states[here]);
                match calm.iter().find_map(|step| world.after(*step, &self.bounds)) {
                    Some(there) => here = self.seen.find(there.state.canonical()).unwrap_or(from),
                    None if is_good_end(&world.state, &self.bounds) => break WELL,
                    None => break STUCK,
                }
            };
            if verdict == STUCK && figures.stuck_at.is_none() {
                let state = State::unpack(self.seen.states[here]);
                let what = format!("the calm way ends in {:?} with {:?}", state.batch, state.jobs);
                figures.stuck_at = Some(Found { what, way: self.way(from) });
            }
            dispatcher.drain(..).for_each(|state| known[state] = verdict);
        }
        figures.stuck = known.iter().filter(|verdict| **verdict == STUCK).count();
    }

    /// The steps from the first state to this one.
    fn way(&self, to: usize) -> Vec<String> {
        let mut line = vec![to];
        while let Some(&here) = line.last()
            && self.seen.from[here] != NOWHERE
        {
            line.push(self.seen.from[here] as usize);
        }
        line.reverse();
        line.windows(2).filter_map(|pair| self.step_between(pair[0], pair[1])).map(|step| format!("{step:?}")).collect()
    }

    fn step_between(&self, from: usize, to: usize) -> Option<Step> {
        let here = self.world(self.seen.states[from]);
        let leads = |step: &Step| {
            here.after(*step, &self.bounds).is_some_and(|there| there.state.canonical() == self.seen.states[to])
        };
        steps::all().into_iter().find(leads)
    }
}

const NOWHERE: u32 = u32::MAX;

/// The states that were reached, in the order in which they were, each with the one it was reached from first.
#[derive(Default)]
struct Seen {
    states: Vec<u128>,
    from: Vec<u32>,
    /// Open addressing over the numbers of the states: a third of what a hash map of the standard library takes.
    table: Vec<u32>,
}

impl Seen {
    /// The number of the state, and whether it is new.
    fn enter(&mut self, state: u128, from: u32) -> (usize, bool) {
        if self.states.len() * 2 >= self.table.len() {
            self.grow();
        }
        let place = self.place(state);
        if self.table[place] != NOWHERE {
            return (self.table[place] as usize, false);
        }
        let number = u32::try_from(self.states.len()).ok().filter(|number| *number != NOWHERE);
        self.table[place] = number.expect("no more states than a number has room for");
        self.states.push(state);
        self.from.push(from);
        (self.states.len() - 1, true)
    }

    fn find(&self, state: u128) -> Option<usize> {
        let number = self.table[self.place(state)];
        (number != NOWHERE).then_some(number as usize)
    }

    /// Where the state stands in the table, or where it would.
    fn place(&self, state: u128) -> usize {
        let mask = self.table.len() - 1;
        let mut place = mixed(state) as usize & mask;
        while self.table[place] != NOWHERE && self.states[self.table[place] as usize] != state {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        self.table = vec![NOWHERE; (self.table.len() * 2).max(1 << 16)];
        for number in 0..self.states.len() {
            let place = self.place(self.states[number]);
            self.table[place] = number as u32;
        }
    }
}

/// Spreads a state over 64 bits: the finisher of SplitMix64 on both halves.
fn mixed(state: u128) -> u64 {
    let mut bits = (state as u64) ^ ((state >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
