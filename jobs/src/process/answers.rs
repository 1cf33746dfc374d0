//! What was answered for items of a chunk whose attempt failed all the same: its next attempt asks only for the others.
//!
//! A request may have had an effect outside, and the idempotency key that comes with it is of use only where the other
//! side looks at it. The memory is that of this process and bounded: after a restart, or on another worker, everything
//! is sent once more, under the same keys.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill_core::id::JobId;
use serde_json::Value;

use super::ItemOut;

/// The most bytes that are kept for all chunks together.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The answers for the items of one chunk. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Answers(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// By position: what was asked, and what was answered.
    outs: HashMap<u64, (u64, ItemOut)>,
    bytes: usize,
}

impl Answers {
    /// What was answered when exactly this was asked.
    pub(crate) fn recall(&self, position: u64, item: &Value) -> Option<ItemOut> {
        let kept = self.lock();
        let (asked, out) = kept.outs.get(&position)?;
        (*asked == mark(item)).then(|| out.clone())
    }

    /// Keeps an answer that no other try would change.
    pub(crate) fn keep(&self, position: u64, item: &Value, out: &ItemOut) {
        let bytes = match out {
            ItemOut::Ok(item) => item.to_string().len(),
            ItemOut::Failed { reason, retry: false } => reason.len(),
            ItemOut::Skip => 0,
            ItemOut::Failed { retry: true, .. } | ItemOut::Unanswered { .. } => return,
        };
        let mut kept = self.lock();
        if kept.outs.insert(position, (mark(item), out.clone())).is_none() {
            kept.bytes += bytes + size_of::<(u64, u64, ItemOut)>();
        }
    }

    fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells items apart: lookups and the clock may have made another one of the same input meanwhile.
fn mark(item: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    item.to_string().hash(&mut hasher);
    hasher.finish()
}

/// The answers of several chunks, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<VecDeque<(JobId, Answers)>>);

impl Memory {
    /// Takes out what is known of a chunk.
    pub(crate) fn take(&self, job: JobId) -> Answers {
        let mut kept = self.lock();
        let place = kept.iter().position(|(of, _)| *of == job);
        place.and_then(|place| kept.remove(place)).map(|(_, answers)| answers).unwrap_or_default()
    }

    /// Keeps what is known of a chunk; the oldest make room for it.
    pub(crate) fn keep(&self, job: JobId, answers: Answers) {
        let mut kept = self.lock();
        let mut room = BYTES_MAX.checked_sub(answers.bytes());
        if room.is_none() || answers.bytes() == 0 {
            return;
        }
        // From the newest on, as many as there is room for.
        let newest = kept.iter().rev().take_while(|(_, others)| {
            room = room.and_then(|room| room.checked_sub(others.bytes()));
            room.is_some()
        });
        let surplus = kept.len() - newest.count();
        kept.drain(..surplus);
        kept.push_back((job, answers));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(JobId, Answers)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_answer_is_recalled_for_the_same_question_only() {
        let (memory, job) = (Memory::default(), JobId(Uuid::now_v7()));
        let answers = memory.take(job);
        answers.keep(3, &json!({"n": 1}), &ItemOut::Skip);
        answers.keep(4, &json!({"n": 1}), &ItemOut::Failed { reason: "busy".to_owned(), retry: true });
        memory.keep(job, answers);
        let answers = memory.take(job);
        assert_eq!(answers.recall(3, &json!({"n": 1})), Some(ItemOut::Skip));
        assert_eq!(answers.recall(3, &json!({"n": 2})), None);
        assert_eq!(answers.recall(4, &json!({"n": 1})), None, "another try may help");
        assert_eq!(memory.take(job).recall(3, &json!({"n": 1})), None, "taken out");
    }

    #[test]
    fn the_oldest_make_room_for_the_newest() {
        let memory = Memory::default();
        let jobs: Vec<JobId> = (0..4).map(|_| JobId(Uuid::now_v7())).collect();
        let text = "x".repeat(BYTES_MAX / 3);
        for job in &jobs {
            let answers = Answers::default();
            answers.keep(0, &Value::Null, &ItemOut::Ok(json!({ "text": text })));
            memory.keep(*job, answers);
        }
        let known = jobs.iter().map(|job| memory.take(*job).recall(0, &Value::Null).is_some());
        assert_eq!(known.collect::<Vec<_>>(), [false, false, true, true]);
    }
}
