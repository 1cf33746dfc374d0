//! One state of everything: the batch, its jobs, the messages, two workers, and what may still go wrong.
//!
//! A state packs into one `u128` by mixed radix. What cannot make a difference is made equal first: the chunks
//! are interchangeable, and so are the workers ([`State::canonical`]).

/// How many chunks there are at most.
pub const CHUNKS: usize = 3;
/// All jobs: the chunks, then the aggregate of generation 0, then that of generation 1.
pub const JOBS: usize = CHUNKS + 2;
/// How many worker processes there are.
pub const WORKERS: usize = 2;

/// The states of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of docs/lifecycle.md")]
pub enum Phase {
    Open,
    Sealed,
    Aggregating,
    Complete,
    /// Its aggregate died.
    Halted,
    Cancelled,
    /// Cancelled before its plan was complete: it can never be restarted.
    CancelledOpen,
    /// Open, and its planner is dead.
    Abandoned,
    /// Discarded: its plan was cut short before any chunk was claimed.
    Gone,
}

/// The states of a job. `None`: it does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of docs/lifecycle.md")]
pub enum JobState {
    None,
    Queued,
    Running,
    Retry,
    Done,
    Dead,
    Cancelled,
}

const PHASES: [Phase; 9] = [
    Phase::Open,
    Phase::Sealed,
    Phase::Aggregating,
    Phase::Complete,
    Phase::Halted,
    Phase::Cancelled,
    Phase::CancelledOpen,
    Phase::Abandoned,
    Phase::Gone,
];
const JOB_STATES: [JobState; 7] = [
    JobState::None,
    JobState::Queued,
    JobState::Running,
    JobState::Retry,
    JobState::Done,
    JobState::Dead,
    JobState::Cancelled,
];
const ENDINGS: [Ending; 5] = [Ending::Done, Ending::Failed, Ending::Permanent, Ending::Interrupted, Ending::Snoozed];

/// The row of the batch, and what can be counted of its past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Its state.
    pub phase: Phase,
    /// How many of its chunks are not final, as the row says.
    pub remaining: i8,
    /// Its generation.
    pub generation: u8,
    /// How often the fan-in has fired, for each generation.
    pub fired: [u8; 2],
    /// How often the effects (emails, webhooks) were enqueued, for each generation.
    pub effects: [u8; 2],
}

/// Under which incarnation a job runs: that of today of one of the processes, or one that is over for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub worker: u8,
    /// Whether its incarnation is still the one that the process has. Two that are over need not be told apart:
    /// nobody completes under them but by [`Pending`], and at most one stall lets one survive there.
    pub current: bool,
}

/// The row of a job, its outbox row, and its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Its state.
    pub state: JobState,
    /// Its attempt.
    pub attempt: u8,
    /// Whether it has been redriven or restarted: the limit is twice what was granted.
    pub redriven: bool,
    /// Whether it has been snoozed, which it may be once: the limit is one higher.
    pub snoozed: bool,
    /// Who runs it.
    pub holder: Option<Holder>,
    /// Whether an outbox row names it.
    pub outbox: bool,
    /// How many messages in the broker name it, not counting those that a worker has.
    pub ready: u8,
}

/// What a worker process does in its one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The process does not live.
    Down,
    /// Nothing.
    Idle,
    /// It has sent a claim and got no answer.
    Unsure,
    /// It has a message and has not asked the store yet.
    Taken(u8),
    /// The claim has been committed, the message is not acknowledged yet.
    Claimed(u8, u8),
    /// The attempt runs.
    Running(u8, u8),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of core/src/settle.rs")]
pub enum Ending {
    Done,
    Failed,
    Permanent,
    Interrupted,
    Snoozed,
}

/// What waits in a worker's completer: an attempt that has ended and is not written down yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Which job.
    pub job: u8,
    /// Which attempt.
    pub attempt: u8,
    /// How it ended.
    pub ending: Ending,
    /// Whether it was claimed under the incarnation that the process has now.
    pub current: bool,
    /// Whether half of it has been done, where a clause is taken away that keeps it in one transaction.
    pub half: bool,
}

/// A worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// Its slot.
    pub slot: Slot,
    /// Its completer.
    pub pending: Option<Pending>,
    /// Its lease was lost and it has not noticed.
    pub over: bool,
    /// It was asked to stop.
    pub stopping: bool,
}

