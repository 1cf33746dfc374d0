//! What happens to a chunk whose worker died: it is narrowed down until the item that kills workers stands alone.
//!
//! A process that dies takes everything with it, including the reason: all that is known is which chunks ran in it. A
//! chunk that loses its worker again and again is therefore replaced by two halves of its items, and each half that
//! loses its worker by two halves of its own, until one item is alone in its chunk. That item is *condemned*: it is
//! read only once more, to be set aside with the reason, and everything else has been processed.
//!
//! One such item among `n` in a chunk of `a` attempts kills at most `a + (⌈log2 n⌉ − 1) + a` workers: the whole chunk
//! uses up its attempts, each half is lost once, and the item alone has all its attempts again, so that an item that
//! was merely next to the culprit is not condemned by chance. For 500 items and 5 attempts that is 18.

use std::time::Duration;

use crate::retry::RetryPolicy;
use crate::settle::{Ending, Verdict, settle};

/// What must be known of a chunk whose worker's lease ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostChunk {
    /// The attempt that was lost, counted from 1.
    pub attempt: u32,
    /// How many it has in all.
    pub max_attempts: u32,
    /// How many items it has.
    pub items: u64,
    /// Whether it is a half of another chunk.
    pub half: bool,
    /// Whether it is only read, to set its item aside.
    pub condemned: bool,
    /// Whether its batch's plan is complete. Before that the numbers of new chunks belong to the planner.
    pub planned: bool,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// As any job: queued again, waiting, or dead.
    Settle(Verdict),
    /// Its halves take its place.
    Split,
    /// Its one item is set aside at its next attempt, which only reads it.
    Condemn,
    /// It waits for the plan to be complete, with one more attempt than before.
    Wait(Duration),
}

impl Loss {
    /// How its attempt is closed; everything else that follows from the loss comes after that.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Settle(verdict) => verdict,
            // No worker may claim it before its halves have replaced it.
            Self::Split => Verdict::Retry { after: Duration::ZERO },
            Self::Condemn => Verdict::Requeue,
            Self::Wait(after) => Verdict::Retry { after },
        }
    }
}

/// Decides what happens to a chunk whose worker died. `random` is a uniform draw from 0 to 1 for the waits.
///
/// From its second loss on, a chunk waits as it does after a failure, so that it does not meet the same neighbours
/// again.
///
/// # Panics
///
/// When `attempt` is 0: no attempt can be lost before it was claimed.
pub fn lost(chunk: &LostChunk, policy: &RetryPolicy, random: f64) -> Loss {
    let as_any = settle(Ending::WorkerLost, chunk.attempt, chunk.max_attempts, policy, random);
    let spent = chunk.attempt >= chunk.max_attempts;
    let wait = policy.wait(chunk.attempt, random);
    match chunk.items {
        // Merely reading it kills the worker: there is nothing to set aside.
        _ if chunk.condemned => Loss::Settle(as_any),
        0 => Loss::Settle(as_any),
        1 if spent => Loss::Condemn,
        2.. if (spent || chunk.half) && chunk.planned => Loss::Split,
        2.. if spent => Loss::Wait(wait),
        _ if chunk.attempt > 1 => Loss::Settle(Verdict::Retry { after: wait }),
        _ => Loss::Settle(as_any),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration::Span;

    const CHUNK: LostChunk =
        LostChunk { attempt: 1, max_attempts: 3, items: 8, half: false, condemned: false, planned: true };

    fn decide(chunk: LostChunk) -> Loss {
        lost(&chunk, &RetryPolicy::Fixed(Span(Duration::from_secs(7))), 0.5)
    }

    #[test]
    fn the_whole_table() {
        let waits = Loss::Settle(Verdict::Retry { after: Duration::from_secs(7) });
        let (again, dead) = (Loss::Settle(Verdict::Requeue), Loss::Settle(Verdict::Dead));
        let (half, one) = (LostChunk { half: true, ..CHUNK }, LostChunk { items: 1, ..CHUNK });
        let condemned = LostChunk { condemned: true, half: true, ..one };
        let open = LostChunk { planned: false, ..CHUNK };
        let table = [
            ("a whole chunk", CHUNK, [again, waits, Loss::Split]),
            ("a half", half, [Loss::Split; 3]),
            ("one item, never split", one, [again, waits, Loss::Condemn]),
            ("one item of a half", LostChunk { half: true, ..one }, [again, waits, Loss::Condemn]),
            ("one that is condemned", condemned, [again, again, dead]),
            ("one of an open batch", open, [again, waits, Loss::Wait(Duration::from_secs(7))]),
            ("one without items", LostChunk { items: 0, ..CHUNK }, [again, again, dead]),
        ];
        for (what, chunk, expected) in table {
            for (attempt, expected) in (1..).zip(expected) {
                assert_eq!(decide(LostChunk { attempt, ..chunk }), expected, "{what}, attempt {attempt}");
            }
        }
    }

    /// How many workers one culprit kills before it is condemned, when the halves are as even as possible.
    fn deaths(items: u64, attempts: u32) -> u32 {
        let (mut chunk, mut deaths) = (LostChunk { items, max_attempts: attempts, ..CHUNK }, 0);
        loop {
            deaths += 1;
            match decide(chunk) {
                Loss::Condemn => return deaths,
                Loss::Split => chunk = LostChunk { attempt: 1, half: true, items: chunk.items.div_ceil(2), ..chunk },
                Loss::Settle(_) => chunk.attempt += 1,
                Loss::Wait(_) => unreachable!("its plan is complete"),
            }
        }
    }

    #[test]
    fn one_culprit_kills_no_more_workers_than_is_written() {
        for items in 2..=4_096_u64 {
            for attempts in 1..=5 {
                let halvings = u64::BITS - (items - 1).leading_zeros();
                assert!(deaths(items, attempts) < 2 * attempts + halvings, "{items} items, {attempts} attempts");
            }
        }
        assert_eq!(deaths(500, 5), 18);
        assert_eq!(deaths(1, 5), 5);
    }
}
