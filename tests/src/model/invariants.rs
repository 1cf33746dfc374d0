//! What must hold in every state.

use super::clauses::{Bounds, Clause};
use super::state::{CHUNKS, JobState, Phase, State};
use super::transitions::{aggregate, max_attempts};

/// What is wrong with a state, or `None`.
///
/// This is also what the reconciler compares (`reconcile`): it is no step of the model, because in no state it may find
/// anything.
///
/// Where one transaction has been made two, what lies between them is no damage yet, and not spoken of: the damage
/// itself must be found.
pub fn wrong(state: &State, bounds: &Bounds, removed: Option<Clause>) -> Option<&'static str> {
    let batch = &state.batch;
    let chunks = &state.jobs[..CHUNKS];
    let open = chunks.iter().filter(|job| job.state.is_open()).count();
    if batch.remaining < 0 {
        return Some("remaining is negative");
    }
    if batch.remaining as usize != open {
        return Some("remaining is not the number of chunks that are not final");
    }
    if batch.fired.iter().any(|fired| *fired > 1) {
        return Some("the aggregate of a generation was fired twice");
    }
    if batch.effects.iter().any(|effects| *effects > 1) {
        return Some("the effects of a generation were enqueued twice");
    }
    if (0..state.jobs.len()).any(|job| state.jobs[job].attempt > max_attempts(state, job)) {
        return Some("a job has made more attempts than it may");
    }
    let sealed_with_nothing = batch.phase == Phase::Sealed && open == 0;
    if sealed_with_nothing && removed != Some(Clause::FanInWithCompletion) {
        return Some("a sealed batch has nothing left, and its aggregate was not fired");
    }
    for generation in 0..2u8 {
        if let Some(wrong) = generation_wrong(state, generation, bounds, removed) {
            return Some(wrong);
        }
    }
    if matches!(batch.phase, Phase::Cancelled | Phase::CancelledOpen | Phase::Gone)
        && state.jobs.iter().any(|job| job.state.is_open())
    {
        return Some("a cancelled batch has a job that is not final");
    }
    if state.jobs.iter().any(|job| (job.state == JobState::Running) != job.holder.is_some()) {
        return Some("a job has a holder and does not run, or runs without one");
    }
    None
}

/// What is wrong with one generation.
fn generation_wrong(state: &State, generation: u8, bounds: &Bounds, removed: Option<Clause>) -> Option<&'static str> {
    let batch = &state.batch;
    let job = state.jobs[aggregate(generation)].state;
    let (fired, effects) = (batch.fired[generation as usize], batch.effects[generation as usize]);
    if (job == JobState::None) != (fired == 0) {
        return Some("a fired fan-in has no aggregate, or an aggregate has no fan-in");
    }
    if generation > batch.generation && fired > 0 {
        return Some("an aggregate was fired before its generation");
    }
    // One that was cancelled and restarted has none, and never will; one whose aggregate died has them, and its dead
    // aggregate was superseded. Of the present generation the two can be told apart, below.
    if generation < batch.generation && (job == JobState::Dead || (job == JobState::Done) != (effects == 1)) {
        let superseded = job == JobState::Cancelled && effects == 1;
        if !superseded {
            return Some("a generation ended without its effects, or was called off with them");
        }
    }
    let past = generation < batch.generation;
    let reported = job == JobState::Done || job == JobState::Dead || (past && job == JobState::Cancelled);
    if effects > 0 && !reported && removed != Some(Clause::EffectsWithCompletion) {
        return Some("effects were enqueued without their aggregate");
    }
    if generation != batch.generation {
        return None;
    }
    let left = state.jobs[..CHUNKS].iter().filter(|job| job.state.is_final()).count() < bounds.chunks;
    if fired > 0 && left {
        return Some("an aggregate was fired although chunks remain");
    }
    if batch.phase == Phase::Aggregating && !job.is_open() {
        return Some("a batch aggregates, and no job does it");
    }
    if matches!(batch.phase, Phase::Complete | Phase::Halted) && effects != 1 {
        return Some("a batch has ended without its effects");
    }
    if (batch.phase == Phase::Halted) != (job == JobState::Dead) && removed != Some(Clause::DeadAggregateEndsItsBatch) {
        return Some("a batch halted and its aggregate is not dead, or the other way round");
    }
    if matches!(batch.phase, Phase::Cancelled | Phase::CancelledOpen) && effects != 0 {
        return Some("a batch was cancelled with the effects of an end");
    }
    None
}
