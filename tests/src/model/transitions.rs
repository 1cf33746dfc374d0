//! The store's transitions, one function each: what the SQL of `store/src` does, without the SQL.
//!
//! A function here is a transaction there. It checks the state that it leaves, as the statement does, and does all
//! or nothing. The names of the functions that they stand for are in the table of [`super`].

use super::clauses::Clause;
use super::state::{CHUNKS, Ending, Holder, Job, JobState, Pending, Phase, Slot, State};

/// How many attempts a chunk is granted.
pub const GRANTED: u8 = 2;
/// How many attempts an aggregate has: `store/src/sqlite/fan_in.rs`.
pub const AGGREGATE_ATTEMPTS: u8 = 5;

/// A state on its way to the next one.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// The state.
    pub state: State,
    /// The clause that is taken away.
    pub removed: Option<Clause>,
    /// What was seen to go wrong on the way, which no look at the state alone would show.
    pub broken: Option<&'static str>,
}

/// The aggregate's job of a generation.
pub fn aggregate(generation: u8) -> usize {
    CHUNKS + generation as usize
}

/// How many attempts a job may make.
pub fn max_attempts(state: &State, job: usize) -> u8 {
    let granted = match (job < CHUNKS, state.jobs[job].redriven) {
        (false, _) => AGGREGATE_ATTEMPTS,
        (true, false) => GRANTED,
        (true, true) => GRANTED * 2,
    };
    granted + u8::from(state.jobs[job].snoozed)
}

impl JobState {
    /// Whether it can change no more by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }

    /// Whether the job exists and is not final.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Retry)
    }
}

impl World {
    fn lacks(&self, clause: Clause) -> bool {
        self.removed == Some(clause)
    }

    /// Makes a job `queued`, with its outbox row.
    fn queue(&mut self, job: usize) {
        let row = &mut self.state.jobs[job];
        (row.state, row.holder, row.outbox) = (JobState::Queued, None, true);
    }

    /// Adding a chunk: `add_chunks`.
    pub fn add_chunk(&mut self, chunk: usize) -> bool {
        if self.state.batch.phase != Phase::Open {
            return false;
        }
        self.queue(chunk);
        self.state.batch.remaining += 1;
        true
    }

    /// Seal: `seal`.
    pub fn seal(&mut self) -> bool {
        if self.state.batch.phase != Phase::Open {
            return false;
        }
        self.state.batch.phase = Phase::Sealed;
        if !self.lacks(Clause::SealFires) {
            self.fan_in();
        }
        true
    }

    /// The end of every transaction that changed a batch: `fan_in::apply`.
    pub fn fan_in(&mut self) {
        let batch = &mut self.state.batch;
        if batch.phase != Phase::Sealed || batch.remaining != 0 {
            return;
        }
        batch.phase = Phase::Aggregating;
        let generation = batch.generation;
        // The key `agg:{batch}:{generation}`: a second one is not inserted.
        if self.state.jobs[aggregate(generation)].state == JobState::None {
            let fired = &mut self.state.batch.fired[generation as usize];
            *fired = (*fired + 1).min(2);
            self.queue(aggregate(generation));
        }
    }

    /// A claim by message: `claim`. `false` when there was nothing to claim.
    pub fn claim(&mut self, worker: usize, job: usize) -> bool {
        let row = self.state.jobs[job];
        let queued = row.state == JobState::Queued;
        let claimable = queued || (self.lacks(Clause::ClaimGuarded) && row.state != JobState::None);
        if !claimable || self.state.workers[worker].over {
            return false;
        }
        let holder = Holder { worker: worker as u8, current: true };
        let attempt = row.attempt + 1;
        if self.held(job, attempt, holder) {
            self.broken = Some("a fence that somebody holds was given a second time");
        }
        let row = &mut self.state.jobs[job];
        (row.state, row.attempt, row.holder) = (JobState::Running, attempt, Some(holder));
        true
    }