/// How often each thing may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// A worker process is killed.
    pub crashes: u8,
    /// A message vanishes.
    pub losses: u8,
    /// A message comes twice.
    pub duplicates: u8,
    /// A living worker loses its lease, and wakes as a zombie.
    pub stalls: u8,
    /// The answer to a commit is lost.
    pub unknown: u8,
    /// Somebody cancels the batch or a chunk.
    pub cancels: u8,
    /// Somebody redrives a dead chunk, or restarts a cancelled batch.
    pub redrives: u8,
    /// A handler fails, an aggregate's for good; or it asks to be snoozed; or the planner dies.
    pub failures: u8,
    /// A worker is asked to stop.
    pub stops: u8,
    /// An attempt passes its deadline while its worker lives.
    pub timeouts: u8,
}

/// A state of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The batch.
    pub batch: Batch,
    /// The jobs: see [`JOBS`].
    pub jobs: [Job; JOBS],
    /// The worker processes.
    pub workers: [Worker; WORKERS],
    /// What may still happen.
    pub left: Left,
    /// How many mishaps may still happen in all, of whichever kinds.
    pub mishaps: u8,
    /// A job that a rescue has looked at, where the clause is taken away that makes look and act one. 0 is none.
    pub looked: u8,
}

const NO_JOB: Job =
    Job { state: JobState::None, attempt: 0, redriven: false, snoozed: false, holder: None, outbox: false, ready: 0 };

impl State {
    /// The first state: an open batch without chunks, two idle workers.
    pub fn first(left: Left, mishaps: u8) -> Self {
        let batch = Batch { phase: Phase::Open, remaining: 0, generation: 0, fired: [0; 2], effects: [0; 2] };
        let worker = Worker { slot: Slot::Idle, pending: None, over: false, stopping: false };
        Self { batch, jobs: [NO_JOB; JOBS], workers: [worker; WORKERS], left, mishaps, looked: 0 }
    }

    /// The one packed form of all states that differ from this one by the names of chunks and workers only.
    ///
    /// Sound, because no step asks which chunk or which worker it is. For each order of the workers the chunks are
    /// sorted by all that is known of each, so that two that compare equal are equal; the smaller result is taken.
    pub fn canonical(&self) -> u128 {
        let plain = self.sorted();
        let mut swapped = *self;
        swapped.workers.swap(0, 1);
        for job in &mut swapped.jobs {
            if let Some(holder) = &mut job.holder {
                holder.worker = 1 - holder.worker;
            }
        }
        plain.pack().min(swapped.sorted().pack())
    }

    fn sorted(&self) -> Self {
        let mut order = [0usize, 1, 2];
        let keys = order.map(|chunk| self.chunk_key(chunk));
        order.sort_unstable_by_key(|chunk| keys[*chunk]);
        if order == [0, 1, 2] {
            return *self;
        }
        let mut sorted = *self;
        let mut place = [0u8; JOBS];
        for (job, to) in place.iter_mut().enumerate() {
            *to = job as u8;
        }
        for (to, from) in order.into_iter().enumerate() {
            sorted.jobs[to] = self.jobs[from];
            place[from] = to as u8;
        }
        for worker in &mut sorted.workers {
            match &mut worker.slot {
                Slot::Taken(job) | Slot::Claimed(job, _) | Slot::Running(job, _) => *job = place[*job as usize],
                Slot::Down | Slot::Idle | Slot::Unsure => {}
            }
            if let Some(pending) = &mut worker.pending {
                pending.job = place[pending.job as usize];
            }
        }
        if sorted.looked > 0 {
            sorted.looked = place[sorted.looked as usize - 1] + 1;
        }
        sorted
    }

    /// All that is known of one chunk.
    fn chunk_key(&self, chunk: usize) -> u128 {
        let mut digits = Digits(0);
        self.jobs[chunk].pack(true, &mut digits);
        for worker in &self.workers {
            let (kind, attempt) = match worker.slot {
                Slot::Taken(job) if job as usize == chunk => (1, 0),
                Slot::Claimed(job, attempt) if job as usize == chunk => (2, attempt),
                Slot::Running(job, attempt) if job as usize == chunk => (3, attempt),
                _ => (0, 0),
            };
            digits.put(kind, 4);
            digits.put(attempt, 6);
            let pending = worker.pending.filter(|pending| pending.job as usize == chunk);
            digits.put(pending.map_or(0, |pending| 1 + pending.word()), WORDS + 1);
        }
        digits.put(u8::from(self.looked as usize == chunk + 1), 2);
        digits.0
    }

