//! Everything that can happen next, and the calm order in which it happens when nothing goes wrong any more.

use super::clauses::{Bounds, Clause};
use super::state::{CHUNKS, Ending, JOBS, JobState, Pending, Phase, Slot, State, WORKERS};
use super::transitions::World;

/// One step of one of those who act. Numbers are jobs, or workers (`w`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described where it is taken")]
pub enum Step {
    AddChunk,
    Seal,
    Publish(usize),
    PublishUnconfirmed(usize),
    Lose(usize),
    Repeat(usize),
    Take { w: usize, job: usize },
    Claim(usize),
    ClaimAnswerLost(usize),
    Acknowledge(usize),
    ConnectionCut(usize),
    Finish(usize),
    Fail(usize),
    FailForGood(usize),
    PlannerDies,
    TakeBack,
    Snooze(usize),
    Interrupt(usize),
    Write(usize),
    WriteAnswerLost(usize),
    ReleaseUnknown(usize),
    LeaseLost(usize),
    Notice(usize),
    Kill(usize),
    Restart(usize),
    Stop(usize),
    Retire(usize),
    Rescue(usize),
    RescueAct,
    TimeOut(usize),
    Promote(usize),
    Probe(usize),
    CancelBatch,
    CancelChunk(usize),
    Redrive(usize),
    RestartBatch,
}

/// Every step there is. Those that a state does not allow give nothing.
pub fn all() -> Vec<Step> {
    let mut steps = calm();
    for job in 0..JOBS {
        steps.extend([Step::PublishUnconfirmed(job), Step::Lose(job), Step::Repeat(job), Step::TimeOut(job)]);
    }
    for w in 0..WORKERS {
        steps.extend([
            Step::ClaimAnswerLost(w),
            Step::ConnectionCut(w),
            Step::Fail(w),
            Step::FailForGood(w),
            Step::Snooze(w),
            Step::Interrupt(w),
            Step::WriteAnswerLost(w),
            Step::LeaseLost(w),
            Step::Kill(w),
            Step::Stop(w),
        ]);
    }
    steps.extend([Step::CancelBatch, Step::RestartBatch, Step::PlannerDies]);
    steps.extend((CHUNKS..JOBS).map(Step::Redrive));
    for chunk in 0..CHUNKS {
        steps.extend([Step::CancelChunk(chunk), Step::Redrive(chunk)]);
    }
    steps
}

/// The steps that need nothing to go wrong and nobody to ask, in the order of the calm way: always the first of
/// them that a state allows.
pub fn calm() -> Vec<Step> {
    let mut steps = vec![Step::AddChunk, Step::Seal, Step::TakeBack, Step::RescueAct];
    for w in 0..WORKERS {
        steps.extend([Step::Write(w), Step::Acknowledge(w), Step::Finish(w), Step::ReleaseUnknown(w)]);
        steps.extend([Step::Notice(w), Step::Retire(w), Step::Claim(w)]);
    }
    steps.extend((0..JOBS).map(Step::Rescue));
    steps.extend((0..WORKERS).map(Step::Restart));
    steps.extend((0..JOBS).map(Step::Promote));
    steps.extend((0..JOBS).map(Step::Publish));
    steps.extend((0..WORKERS).flat_map(|w| (0..JOBS).map(move |job| Step::Take { w, job })));
    steps.extend((0..JOBS).map(Step::Probe));
    steps
}

/// Whether the step is one that should not be, rather than work or somebody's wish.
fn is_mishap(step: Step) -> bool {
    matches!(
        step,
        Step::PublishUnconfirmed(_)
            | Step::Lose(_)
            | Step::Repeat(_)
            | Step::ClaimAnswerLost(_)
            | Step::ConnectionCut(_)
            | Step::Fail(_)
            | Step::FailForGood(_)
            | Step::PlannerDies
            | Step::Snooze(_)
            | Step::WriteAnswerLost(_)
            | Step::LeaseLost(_)
            | Step::Kill(_)
            | Step::Stop(_)
            | Step::TimeOut(_)
            | Step::CancelBatch
            | Step::CancelChunk(_)
    )
}

/// Takes one from what may still happen. `false` when nothing is left.
fn spend(left: &mut u8) -> bool {
    match left.checked_sub(1) {
        Some(less) => {
            *left = less;
            true
        }
        None => false,
    }
}

impl World {
    /// The state after this step, or `None` when the state does not allow it.
    pub fn after(mut self, step: Step, bounds: &Bounds) -> Option<Self> {
        self.take_step(step, bounds).then_some(self)
    }

