//! What an operation does on one side, described in words that are the same on both.

use std::time::Duration;

use gristmill_core::job::{ClaimedJob, NewJob};
use gristmill_core::letter::{RecipientRole, RecipientState, SuppressionReason, TRANSACTIONAL, UnknownPolicy};
use gristmill_store::testing;
use gristmill_store::{
    BatchProgress, Claim, Completion, Dispatch, Dispatched, EmailKey, EmailReport, LostJobs, NewChunk, NewEmail,
    NewRecipient, NewWorker, Page, RecipientMove, ReportSuppression, Result, StoreError,
};

use crate::look::told_payload;
use crate::made::{LONG, chunk, claim_of, completion, new_batch, new_job, poison, queue_name};
use crate::operation::{Ended, Operation};
use crate::side::{Claimed, Pair, Side, TENANTS, batch_id, batch_name, chunk_id, worker_id, worker_name};
use crate::{control, limited, noted, operated, planned, pruned};

/// Does it on both sides, and remembers what it saw on the way.
pub(crate) async fn both(pair: &mut Pair<'_>, operation: &Operation) -> (String, String) {
    let (expected, seen, claimed) = one(pair, pair.model, operation).await;
    let (found, ..) = one(pair, pair.real, operation).await;
    for name in seen {
        pair.seen(name);
    }
    pair.claimed.extend(claimed);
    (expected, found)
}

/// What is recorded of an operation while it runs.
pub(crate) struct Told<'a> {
    pub(crate) side: &'a Side,
    seen: Vec<String>,
    claimed: Vec<Claimed>,
}

async fn one(pair: &Pair<'_>, side: &Side, operation: &Operation) -> (String, Vec<String>, Vec<Claimed>) {
    let mut told = Told { side, seen: Vec::new(), claimed: Vec::new() };
    let text = match told.apply(pair, operation).await {
        Ok(text) => text,
        // A group may be wrong in several ways: which of them is reported is not defined.
        Err(StoreError::NotFound(_) | StoreError::Conflict(_) | StoreError::Invalid(_)) if is_group(operation) => {
            "refused".to_owned()
        }
        Err(error) => format!("refused: {}", kind_of(&error)),
    };
    (text, told.seen, told.claimed)
}

fn is_group(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Enqueue(_)
            | Operation::Complete(_)
            | Operation::Fire { .. }
            | Operation::NoteEvent { .. }
            | Operation::StartEvent { .. }
    )
}

/// The kind of a refusal; its text is for people.
fn kind_of(error: &StoreError) -> String {
    match error {
        StoreError::NotFound(_) => "not found".to_owned(),
        StoreError::Conflict(_) => "conflict".to_owned(),
        StoreError::Invalid(_) => "invalid".to_owned(),
        other => format!("{other:?}"),
    }
}