    /// Whether some process believes that it has this very attempt.
    fn held(&self, job: usize, attempt: u8, holder: Holder) -> bool {
        let worker = &self.state.workers[holder.worker as usize];
        let slot = matches!(worker.slot, Slot::Claimed(j, a) | Slot::Running(j, a)
            if j as usize == job && a == attempt && holder.current);
        let waits = worker.pending.is_some_and(|pending| {
            pending.job as usize == job && pending.attempt == attempt && pending.current == holder.current
        });
        slot || waits
    }

    /// Complete: `complete`, the fence first.
    pub fn complete(&mut self, worker: usize, pending: Pending) {
        let job = pending.job as usize;
        let row = self.state.jobs[job];
        let holder = Holder { worker: worker as u8, current: pending.current };
        let (running, attempt) = (row.state == JobState::Running, row.attempt == pending.attempt);
        let fence = running && attempt && row.holder == Some(holder);
        let accepted = match self.removed {
            Some(Clause::Fence) => true,
            Some(Clause::FenceOnAttemptAndWorker) => running,
            Some(Clause::FenceOnWorker) => running && attempt,
            Some(Clause::FenceOnCancelled) => fence || (row.state == JobState::Cancelled && attempt),
            _ => fence,
        };
        if accepted {
            // Without the fence the damage itself must be found, and so nothing is said here then.
            let silent = matches!(
                self.removed,
                Some(Clause::Fence | Clause::FenceOnAttemptAndWorker | Clause::FenceOnCancelled)
            );
            if !fence && !silent {
                self.broken = Some("a completion was accepted from somebody who did not hold the attempt");
            }
            self.settle(job, pending.ending, pending.half);
        } else if self.lacks(Clause::DecrementByMovedRows) && job < CHUNKS && pending.ending == Ending::Done {
            self.state.batch.remaining -= 1;
        }
        if !self.lacks(Clause::FanInWithCompletion) {
            self.fan_in();
        }
    }

    /// `settle::settle` with the verdict of `core/src/settle.rs`.
    fn settle(&mut self, job: usize, ending: Ending, effects_made: bool) {
        let spent = self.state.jobs[job].attempt >= max_attempts(&self.state, job);
        match ending {
            Ending::Interrupted => {
                let attempt = &mut self.state.jobs[job].attempt;
                *attempt = attempt.saturating_sub(1);
                self.queue(job);
            }
            Ending::Snoozed => {
                let keeps = !self.lacks(Clause::SnoozeKeepsItsNumber);
                let row = &mut self.state.jobs[job];
                (row.state, row.holder, row.snoozed) = (JobState::Retry, None, keeps);
                row.attempt -= u8::from(!keeps);
            }
            Ending::Failed if spent => self.die(job),
            Ending::Permanent => self.die(job),
            Ending::Failed => {
                let row = &mut self.state.jobs[job];
                (row.state, row.holder) = (JobState::Retry, None);
            }
            Ending::Done => {
                self.finish(job, JobState::Done);
                if job >= CHUNKS {
                    self.end_batch((job - CHUNKS) as u8, effects_made);
                }
            }
        }
    }

    /// A job dies; a batch ends with its aggregate: `batch_ends::aggregates_died`.
    fn die(&mut self, job: usize) {
        self.finish(job, JobState::Dead);
        let batch = &mut self.state.batch;
        let its_own = job >= CHUNKS && job == aggregate(batch.generation) && batch.phase == Phase::Aggregating;
        if its_own && self.removed != Some(Clause::DeadAggregateEndsItsBatch) {
            batch.phase = Phase::Halted;
            self.effects((job - CHUNKS) as u8);
        }
    }

    /// Makes a job final, and its batch smaller by the row that moved.
    fn finish(&mut self, job: usize, to: JobState) {
        let row = &mut self.state.jobs[job];
        (row.state, row.holder) = (to, None);
        if job < CHUNKS {
            self.state.batch.remaining -= 1;
        }
    }