    fn pack(&self) -> u128 {
        let mut digits = Digits(0);
        for (number, job) in self.jobs.iter().enumerate() {
            job.pack(number < CHUNKS, &mut digits);
        }
        for worker in &self.workers {
            worker.pack(&mut digits);
        }
        let Batch { phase, remaining, generation, fired, effects } = self.batch;
        digits.put(phase as u8, PHASES.len() as u8);
        digits.put((remaining + 4) as u8, 10);
        digits.put(generation, 2);
        for count in fired.into_iter().chain(effects) {
            digits.put(count, 3);
        }
        for (left, radix) in self.left.values().into_iter().zip(LEFT_RADIX) {
            digits.put(left, radix);
        }
        digits.put(self.mishaps, MISHAPS + 1);
        digits.put(self.looked, JOBS as u8 + 1);
        digits.0
    }

    /// The state of which this is the packed form.
    pub fn unpack(packed: u128) -> Self {
        let mut digits = Digits(packed);
        let mut state = Self::first(Left::NOTHING, 0);
        state.looked = digits.take(JOBS as u8 + 1);
        state.mishaps = digits.take(MISHAPS + 1);
        let mut values = [0; LEFT_RADIX.len()];
        for (value, radix) in values.iter_mut().zip(LEFT_RADIX).rev() {
            *value = digits.take(radix);
        }
        state.left = Left::of(values);
        let batch = &mut state.batch;
        for count in batch.fired.iter_mut().chain(&mut batch.effects).rev() {
            *count = digits.take(3);
        }
        batch.generation = digits.take(2);
        batch.remaining = digits.take(10) as i8 - 4;
        batch.phase = PHASES[digits.take(PHASES.len() as u8) as usize];
        for worker in state.workers.iter_mut().rev() {
            *worker = Worker::unpack(&mut digits);
        }
        for (number, job) in state.jobs.iter_mut().enumerate().rev() {
            *job = Job::unpack(number < CHUNKS, &mut digits);
        }
        state
    }
}

/// How many words a [`Pending`] has: six attempts, five endings, and two flags.
const WORDS: u8 = 120;

/// How many values each of [`Left`] has.
const LEFT_RADIX: [u8; 10] = [3, 2, 2, 2, 2, 2, 2, 3, 2, 2];

/// The most mishaps in all that fit.
const MISHAPS: u8 = 5;

impl Left {
    /// Nothing goes wrong.
    pub const NOTHING: Self = Self::of([0; 10]);

    const fn of(v: [u8; 10]) -> Self {
        let [crashes, losses, duplicates, stalls, unknown, cancels, redrives, failures, stops, timeouts] = v;
        Self { crashes, losses, duplicates, stalls, unknown, cancels, redrives, failures, stops, timeouts }
    }

    fn values(&self) -> [u8; 10] {
        let Self { crashes, losses, duplicates, stalls, unknown, cancels, redrives, failures, stops, timeouts } = *self;
        [crashes, losses, duplicates, stalls, unknown, cancels, redrives, failures, stops, timeouts]
    }
}

impl Job {
    /// Only a chunk is redriven or snoozed here: there is no room to say so of others.
    fn pack(&self, chunk: bool, digits: &mut Digits) {
        digits.put(self.state as u8, 7);
        digits.put(self.attempt, 6);
        if chunk {
            digits.put(u8::from(self.redriven) * 2 + u8::from(self.snoozed), 4);
        }
        digits.put(self.holder.map_or(0, |holder| 1 + holder.worker * 2 + u8::from(holder.current)), 5);
        digits.put(u8::from(self.outbox), 2);
        digits.put(self.ready, 4);
    }

    fn unpack(chunk: bool, digits: &mut Digits) -> Self {
        let (ready, outbox) = (digits.take(4), digits.take(2) == 1);
        let holder = digits.take(5).checked_sub(1).map(|h| Holder { worker: h / 2, current: h % 2 == 1 });
        let more = if chunk { digits.take(4) } else { 0 };
        let (redriven, snoozed, attempt) = (more / 2 == 1, more % 2 == 1, digits.take(6));
        Self { state: JOB_STATES[digits.take(7) as usize], attempt, redriven, snoozed, holder, outbox, ready }
    }
}