impl Told<'_> {
    async fn apply(&mut self, pair: &Pair<'_>, operation: &Operation) -> Result<String> {
        match operation {
            Operation::Enqueue(_)
            | Operation::CreateBatch { .. }
            | Operation::AddChunks { .. }
            | Operation::Seal { .. }
            | Operation::Discard { .. } => self.create(operation).await,
            Operation::Register { .. }
            | Operation::Beat { .. }
            | Operation::Hold { .. }
            | Operation::Retire { .. }
            | Operation::ReleaseUnknown { .. }
            | Operation::EndLease { .. }
            | Operation::Lead { .. } => self.worker(pair, operation).await,
            Operation::Claim { .. } | Operation::ClaimNext { .. } | Operation::ClaimManaged { .. } => {
                self.claim(pair, operation).await
            }
            Operation::Complete(ended) => self.complete(pair, ended).await,
            Operation::PauseBatch { .. }
            | Operation::PauseQueue { .. }
            | Operation::CancelBatch { .. }
            | Operation::Halt { .. }
            | Operation::CancelJob { .. }
            | Operation::CancelJobs { .. }
            | Operation::RetryJob { .. }
            | Operation::EditJob { .. }
            | Operation::RedriveDead { .. }
            | Operation::Restart { .. }
            | Operation::Split { .. }
            | Operation::ItemPatch { .. } => control::apply(self, pair, operation).await,
            Operation::SaveSchedule { .. }
            | Operation::RemoveSchedule { .. }
            | Operation::DueSchedules { .. }
            | Operation::Fire { .. }
            | Operation::NoteEnded
            | Operation::Startable { .. }
            | Operation::Orphaned
            | Operation::Unfire { .. }
            | Operation::Backfill { .. }
            | Operation::SteerBackfill { .. } => planned::apply(self, operation).await,
            deletion if pruned::deletes(deletion) => pruned::apply(self, pair, operation).await,
            many if operated::is(many) => operated::apply(self.side, many).await,
            Operation::NoteEvent { .. } | Operation::StartEvent { .. } => noted::apply(self, operation).await,
            Operation::SaveLimit { .. }
            | Operation::DropLimit { .. }
            | Operation::SaveQueue { .. }
            | Operation::RaiseAged { .. }
            | Operation::PassRates
            | Operation::Why { .. } => limited::apply(self, pair, operation).await,
            Operation::Bury { .. }
            | Operation::UnknownJobs { .. }
            | Operation::DropPoison { .. }
            | Operation::Gone { .. }
            | Operation::Astray { .. }
            | Operation::TellLate { .. }
            | Operation::MakeLate { .. }
            | Operation::Copies { .. }
            | Operation::CopiesGone { .. } => self.keep(pair, operation).await,
            _ => self.look_after(pair, operation).await,
        }
    }

    async fn create(&mut self, operation: &Operation) -> Result<String> {
        let store = &self.side.store;
        match operation {
            Operation::Enqueue(asked) => {
                let jobs: Vec<NewJob> = asked.iter().map(new_job).collect();
                let report = store.enqueue(&jobs).await?;
                let mut text = String::new();
                for job in &report.jobs {
                    text += &format!("{} {} ", self.name(job.id).await, job.outcome.as_str());
                }
                Ok(text + &self.dispatched(&report.dispatched).await)
            }
            Operation::CreateBatch { batch, key, attempts, other_tenant } => {
                let created = store.create_batch(&new_batch(*batch, *key, *attempts, *other_tenant)).await?;
                Ok(format!("{} {}", batch_name(created.id), created.created))
            }
            Operation::AddChunks { batch, seqs, items, number } => {
                let chunks: Vec<NewChunk> =
                    seqs.iter().enumerate().map(|(nth, seq)| chunk(number * 10 + nth, *seq, *items)).collect();
                let dispatched = store.add_chunks(batch_id(*batch), &chunks).await?;
                Ok(self.dispatched(&dispatched).await)
            }
            Operation::Seal { batch } => {
                let dispatched = store.seal(batch_id(*batch)).await?;
                Ok(self.dispatched(&dispatched).await)
            }
            Operation::Discard { batch } => {
                store.discard_batch(batch_id(*batch)).await.map(|()| "discarded".to_owned())
            }
            other => unreachable!("{other:?} creates nothing"),
        }
    }

    async fn worker(&mut self, pair: &Pair<'_>, operation: &Operation) -> Result<String> {
        let store = &self.side.store;
        match operation {
            Operation::Register { worker } => {
                let entered = NewWorker { id: worker_id(*worker), ..testing::worker(LONG) };
                store.register_worker(&entered).await.map(|()| "entered".to_owned())
            }
            Operation::Beat { worker } => {
                let alive = store.beat(worker_id(*worker), LONG, 3).await?;
                Ok(format!("alive {alive}"))
            }
            Operation::Hold { held, long } => {
                let held: Vec<_> =
                    held.iter().filter_map(|number| pair.attempt(*number)).map(|one| self.side.fence(one)).collect();
                let moved = store.hold(if *long { LONG } else { Duration::ZERO }, &held).await?;
                Ok(format!("held {moved}"))
            }
            Operation::Retire { worker } => {
                let dispatched = store.retire_worker(worker_id(*worker)).await?;
                Ok(self.dispatched(&dispatched).await)
            }
            Operation::ReleaseUnknown { worker, known } => {
                let known: Vec<_> =
                    known.iter().filter_map(|number| pair.attempt(*number)).map(|one| self.side.fence(one)).collect();
                let dispatched = store.release_unknown(worker_id(*worker), &known).await?;
                Ok(self.dispatched(&dispatched).await)
            }
            Operation::EndLease { worker } => {
                store.end_lease(worker_id(*worker)).await;
                Ok(String::new())
            }
            Operation::Lead { worker } => {
                let epoch = store.lead("scheduler", worker_id(*worker), LONG).await?;
                Ok(format!("epoch {epoch:?}"))
            }
            other => unreachable!("{other:?} is not about workers"),
        }
    }

    async fn claim(&mut self, pair: &Pair<'_>, operation: &Operation) -> Result<String> {
        let store = &self.side.store;
        let mut text = String::new();
        let (worker, claimed) = match operation {
            Operation::Claim { worker, jobs, limit, odd } => {
                let ids: Vec<_> = jobs.iter().map(|number| self.side.id(&pair.job(*number))).collect();
                let claim = claim_of(*worker, *limit, *odd);
                let report = store.claim(&claim, &ids).await?;
                let (busy, stale) = (self.names(&report.busy).await, self.names(&report.stale).await);
                let (foreign, limited) = (self.names(&report.foreign).await, self.names(&report.limited).await);
                text += &format!("busy {busy:?} stale {stale:?} foreign {foreign:?} managed {limited:?} ");
                text += &format!("unknown {} ", report.unknown.len());
                (*worker, report.claimed)
            }
            Operation::ClaimNext { worker, queue, limit } => {
                let queues = queue.iter().map(|queue| queue_name(*queue)).collect();
                let claim = Claim { queues, ..testing::claim_as(worker_id(*worker), *limit) };
                (*worker, store.claim_next(&claim).await?)
            }
            Operation::ClaimManaged { worker, queue, limit, odd } => {
                let queues = queue.iter().map(|queue| queue_name(*queue)).collect();
                let claim = Claim { queues, ..claim_of(*worker, *limit, *odd) };
                let found = store.claim_limited(&claim).await?;
                // How long depends on how fast everything is.
                text += &format!("waits for a rate {} ", found.wait.is_some());
                (*worker, found.claimed)
            }
            other => unreachable!("{other:?} claims nothing"),
        };
        for job in claimed {
            text += &self.took(job, worker).await;
        }
        Ok(text)
    }

    /// Remembers an attempt that was claimed.
    async fn took(&mut self, job: ClaimedJob, worker: usize) -> String {
        let name = self.name(job.fence.job).await;
        let payload = match job.kind.as_str() {
            "chunk" => job.payload["items"].to_string(),
            _ => told_payload(&job.payload),
        };
        let text = format!(
            "{name} attempt {} of {} {} {} {:?} {} {} {:?} {:?} {payload} {:?}; ",
            job.fence.attempt,
            job.max_attempts,
            job.queue,
            job.priority,
            job.key,
            job.kind,
            job.generation,
            job.seq,
            job.timeout,
            job.retry
        );
        self.claimed.push(Claimed {
            name,
            attempt: job.fence.attempt,
            worker,
            chunk: job.seq.is_some(),
            items: job.payload["items"].as_u64().unwrap_or(0),
            batch: job.batch,
            generation: job.generation,
            max_attempts: job.max_attempts,
            kind: job.kind,
        });
        text
    }

    async fn complete(&mut self, pair: &Pair<'_>, ended: &[Ended]) -> Result<String> {
        let completions: Vec<Completion> = ended
            .iter()
            .filter_map(|ended| pair.attempt(ended.claimed).map(|claimed| completion(self.side, claimed, ended)))
            .collect();
        let report = self.side.store.complete(&completions).await?;
        let mut fenced = Vec::new();
        for fence in &report.fenced {
            fenced.push(format!("{} {} {}", self.name(fence.job).await, fence.attempt, worker_name(fence.worker)));
        }
        fenced.sort();
        let progress = told_progress(&report.progress);
        let dispatched = self.dispatched(&report.dispatched).await;
        Ok(format!("settled {} fenced {fenced:?} {dispatched} {progress}", report.settled))
    }

    /// Poison, misrouted and revoked jobs, and what is reported about batches under way.
    async fn keep(&mut self, pair: &Pair<'_>, operation: &Operation) -> Result<String> {
        let store = &self.side.store;
        match operation {
            Operation::Bury { message, times } => {
                store.record_poison(&vec![poison(*message); *times]).await.map(|()| "kept".to_owned())
            }
            Operation::UnknownJobs { jobs } => {
                let mut ids: Vec<_> = jobs.iter().map(|number| self.side.id(&pair.job(*number))).collect();
                ids.extend(jobs.iter().map(|number| chunk_id(*number)));
                let unknown = store.unknown_jobs(&ids).await?.into_iter();
                let mut numbers: Vec<_> = unknown.filter_map(|id| ids.iter().position(|one| *one == id)).collect();
                numbers.sort_unstable();
                numbers.dedup();
                Ok(format!("{numbers:?}"))
            }
            Operation::DropPoison { message, dry } => {
                let kept = store.poison(&Page { after: None, limit: 100 }).await?;
                let hash = poison(*message).sha256;
                let ours = kept.iter().filter(|one| one.sha256 == hash).map(|one| one.id);
                let ids: Vec<i64> = ours.chain([-1]).collect();
                Ok(format!("dropped {}", store.drop_poison(&ids, *dry).await?.affected))
            }
            Operation::Gone { claimed } => {
                let held: Vec<_> =
                    claimed.iter().filter_map(|number| pair.attempt(*number)).map(|one| self.side.fence(one)).collect();
                let mut gone = Vec::new();
                for fence in store.revoked(&held).await? {
                    gone.push(format!("{} {}", self.name(fence.job).await, fence.attempt));
                }
                gone.sort();
                gone.dedup();
                Ok(format!("{gone:?}"))
            }
            Operation::Astray { worker, odd, limit } => {
                let claim = claim_of(*worker, *limit, *odd);
                let misrouted = store.misrouted(&claim).await?;
                let names = self.names(&misrouted).await;
                // Which of many come first depends on their priorities and ages alone, but not within one instant.
                let all = u32::try_from(names.len()).ok() != Some(*limit);
                Ok(if all { format!("{names:?}") } else { format!("{limit}") })
            }
            Operation::MakeLate { batch } => {
                store.make_late(batch_id(*batch)).await;
                Ok(String::new())
            }
            Operation::TellLate { limit } => {
                let dispatched = store.notify_late(*limit).await?;
                Ok(self.dispatched(&dispatched).await)
            }
            Operation::Copies { keep } => {
                let keep = if *keep { LONG } else { Duration::ZERO };
                let copies = store.spools(keep, 100).await?;
                let mut copies: Vec<_> =
                    copies.iter().map(|(id, fingerprint)| (batch_name(*id), fingerprint.files.len())).collect();
                copies.sort();
                Ok(format!("{copies:?}"))
            }
            Operation::CopiesGone { batch } => store.spools_removed(batch_id(*batch)).await.map(|()| "gone".to_owned()),
            other => unreachable!("{other:?} keeps nothing"),
        }
    }

    async fn begin_email(&self, claimed: Option<&Claimed>, key: usize) -> Result<String> {
        let Some(claimed) = claimed else { return Ok(String::new()) };
        let fence = self.side.fence(claimed);
        let (new, key) = (new_email(fence.job, key), email_key(key));
        let begun = self.side.store.email_begin(&key, &fence, Some(&new), UnknownPolicy::Resend).await?;
        let Some(record) = begun else { return Ok("lost".to_owned()) };
        let states: Vec<&str> = record.recipients.iter().map(|one| one.state.as_str()).collect();
        let twice = record.recipients.iter().any(|one| one.may_be_twice);
        Ok(format!("{:?} {} {states:?} {twice} {}", record.state, record.message_id, record.frozen))
    }

    async fn move_email(&self, claimed: Option<&Claimed>, key: usize, to: usize) -> Result<String> {
        let Some(claimed) = claimed else { return Ok(String::new()) };
        let store = &self.side.store;
        let suppress = to.is_multiple_of(2).then_some(Duration::from_secs(60));
        let reported = [RecipientState::Delivered, RecipientState::Bounced, RecipientState::Complained][to % 3];
        let to = RecipientState::ALL[to % RecipientState::ALL.len()];
        let moves = [0, 1].map(|place| RecipientMove { suppress, ..RecipientMove::to(place, to) });
        let moved = store.email_move(&email_key(key), &self.side.fence(claimed), &moves, None).await?;
        let report = EmailReport {
            key: email_key(key),
            address_hash: Some([1; 32]),
            to: reported,
            code: None,
            status: None,
            rule: "report".to_owned(),
            note: None,
            suppress: Some(ReportSuppression { reason: SuppressionReason::Complaint, keep: suppress }),
        };
        let reported_as = store.email_report(&report).await?;
        let entries = store.suppressions(TENANTS[0], &Page { after: None, limit: 10 }).await?;
        let accounted = store.email_account(None, 1).await?.moved;
        Ok(format!("moved {moved:?}, {reported_as}, {} on the list, {accounted} accounted for", entries.len()))
    }

    async fn look_after(&mut self, pair: &Pair<'_>, operation: &Operation) -> Result<String> {
        let store = &self.side.store;
        match operation {
            Operation::Rescue { limit } => {
                let report = store.rescue(*limit).await?;
                let dispatched = self.dispatched(&report.dispatched).await;
                let (lost, again, dead) = (report.workers_lost, report.requeued, report.dead);
                Ok(format!("lost {lost} again {again} dead {dead} {dispatched} {}", told_progress(&report.progress)))
            }
            Operation::Promote { limit } => {
                let dispatched = store.promote(*limit).await?;
                Ok(self.dispatched(&dispatched).await)
            }
            Operation::MakeDue { job } => {
                store.make_due(self.side.id(&pair.job(*job))).await;
                Ok(String::new())
            }
            Operation::PassDeadline { job } => {
                store.pass_deadline(self.side.id(&pair.job(*job))).await;
                Ok(String::new())
            }
            Operation::OutboxTake { share, limit } => {
                let taken = store.outbox_take(Duration::ZERO, *share, *limit).await?;
                store.hold_outbox().await;
                Ok(self.dispatches(&taken).await)
            }
            Operation::OutboxDone => {
                let taken = store.outbox_take(Duration::ZERO, 1_000, 1_000).await?;
                let ids: Vec<i64> = taken.iter().map(|dispatch| dispatch.outbox).collect();
                store.outbox_done(&ids).await?;
                Ok(self.dispatches(&taken).await)
            }
            Operation::Redispatch { queue, limit } => {
                let lost = LostJobs { older_than: Duration::ZERO, after: None, limit: *limit };
                let dispatched = store.redispatch(&queue_name(*queue), &lost).await?;
                Ok(self.dispatched(&dispatched).await)
            }
            Operation::Reconcile { dry } => {
                let report = store.reconcile(*dry).await?;
                Ok(format!("{} {:?} {}", report.batches, report.findings, self.dispatched(&report.dispatched).await))
            }
            Operation::Email { job, key } => self.begin_email(pair.attempt(*job), *key).await,
            Operation::EmailMove { key, claimed, to } => self.move_email(pair.attempt(*claimed), *key, *to).await,
            other => unreachable!("{other:?} is no duty"),
        }
    }

    pub(crate) async fn name(&mut self, id: gristmill_core::id::JobId) -> String {
        let name = self.side.name(id).await;
        self.seen.push(name.clone());
        name
    }

    async fn names(&mut self, ids: &[gristmill_core::id::JobId]) -> Vec<String> {
        let mut names = Vec::with_capacity(ids.len());
        for id in ids {
            names.push(self.name(*id).await);
        }
        names.sort();
        names
    }

    pub(crate) async fn dispatched(&mut self, dispatched: &Dispatched) -> String {
        format!("moved {} {}", dispatched.moved, self.dispatches(&dispatched.dispatches).await)
    }

    /// The dispatched ids, however they are grouped.
    async fn dispatches(&mut self, dispatches: &[Dispatch]) -> String {
        let mut all = Vec::new();
        for dispatch in dispatches {
            for job in &dispatch.jobs {
                let name = self.name(*job).await;
                all.push(format!("{:?} {} {} {name}", dispatch.purpose, dispatch.queue, dispatch.priority));
            }
        }
        all.sort();
        format!("{all:?}")
    }
}