    /// `end_batch`, guarded by state and generation; the effects are in the same transaction.
    fn end_batch(&mut self, generation: u8, effects_made: bool) {
        let batch = &mut self.state.batch;
        if batch.phase != Phase::Aggregating || batch.generation != generation {
            return;
        }
        batch.phase = Phase::Complete;
        if !effects_made {
            self.effects(generation);
        }
    }

    /// Enqueues a generation's effects.
    pub fn effects(&mut self, generation: u8) {
        let effects = &mut self.state.batch.effects[generation as usize];
        *effects = (*effects + 1).min(2);
    }

    /// Whether nobody's lease protects what runs here: its incarnation is over.
    pub fn unprotected(&self, job: usize) -> bool {
        let row = &self.state.jobs[job];
        let over = |holder: Holder| !holder.current || self.state.workers[holder.worker as usize].over;
        row.state == JobState::Running && row.holder.is_some_and(over)
    }

    /// Rescue for a lost worker's job: `rescue`. Queued again, or dead when its attempts are spent.
    pub fn rescue(&mut self, job: usize) -> bool {
        if !self.unprotected(job) {
            return false;
        }
        self.give_back_spent(job);
        self.fan_in();
        true
    }

    fn give_back_spent(&mut self, job: usize) {
        let spent = self.state.jobs[job].attempt >= max_attempts(&self.state, job);
        if spent && !self.lacks(Clause::RescueSettles) {
            self.die(job);
        } else {
            self.queue(job);
        }
    }

    /// Rescue by halves, where the clause is taken away: the look was in a transaction of its own.
    pub fn rescue_looked(&mut self) -> bool {
        let Some(job) = self.state.looked.checked_sub(1) else { return false };
        self.state.looked = 0;
        self.queue(job as usize);
        true
    }

    /// Rescue for a job past its deadline, whose worker lives: `rescue`.
    pub fn time_out(&mut self, job: usize) -> bool {
        if self.state.jobs[job].state != JobState::Running || self.unprotected(job) {
            return false;
        }
        self.settle(job, Ending::Failed, false);
        self.fan_in();
        true
    }

    /// Redispatch: `redispatch`, after the probe has found the broker's queue empty.
    pub fn redispatch(&mut self, job: usize) -> bool {
        let empty = self.state.jobs.iter().all(|job| job.ready == 0);
        let row = &mut self.state.jobs[job];
        if !empty || row.state != JobState::Queued || row.outbox {
            return false;
        }
        row.outbox = true;
        true
    }

    /// Promote: `promote`, when the time has come; `retry_job`, by hand.
    pub fn promote(&mut self, job: usize) -> bool {
        if self.state.jobs[job].state != JobState::Retry {
            return false;
        }
        self.queue(job);
        true
    }

    /// `cancel_batch`.
    pub fn cancel_batch(&mut self) -> bool {
        self.state.batch.phase = match self.state.batch.phase {
            Phase::Open | Phase::Abandoned => Phase::CancelledOpen,
            Phase::Sealed | Phase::Aggregating => Phase::Cancelled,
            Phase::Complete | Phase::Halted | Phase::Cancelled | Phase::CancelledOpen | Phase::Gone => return false,
        };
        for job in 0..self.state.jobs.len() {
            if self.state.jobs[job].state.is_open() {
                self.finish(job, JobState::Cancelled);
            }
        }
        true
    }

    /// `cancel_job` of a chunk; an aggregate is refused.
    pub fn cancel_chunk(&mut self, chunk: usize) -> bool {
        if !self.state.jobs[chunk].state.is_open() {
            return false;
        }
        self.finish(chunk, JobState::Cancelled);
        self.fan_in();
        true
    }

    /// What a planner's death leaves: `discard_batch` when no chunk has been claimed, and a cancel otherwise.
    pub fn take_back(&mut self) -> bool {
        if self.state.batch.phase != Phase::Abandoned {
            return false;
        }
        let untouched = |job: &Job| job.state == JobState::None || (job.state == JobState::Queued && job.attempt == 0);
        if !self.state.jobs.iter().all(untouched) {
            return self.cancel_batch();
        }
        // Their outbox rows and messages stay: a claim of a job that is not there finds nothing.
        self.state.jobs.iter_mut().for_each(|job| job.state = JobState::None);
        (self.state.batch.phase, self.state.batch.remaining) = (Phase::Gone, 0);
        true
    }