    fn take_step(&mut self, step: Step, bounds: &Bounds) -> bool {
        if is_mishap(step) && !spend(&mut self.state.mishaps) {
            return false;
        }
        match step {
            Step::AddChunk | Step::Seal => self.plan(step, bounds),
            Step::Publish(job) | Step::PublishUnconfirmed(job) | Step::Lose(job) | Step::Repeat(job) => {
                self.dispatcher(step, job, bounds)
            }
            Step::Take { w, job } => self.take(w, job, bounds),
            Step::Claim(w) | Step::ClaimAnswerLost(w) => self.ask(w, step == Step::ClaimAnswerLost(w)),
            Step::Acknowledge(w) | Step::ConnectionCut(w) => self.begin(w, step == Step::ConnectionCut(w)),
            Step::Finish(w) => self.end(w, Ending::Done),
            Step::Fail(w) => self.end(w, Ending::Failed),
            Step::FailForGood(w) => self.end(w, Ending::Permanent),
            Step::PlannerDies => self.planner_dies(),
            Step::TakeBack => self.removed != Some(Clause::PlansAreTakenBack) && self.take_back(),
            Step::Snooze(w) => self.end(w, Ending::Snoozed),
            Step::Interrupt(w) => self.state.workers[w].stopping && self.end(w, Ending::Interrupted),
            Step::Write(w) => self.write(w, false),
            Step::WriteAnswerLost(w) => {
                self.state.workers[w].pending.is_some() && spend(&mut self.state.left.unknown) && self.write(w, true)
            }
            Step::ReleaseUnknown(w) => self.release_unknown(w),
            Step::LeaseLost(w) | Step::Notice(w) | Step::Kill(w) => self.live(step, w),
            Step::Restart(w) | Step::Stop(w) | Step::Retire(w) => self.come_and_go(step, w),
            Step::Rescue(job) => self.look_or_rescue(job),
            Step::RescueAct => self.rescue_looked(),
            Step::TimeOut(job) => job < CHUNKS && spend(&mut self.state.left.timeouts) && self.time_out(job),
            Step::Promote(job) => self.promote(job),
            Step::Probe(job) => !self.without_probe() && self.redispatch(job),
            Step::CancelBatch => spend(&mut self.state.left.cancels) && self.cancel_batch(),
            Step::CancelChunk(chunk) => spend(&mut self.state.left.cancels) && self.cancel_chunk(chunk),
            Step::Redrive(chunk) => spend(&mut self.state.left.redrives) && self.redrive(chunk),
            Step::RestartBatch => spend(&mut self.state.left.redrives) && self.restart(),
        }
    }

    fn without_probe(&self) -> bool {
        self.removed.is_some_and(Clause::takes_the_probe_along)
    }

    /// The planner: chunk after chunk, then the seal.
    fn plan(&mut self, step: Step, bounds: &Bounds) -> bool {
        let missing = |chunk: &usize| self.state.jobs[*chunk].state == JobState::None;
        let made = CHUNKS - (0..CHUNKS).filter(missing).count();
        let next = (0..CHUNKS).find(missing).filter(|_| made < bounds.chunks);
        match (step, next) {
            (Step::AddChunk, Some(chunk)) => self.add_chunk(chunk),
            (Step::Seal, None) => self.seal(),
            _ => false,
        }
    }

    /// The planner's process dies, or gives up, between two of its groups.
    fn planner_dies(&mut self) -> bool {
        if self.state.batch.phase != Phase::Open || !spend(&mut self.state.left.failures) {
            return false;
        }
        self.state.batch.phase = Phase::Abandoned;
        true
    }

    /// The relay and the broker: a row is published and, once confirmed, removed; messages vanish and repeat.
    fn dispatcher(&mut self, step: Step, job: usize, bounds: &Bounds) -> bool {
        let with_workers = self
            .state
            .workers
            .iter()
            .filter(|worker| matches!(worker.slot, Slot::Taken(j) | Slot::Claimed(j, _) if j as usize == job))
            .count() as u8;
        let left = &mut self.state.left;
        let row = &mut self.state.jobs[job];
        let room = row.ready + with_workers < bounds.window;
        match step {
            Step::Publish(_) if row.outbox && room => (row.outbox, row.ready) = (false, row.ready + 1),
            Step::PublishUnconfirmed(_) if row.outbox && room && spend(&mut left.duplicates) => row.ready += 1,
            Step::Lose(_) if row.ready > 0 && spend(&mut left.losses) => row.ready -= 1,
            Step::Repeat(_) if row.ready > 0 && room && spend(&mut left.duplicates) => row.ready += 1,
            _ => return false,
        }
        true
    }