fn told_progress(progress: &[BatchProgress]) -> String {
    let mut told: Vec<String> = progress
        .iter()
        .map(|one| {
            let (state, counts) = (one.state, one.counts);
            format!("{} {state} {} {counts:?} {} {}", batch_name(one.batch), one.generation, one.remaining, one.halting)
        })
        .collect();
    told.sort();
    format!("{told:?}")
}

/// Two recipients; one of the two messages cannot be made.
fn new_email(job: gristmill_core::id::JobId, key: usize) -> NewEmail {
    let recipient = |number: u8| NewRecipient {
        role: RecipientRole::To,
        address: format!("a{number}@example.org"),
        address_hash: [number; 32],
    };
    NewEmail {
        job,
        batch: None,
        stream: TRANSACTIONAL.to_owned(),
        message_id: format!("<{key}@here>"),
        sender: "mill@example.com".to_owned(),
        subject: "Hello".to_owned(),
        template: None,
        content: if key == 1 { Err("no text".to_owned()) } else { Ok(b"Subject: Hello\r\n\r\n".to_vec()) },
        recipients: vec![recipient(1), recipient(2)],
    }
}

fn email_key(key: usize) -> EmailKey {
    EmailKey { tenant: TENANTS[0].to_owned(), key: format!("mail{key}") }
}