    /// The next generation has an aggregate of its own: `batch_ends::supersede`.
    fn supersede(&mut self) {
        let job = &mut self.state.jobs[aggregate(self.state.batch.generation)];
        if job.state == JobState::Dead {
            job.state = JobState::Cancelled;
        }
    }

    /// `redrive_dead` of a dead aggregate: its batch is aggregated anew in the next generation.
    fn aggregate_again(&mut self, job: usize) -> bool {
        let batch = self.state.batch;
        let dead = self.state.jobs[job].state == JobState::Dead && job == aggregate(batch.generation);
        if !dead || batch.phase != Phase::Halted || batch.generation == 1 {
            return false;
        }
        self.supersede();
        (self.state.batch.phase, self.state.batch.generation) = (Phase::Sealed, 1);
        self.fan_in();
        true
    }

    /// `redrive_dead` of a chunk, or of an aggregate.
    pub fn redrive(&mut self, chunk: usize) -> bool {
        if chunk >= CHUNKS {
            return self.aggregate_again(chunk);
        }
        let batch = &mut self.state.batch;
        let ended = match batch.phase {
            Phase::Open | Phase::Sealed => false,
            Phase::Complete | Phase::Halted => true,
            Phase::Aggregating | Phase::Cancelled | Phase::CancelledOpen | Phase::Abandoned | Phase::Gone => {
                return false;
            }
        };
        if self.state.jobs[chunk].state != JobState::Dead || (ended && batch.generation == 1) {
            return false;
        }
        batch.remaining += 1;
        if ended {
            self.supersede();
            let batch = &mut self.state.batch;
            batch.phase = Phase::Sealed;
            if self.removed != Some(Clause::RedriveOpensGeneration) {
                batch.generation += 1;
            }
        }
        self.state.jobs[chunk].redriven = true;
        self.queue(chunk);
        true
    }

    /// `restart` of a batch that halted, or was cancelled after its plan was complete: what it had not done goes on in the next
    /// generation, and what it had done is not done again.
    pub fn restart(&mut self) -> bool {
        if !matches!(self.state.batch.phase, Phase::Cancelled | Phase::Halted) || self.state.batch.generation == 1 {
            return false;
        }
        self.supersede();
        self.state.batch.phase = Phase::Sealed;
        if !self.lacks(Clause::RestartOpensGeneration) {
            self.state.batch.generation += 1;
        }
        for chunk in 0..CHUNKS {
            if self.state.jobs[chunk].state == JobState::Cancelled {
                self.state.batch.remaining += 1;
                self.state.jobs[chunk].redriven = true;
                self.queue(chunk);
            }
        }
        self.fan_in();
        true
    }

    /// `release_unknown` and the second half of `retire_worker`: what runs under this incarnation, but for what
    /// its process knows to run, is queued again with the attempt given back.
    pub fn release(&mut self, worker: usize) {
        let holder = Holder { worker: worker as u8, current: true };
        for job in 0..self.state.jobs.len() {
            let row = self.state.jobs[job];
            if row.state != JobState::Running || row.holder != Some(holder) {
                continue;
            }
            if self.lacks(Clause::ReleaseSparesKnown) || !self.held(job, row.attempt, holder) {
                self.settle(job, Ending::Interrupted, false);
            }
        }
    }

    /// The process's incarnation is over for good: what still runs under it has no lease any more.
    pub fn forget_incarnation(&mut self, worker: usize) {
        for job in &mut self.state.jobs {
            if let Some(holder) = job.holder.as_mut().filter(|holder| holder.worker as usize == worker) {
                holder.current = false;
            }
        }
        self.state.workers[worker].over = false;
    }
}