    /// A worker with a free slot takes a message.
    fn take(&mut self, w: usize, job: usize, bounds: &Bounds) -> bool {
        let worker = &mut self.state.workers[w];
        let row = &mut self.state.jobs[job];
        if worker.pending.is_some() && !bounds.completer_beside {
            return false;
        }
        if worker.slot != Slot::Idle || worker.stopping || row.ready == 0 {
            return false;
        }
        row.ready -= 1;
        worker.slot = Slot::Taken(job as u8);
        true
    }

    /// It asks the store for the job. What was not claimable is put back when still queued, and dropped else.
    fn ask(&mut self, w: usize, answer_lost: bool) -> bool {
        let Slot::Taken(number) = self.state.workers[w].slot else { return false };
        let job = number as usize;
        let early = self.removed == Some(Clause::AckAfterClaim);
        let claimed = self.claim(w, job);
        let row = &mut self.state.jobs[job];
        let attempt = row.attempt;
        let worker = &mut self.state.workers[w];
        match (claimed, answer_lost) {
            (true, true) => {
                if !spend(&mut self.state.left.unknown) {
                    return false;
                }
                row.ready += u8::from(!early);
                worker.slot = Slot::Unsure;
            }
            (true, false) if early => worker.slot = Slot::Running(number, attempt),
            (true, false) => worker.slot = Slot::Claimed(number, attempt),
            (false, true) => return false,
            (false, false) => {
                row.ready += u8::from(row.state == JobState::Queued && !early);
                worker.slot = Slot::Idle;
            }
        }
        true
    }

    /// It acknowledges after the commit; or its connection is cut before, and the message comes again.
    fn begin(&mut self, w: usize, cut: bool) -> bool {
        let Slot::Claimed(job, attempt) = self.state.workers[w].slot else { return false };
        if cut {
            if !spend(&mut self.state.left.duplicates) {
                return false;
            }
            self.state.jobs[job as usize].ready += 1;
        }
        self.state.workers[w].slot = Slot::Running(job, attempt);
        true
    }

    /// The handler ends, and the attempt goes to the completer.
    fn end(&mut self, w: usize, ending: Ending) -> bool {
        let Slot::Running(job, attempt) = self.state.workers[w].slot else { return false };
        if self.state.workers[w].pending.is_some() {
            return false;
        }
        // An aggregate fails for good at once, and a chunk by spending its attempts: each way is one of the two.
        let aggregates = job as usize >= CHUNKS;
        let possible = match ending {
            Ending::Failed | Ending::Snoozed => !aggregates && spend(&mut self.state.left.failures),
            Ending::Permanent => aggregates && spend(&mut self.state.left.failures),
            Ending::Done | Ending::Interrupted => true,
        };
        if !possible {
            return false;
        }
        // Beyond its ceiling a snooze is a failure, which is a step of its own.
        if ending == Ending::Snoozed && self.state.jobs[job as usize].snoozed {
            return false;
        }
        let worker = &mut self.state.workers[w];
        worker.pending = Some(Pending { job, attempt, ending, current: true, half: false });
        worker.slot = Slot::Idle;
        true
    }

    /// The completer writes. Without the answer it writes again.
    fn write(&mut self, w: usize, answer_lost: bool) -> bool {
        let Some(mut pending) = self.state.workers[w].pending else { return false };
        let done_aggregate = pending.job as usize >= CHUNKS && pending.ending == Ending::Done;
        match self.removed {
            Some(Clause::EffectsWithCompletion) if done_aggregate && !pending.half => {
                self.effects(pending.job - CHUNKS as u8);
                pending.half = true;
                self.state.workers[w].pending = Some(pending);
                return true;
            }
            Some(Clause::FanInWithCompletion) if pending.half => {
                self.fan_in();
                self.state.workers[w].pending = None;
                return true;
            }
            _ => self.complete(w, pending),
        }
        if self.removed == Some(Clause::FanInWithCompletion) {
            pending.half = true;
            self.state.workers[w].pending = Some(pending);
        } else if !answer_lost {
            self.state.workers[w].pending = None;
        }
        true
    }

    /// After a claim without an answer, before the next one.
    fn release_unknown(&mut self, w: usize) -> bool {
        if self.state.workers[w].slot != Slot::Unsure {
            return false;
        }
        self.release(w);
        self.state.workers[w].slot = Slot::Idle;
        true
    }

