//! Whose fault it is when items get no proper answer: theirs, or that of the program or service that was asked.
//!
//! What the failure says comes first: a program that cannot be started, or a service that does not accept a connection,
//! is not there for any item, and the chunk's attempt fails. What it does not say (a program that dies, an answer that
//! is none, a time that has run out, a status 5xx) is judged by the other items of the chunk: where they are answered,
//! the processor is well. `docs/decisions/0017-who-is-to-blame.md` has the reasons.

/// How many pieces of a chunk may fail one after another, with no answer between them, before the processor counts as
/// down: asking for every item alone would start a broken program as often as there are items.
pub const FAILURES_IN_A_ROW_MAX: usize = 8;

/// How many more may fail in a row where much was answered before: one for every four answers, and at most so many.
const CREDIT_MAX: usize = 24;

/// What the attempt has shown of the processor so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trial {
    /// Whether the chunk gets no other attempt.
    pub last_attempt: bool,
    /// How many items have been answered, in this attempt or an earlier one.
    pub answered: usize,
    in_a_row: usize,
}

impl Trial {
    /// A trial that begins with what earlier attempts have brought.
    pub fn new(last_attempt: bool, answered: usize) -> Self {
        Self { last_attempt, answered, in_a_row: 0 }
    }

    /// That many items were answered.
    pub fn answers(&mut self, items: usize) {
        self.answered += items;
        self.in_a_row = 0;
    }

    /// A piece of the chunk failed after some of its items had been answered, though what was answered may not be kept.
    pub fn progresses(&mut self) {
        self.in_a_row = 0;
    }

    /// A piece of the chunk failed before any of its items was answered. Returns whether the processor counts as down: the
    /// more it has answered, the later, because bad items often stand side by side. In the last attempt of a chunk of
    /// which something was answered, the search goes on to its end: giving up would cost the good items as well.
    pub fn fails(&mut self) -> bool {
        self.in_a_row += 1;
        let most = FAILURES_IN_A_ROW_MAX + (self.answered / 4).min(CREDIT_MAX);
        self.in_a_row > most && !(self.last_attempt && self.answered > 0)
    }

    /// Judges when every item has been asked for, and `unanswered` of them got no answer, alone or after all their tries.
    pub fn judge(&self, unanswered: usize) -> Blame {
        let most = unanswered > self.answered && unanswered > FAILURES_IN_A_ROW_MAX;
        match (self.answered, self.last_attempt) {
            _ if unanswered == 0 => Blame::Items,
            // It was tried again and again. A few are named rather than hidden in a dead letter.
            (0, true) if unanswered <= FAILURES_IN_A_ROW_MAX => Blame::Items,
            (0, _) => Blame::Processor,
            (_, true) => Blame::Items,
            (_, false) if most => Blame::Processor,
            (_, false) => Blame::Items,
        }
    }
}

/// Who is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The items without an answer: each is set aside.
    Items,
    /// The processor: the chunk's attempt fails, and no item does.
    Processor,
}

/// Cuts what is to be processed again in two.
pub fn halves<T>(mut piece: Vec<T>) -> [Vec<T>; 2] {
    let right = piece.split_off(piece.len().div_ceil(2));
    [piece, right]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_of_blame() {
        for (answered, unanswered, first, last) in [
            (500, 0, Blame::Items, Blame::Items),
            (499, 1, Blame::Items, Blame::Items),
            (1, 8, Blame::Items, Blame::Items),
            (250, 250, Blame::Items, Blame::Items),
            (249, 251, Blame::Processor, Blame::Items),
            (1, 9, Blame::Processor, Blame::Items),
            (0, 1, Blame::Processor, Blame::Items),
            (0, 8, Blame::Processor, Blame::Items),
            (0, 9, Blame::Processor, Blame::Processor),
            (0, 10_000, Blame::Processor, Blame::Processor),
        ] {
            let judged = [false, true].map(|last_attempt| Trial::new(last_attempt, answered).judge(unanswered));
            assert_eq!(judged, [first, last], "{answered} answered, {unanswered} not");
        }
    }

    #[test]
    fn a_processor_is_down_when_nothing_gets_through_any_more() {
        for (answered, most) in [(0, 8), (3, 8), (50, 20), (400, 32)] {
            let mut trial = Trial::new(false, answered);
            assert!((0..most).all(|_| !trial.fails()) && trial.fails(), "{answered} answered");
            trial.answers(1);
            assert!(!trial.fails());
        }
        let mut last = Trial::new(true, 1);
        assert!((0..1_000).all(|_| !last.fails()), "what was answered is worth the search");
        let mut never = Trial::new(true, 0);
        assert!((0..FAILURES_IN_A_ROW_MAX).all(|_| !never.fails()) && never.fails());
    }

    #[test]
    fn halves_are_as_even_as_possible_and_lose_nothing() {
        assert_eq!(halves(vec![1, 2, 3]), [vec![1, 2], vec![3]]);
        assert_eq!(halves(vec![1, 2]), [vec![1], vec![2]]);
    }
}