impl Pending {
    /// All of it but the job: below [`WORDS`].
    fn word(&self) -> u8 {
        let half = u8::from(self.half);
        ((self.attempt * 5 + self.ending as u8) * 2 + u8::from(self.current)) * 2 + half
    }

    fn of(job: u8, word: u8) -> Self {
        let (half, current) = (word % 2 == 1, word / 2 % 2 == 1);
        Self { job, attempt: word / 20, ending: ENDINGS[(word / 4 % 5) as usize], current, half }
    }
}

impl Worker {
    fn pack(&self, digits: &mut Digits) {
        let (kind, job, attempt) = match self.slot {
            Slot::Down => (0, 0, 0),
            Slot::Idle => (1, 0, 0),
            Slot::Unsure => (2, 0, 0),
            Slot::Taken(job) => (3, job, 0),
            Slot::Claimed(job, attempt) => (4, job, attempt),
            Slot::Running(job, attempt) => (5, job, attempt),
        };
        digits.put(kind, 6);
        digits.put(job, JOBS as u8);
        digits.put(attempt, 6);
        digits.put(self.pending.map_or(0, |pending| 1 + pending.job), JOBS as u8 + 1);
        digits.put(self.pending.map_or(0, |pending| pending.word()), WORDS);
        digits.put(u8::from(self.over), 2);
        digits.put(u8::from(self.stopping), 2);
    }

    fn unpack(digits: &mut Digits) -> Self {
        let (stopping, over, word) = (digits.take(2) == 1, digits.take(2) == 1, digits.take(WORDS));
        let pending = digits.take(JOBS as u8 + 1).checked_sub(1).map(|job| Pending::of(job, word));
        let (attempt, job) = (digits.take(6), digits.take(JOBS as u8));
        let slot = match digits.take(6) {
            0 => Slot::Down,
            1 => Slot::Idle,
            2 => Slot::Unsure,
            3 => Slot::Taken(job),
            4 => Slot::Claimed(job, attempt),
            _ => Slot::Running(job, attempt),
        };
        Self { slot, pending, over, stopping }
    }
}

/// A number whose digits each have a radix of their own.
struct Digits(u128);

impl Digits {
    fn put(&mut self, digit: u8, radix: u8) {
        assert!(digit < radix, "a digit of {digit} does not fit the radix {radix}: the encoding is too small");
        // With overflow checks a state too large to pack is a panic, never a collision.
        self.0 = self.0 * u128::from(radix) + u128::from(digit);
    }

    fn take(&mut self, radix: u8) -> u8 {
        let digit = (self.0 % u128::from(radix)) as u8;
        self.0 /= u128::from(radix);
        digit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_being_packed() {
        let left = Left { crashes: 2, failures: 2, stops: 1, ..Left::NOTHING };
        let mut state = State::first(left, 3);
        state.jobs[2].state = JobState::Running;
        state.jobs[2].attempt = 4;
        state.jobs[2].holder = Some(Holder { worker: 1, current: false });
        state.workers[0].slot = Slot::Claimed(3, 5);
        state.workers[1].pending =
            Some(Pending { job: 2, attempt: 4, ending: Ending::Interrupted, current: false, half: true });
        state.batch.remaining = -1;
        (state.batch.phase, state.jobs[1].snoozed, state.jobs[2].redriven) = (Phase::CancelledOpen, true, true);
        assert_eq!(State::unpack(state.pack()), state);
    }

    #[test]
    fn states_that_differ_by_names_only_are_one() {
        let mut one = State::first(Left::NOTHING, 0);
        one.jobs[0].state = JobState::Running;
        one.jobs[0].holder = Some(Holder { worker: 0, current: true });
        one.workers[0].slot = Slot::Running(0, 1);
        let mut other = State::first(Left::NOTHING, 0);
        other.jobs[2].state = JobState::Running;
        other.jobs[2].holder = Some(Holder { worker: 1, current: true });
        other.workers[1].slot = Slot::Running(2, 1);
        assert_eq!(one.canonical(), other.canonical());
        other.jobs[1].outbox = true;
        assert_ne!(one.canonical(), other.canonical());
    }
}