    /// The lease of a process that lives runs out; the process notices at its next beat; the process is killed.
    fn live(&mut self, step: Step, w: usize) -> bool {
        let worker = self.state.workers[w];
        if worker.slot == Slot::Down {
            return false;
        }
        match step {
            Step::LeaseLost(_) => {
                if worker.over || !spend(&mut self.state.left.stalls) {
                    return false;
                }
                self.state.workers[w].over = true;
            }
            Step::Notice(_) => return self.notice(w),
            _ => {
                if !spend(&mut self.state.left.crashes) {
                    return false;
                }
                self.give_message_back(w);
                self.forget_incarnation(w);
                if self.removed == Some(Clause::Outbox) {
                    self.state.jobs.iter_mut().for_each(|job| job.outbox = false);
                }
                let worker = &mut self.state.workers[w];
                (worker.slot, worker.pending, worker.stopping) = (Slot::Down, None, false);
            }
        }
        true
    }

    /// A beat says that the incarnation is over: what runs is called off, a new incarnation begins.
    fn notice(&mut self, w: usize) -> bool {
        let worker = self.state.workers[w];
        let called_off = match (worker.slot, worker.pending) {
            _ if !worker.over => return false,
            (Slot::Running(job, attempt), None) => {
                Some(Pending { job, attempt, ending: Ending::Interrupted, current: false, half: false })
            }
            (Slot::Idle | Slot::Taken(_), pending) => pending.map(|pending| Pending { current: false, ..pending }),
            _ => return false,
        };
        self.forget_incarnation(w);
        let now = &mut self.state.workers[w];
        now.pending = called_off;
        if matches!(now.slot, Slot::Running(..)) {
            now.slot = Slot::Idle;
        }
        true
    }

    /// What the process had not acknowledged comes again.
    fn give_message_back(&mut self, w: usize) {
        if let Slot::Taken(job) | Slot::Claimed(job, _) = self.state.workers[w].slot {
            let acknowledged = self.removed == Some(Clause::AckAfterClaim);
            self.state.jobs[job as usize].ready += u8::from(!acknowledged);
        }
    }

    /// A process begins with a fresh incarnation; is asked to stop; and leaves when nothing is left.
    fn come_and_go(&mut self, step: Step, w: usize) -> bool {
        let worker = self.state.workers[w];
        let idle = matches!(worker.slot, Slot::Idle | Slot::Unsure) && worker.pending.is_none();
        match step {
            Step::Restart(_) if worker.slot == Slot::Down => self.state.workers[w].slot = Slot::Idle,
            Step::Stop(_) if worker.slot != Slot::Down && !worker.stopping => {
                if !spend(&mut self.state.left.stops) {
                    return false;
                }
                if matches!(worker.slot, Slot::Taken(_)) {
                    self.give_message_back(w);
                    self.state.workers[w].slot = Slot::Idle;
                }
                self.state.workers[w].stopping = true;
            }
            Step::Retire(_) if worker.stopping && idle => {
                self.release(w);
                self.forget_incarnation(w);
                let worker = &mut self.state.workers[w];
                (worker.slot, worker.stopping) = (Slot::Down, false);
            }
            _ => return false,
        }
        true
    }

    fn look_or_rescue(&mut self, job: usize) -> bool {
        if self.removed != Some(Clause::RescueGuarded) {
            return self.rescue(job);
        }
        if self.state.looked != 0 || !self.unprotected(job) {
            return false;
        }
        self.state.looked = job as u8 + 1;
        true
    }
}

/// Whether all is quiet and well: nothing left to do, and everything done once.
pub fn is_good_end(state: &State, bounds: &Bounds) -> bool {
    let batch = &state.batch;
    let settled = match batch.phase {
        Phase::Complete | Phase::Halted => {
            batch.effects[batch.generation as usize] == 1 && chunks_are_final(state, bounds)
        }
        Phase::Cancelled | Phase::CancelledOpen | Phase::Gone => true,
        Phase::Open | Phase::Sealed | Phase::Aggregating | Phase::Abandoned => false,
    };
    let jobs_rest = state
        .jobs
        .iter()
        .all(|job| (job.state.is_final() || job.state == JobState::None) && !job.outbox && job.ready == 0);
    let workers_rest = state.workers.iter().all(|worker| worker.slot == Slot::Idle && worker.pending.is_none());
    settled && jobs_rest && workers_rest
}

fn chunks_are_final(state: &State, bounds: &Bounds) -> bool {
    state.jobs[..CHUNKS].iter().filter(|job| job.state.is_final()).count() == bounds.chunks
}
