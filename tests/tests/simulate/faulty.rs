//! The store as one process sees it: calls may come too late, fail, lose their answer, or be the last
//! thing that the process does.

use std::any::Any;
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::poll;
use gristmill_core::Instant;
use gristmill_core::access::Role;
use gristmill_core::audit::{ChainEnd, SealedEntry, SignedHead};
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::history::HistoryStep;
use gristmill_core::id::{BatchId, JobId, KeyId, LinkId, OperationId, SessionId, TokenId, UserId, WorkerId};
use gristmill_core::job::{ClaimedJob, Fence, JobState, NewJob};
use gristmill_core::job_edit::JobEdit;
use gristmill_core::letter::UnknownPolicy;
use gristmill_core::mail_flow::{DomainEvent, RelayEvent, RelayTerms};
use gristmill_core::mailing::MailSpec;
use gristmill_store::accounts::*;
use gristmill_store::*;
use gristmill_testkit::Random;
use serde_json::{Map, Value};
use tokio::time::sleep;
use uuid::Uuid;

use crate::world::{Process, World};

/// What goes wrong with calls how often: in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FaultRates {
    /// The process dies before the call, after it, or in its middle.
    pub(crate) dies: u64,
    /// The same of calls that complete.
    pub(crate) dies_completing: u64,
    /// An error, and nothing has happened.
    pub(crate) refused: u64,
    /// An error, although it is committed.
    pub(crate) forgotten: u64,
    /// The call or its answer takes up to so many milliseconds longer.
    pub(crate) slow: u64,
}

/// A store that delegates, in one process.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: StoreHandle,
    world: Arc<World>,
    process: Process,
    random: Mutex<Random>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallOutcome {
    Good,
    DiesBefore,
    DiesWithin,
    Refused,
    Forgotten,
}

impl Faulty {
    pub(crate) fn open(world: &Arc<World>, process: &Process, random: Random) -> StoreHandle {
        Arc::new(Self {
            inner: Arc::clone(&world.store),
            world: Arc::clone(world),
            process: process.clone(),
            random: Mutex::new(random),
        })
    }

    fn decision(&self, what: &str) -> (CallOutcome, [Duration; 2]) {
        if self.world.kills_now(&self.process, what) {
            return (
                if self.throw(|random| random.happens(500)) {
                    CallOutcome::DiesBefore
                } else {
                    CallOutcome::DiesWithin
                },
                [Duration::ZERO; 2],
            );
        }
        let trouble = self.world.trouble();
        self.throw(|random| {
            let waits = if trouble.slow == 0 || !random.happens(300) {
                [Duration::ZERO; 2]
            } else {
                [random.millis(0, trouble.slow), random.millis(0, trouble.slow)]
            };
            let dies = if what == "complete" { trouble.dies_completing } else { trouble.dies };
            let decision = match random.below(1_000) {
                n if n < dies => {
                    if random.happens(500) {
                        CallOutcome::DiesBefore
                    } else {
                        CallOutcome::DiesWithin
                    }
                }
                n if n < dies + trouble.refused => CallOutcome::Refused,
                n if n < dies + trouble.refused + trouble.forgotten => CallOutcome::Forgotten,
                _ => CallOutcome::Good,
            };
            (decision, waits)
        })
    }

    fn throw<T>(&self, throw: impl FnOnce(&mut Random) -> T) -> T {
        throw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn call<T: Send>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T>> + Send,
        seen: impl FnOnce(&T) + Send,
    ) -> Result<T> {
        let (decision, [before, after]) = self.decision(what);
        self.wait(before).await;
        match decision {
            CallOutcome::DiesBefore => self.dies(what).await,
            CallOutcome::Refused => return Err(self.error(what, "is refused")),
            CallOutcome::Good | CallOutcome::DiesWithin | CallOutcome::Forgotten => {}
        }
        let mut call = pin!(call);
        // Most stores of a simulation answer at once; one that does not can be left in its middle.
        let answer = match poll!(&mut call) {
            std::task::Poll::Ready(answer) => answer,
            std::task::Poll::Pending if decision == CallOutcome::DiesWithin => self.dies(what).await,
            std::task::Poll::Pending => tokio::select! {
                biased;
                () = self.process.life.over() => pending().await,
                answer = call => answer,
            },
        };
        if let Ok(answer) = &answer {
            seen(answer);
        }
        if decision == CallOutcome::DiesWithin {
            self.dies(what).await
        }
        self.wait(after).await;
        if decision == CallOutcome::Forgotten && answer.is_ok() {
            return Err(self.error(what, "loses its answer"));
        }
        answer
    }

    async fn wait(&self, wait: Duration) {
        self.process.life.turn().await;
        if !wait.is_zero() {
            sleep(wait).await;
            self.process.life.turn().await;
        }
    }

    async fn dies<T>(&self, what: &str) -> T {
        self.world.note(&self.process, &format!("dies at {what}"), None, 0);
        self.world.kill(&self.process);
        pending().await
    }

    fn error(&self, what: &str, how: &str) -> StoreError {
        self.world.note(&self.process, &format!("{what} {how}"), None, 0);
        self.world.count(|figures| figures.errors += 1);
        StoreError::Unavailable("the simulation broke off".to_owned())
    }

    fn claimed(&self, jobs: &[ClaimedJob]) {
        self.world.history(|history| history.claimed(&self.process.name, jobs));
    }
}

/// One trait of the store: methods that do no more than the call, and in front of them, written out, those in which the
/// simulation sees more.
macro_rules! delegate {
    ($of:ident { $($seen:tt)* } $($name:ident($($arg:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl $of for Faulty {
            $($seen)*

            $(async fn $name(&self, $($arg: $kind),*) -> Result<$answer> {
                self.call(stringify!($name), self.inner.$name($($arg),*), |_| ()).await
            })*
        }
    };
}

mod events;

delegate! {
    Database {
        fn describe(&self) -> String {
            self.inner.describe()
        }

        fn embedded(&self) -> bool {
            self.inner.embedded()
        }

        fn confined(self: Arc<Self>, _: &str) -> StoreHandle {
            self
        }

        fn as_any(&self) -> &dyn Any {
            self.inner.as_any()
        }
    }
    migrate() -> MigrationStatus;
    migrations() -> MigrationStatus;
    now() -> Instant;
}

delegate! {
    Jobs {}
    enqueue(jobs: &[NewJob]) -> EnqueueReport;
}

delegate! {
    Batches {}
    create_batch(batch: &NewBatch) -> CreatedBatch;
    add_chunks(batch: BatchId, chunks: &[NewChunk]) -> Dispatched;
    seal(batch: BatchId) -> Dispatched;
    discard_batch(batch: BatchId) -> ();
    stalled_plans(older_than: Duration, limit: u32) -> Vec<(String, BatchId)>;
}

delegate! {
    Claims {
        async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport> {
            self.world.history(|history| history.works(&self.process.name, claim.worker));
            self.call("claim", self.inner.claim(claim, ids), |report| self.claimed(&report.claimed)).await
        }

        async fn claim_next(&self, claim: &Claim) -> Result<Vec<ClaimedJob>> {
            self.world.history(|history| history.works(&self.process.name, claim.worker));
            self.call("claim_next", self.inner.claim_next(claim), |jobs| self.claimed(jobs)).await
        }

        async fn claim_limited(&self, claim: &Claim) -> Result<LimitedClaim> {
            self.world.history(|history| history.works(&self.process.name, claim.worker));
            self.call("claim_managed", self.inner.claim_limited(claim), |found| self.claimed(&found.claimed)).await
        }

        async fn wait_for_work(&self, seen: u64, at_most: Duration) -> u64 {
            self.process.life.turn().await;
            let hint = self.inner.wait_for_work(seen, at_most).await;
            self.process.life.turn().await;
            hint
        }
    }
    misrouted(claim: &Claim) -> Vec<JobId>;
}

delegate! {
    Completions {
        async fn complete(&self, completions: &[Completion]) -> Result<CompleteReport> {
            self.call("complete", self.inner.complete(completions), |report| {
                self.world.completed(&self.process, completions, report);
            })
            .await
        }
    }
    try_sink(table: &str, columns: &[String]) -> ();
    refused_rows(rows: &SqlRows) -> Vec<RefusedRow>;
    halt_batch(batch: BatchId, generation: u32, reason: &str) -> ControlReport;
}

delegate! {
    Workers {
        async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64 {
            self.process.life.turn().await;
            let seen = self.inner.wait_for_revocation(seen, at_most).await;
            self.process.life.turn().await;
            seen
        }
    }
    register_worker(worker: &NewWorker) -> ();
    beat(worker: WorkerId, lease: Duration, running: u32) -> bool;
    hold(lease: Duration, held: &[Fence]) -> u64;
    revoked(held: &[Fence]) -> Vec<Fence>;
    retire_worker(worker: WorkerId) -> Dispatched;
    release_unknown(worker: WorkerId, known: &[Fence]) -> Dispatched;
    workers() -> Vec<WorkerView>;
    lead(name: &str, holder: WorkerId, lease: Duration) -> Option<i64>;
}

delegate! {
    Outbox {}
    outbox_take(older_than: Duration, share: u32, limit: u32) -> Vec<Dispatch>;
    outbox_done(ids: &[i64]) -> ();
    outbox_backlog() -> OutboxBacklog;
    redispatch(queue: &str, lost: &LostJobs) -> Dispatched;
    dead_letters(jobs: &[JobId]) -> Vec<DeadLetter>;
}

delegate! {
    Duties {
        async fn rescue(&self, limit: u32) -> Result<RescueReport> {
            self.call("rescue", self.inner.rescue(limit), |report| self.world.rescued(&self.process, report)).await
        }

        async fn reconcile(&self, dry_run: bool) -> Result<ReconcileReport> {
            self.call("reconcile", self.inner.reconcile(dry_run), |report| self.world.reconciled(report)).await
        }
    }
    continue_stops() -> Dispatched;
    promote(limit: u32) -> Dispatched;
    notify_late(limit: u32) -> Dispatched;
    spools(keep: Duration, limit: u32) -> Vec<(BatchId, SourceFingerprint)>;
    spools_removed(batch: BatchId) -> ();
}

delegate! {
    Control {}
    pause_batch(tenant: &str, batch: BatchId, pause: Option<&Pause>, dry_run: bool) -> ControlReport;
    cancel_batch(tenant: &str, batch: BatchId, reason: &str, dry_run: bool) -> ControlReport;
    cancel_job(tenant: &str, job: JobId, reason: &str, dry_run: bool) -> ControlReport;
    cancel_jobs(tenant: &str, jobs: &[JobId], reason: &str, dry_run: bool) -> ControlReport;
    retry_job(tenant: &str, job: JobId, dry_run: bool) -> ControlReport;
    edit_job(tenant: &str, job: JobId, edit: &JobEdit, dry_run: bool) -> ControlReport;
    pause_queue(tenant: &str, queue: &str, pause: Option<&Pause>, dry_run: bool) -> ControlReport;
}

delegate! {
    Redrives {}
    redrive_dead(tenant: &str, jobs: &[JobId], dry_run: bool) -> ControlReport;
    restart_batch(tenant: &str, restart: &Restart, dry_run: bool) -> ControlReport;
    redrive_patched(tenant: &str, patching: &PatchRedrive, dry_run: bool) -> PatchReport;
    redrive_quarantine(tenant: &str, redrive: &QuarantineRedrive, dry_run: bool) -> ControlReport;
    split_chunk(tenant: &str, job: JobId, dry_run: bool) -> ControlReport;
}

delegate! {
    Retention {}
    expired(look: &ExpiryLook) -> ExpiryPage;
    documents(noun: PruneNoun, batch: Option<BatchId>, keys: &[String]) -> Vec<Value>;
    prune(prune: &Prune) -> PruneReport;
    begin_deletion(tenant: &str, batch: BatchId, ended: Option<Instant>, dry_run: bool) -> ControlReport;
    discard_dead(tenant: &str, jobs: &[(JobId, Instant)], keys: Duration, dry_run: bool) -> ControlReport;
    delete_queue(queue: &str, dry_run: bool) -> ControlReport;
    pruned() -> Vec<PrunedView>;
    gone_jobs(ids: &[JobId]) -> Vec<JobId>;
    size() -> DatabaseSize;
}

delegate! {
    Views {}
    batch(tenant: &str, batch: BatchId) -> Option<BatchView>;
    batch_plan(batch: BatchId) -> Option<BatchPlan>;
    batches(filter: &BatchFilter, page: &Page) -> Vec<BatchView>;
    chunk_results(batch: BatchId, after_seq: i64, limit: u32) -> Vec<StoredResult>;
    output_parts(batch: BatchId, after_seq: i64, limit: u32) -> Vec<StoredParts>;
    chunk_briefs(batch: BatchId, first: i64, limit: u32) -> Vec<ChunkBrief>;
    chunk_ranges(batch: BatchId, width: u32) -> ChunkRanges;
    first_chunks(batch: BatchId, states: &[JobState], each: u32) -> Vec<JobView>;
    job(tenant: &str, job: JobId) -> Option<JobView>;
    jobs(filter: &JobFilter, page: &Page) -> Vec<JobView>;
    tenants() -> Vec<String>;
    queue_names() -> Vec<String>;
    queues(tenant: &str) -> Vec<QueueView>;
    unhandled(tenant: &str) -> Vec<UnhandledView>;
    quarantine(filter: &QuarantineFilter, page: &Page) -> Vec<QuarantineView>;
}

delegate! {
    Schedules {}
    save_schedule(save: &SaveSchedule) -> ScheduleView;
    remove_schedule(tenant: &str, name: &str) -> bool;
    schedules(tenant: Option<&str>, name: Option<&str>) -> Vec<ScheduleView>;
    due_schedules(now: Instant, limit: u32) -> Vec<ScheduleView>;
}

delegate! {
    Ticks {}
    fire(firings: &[Firing]) -> FireReport;
    note_ended_runs() -> u64;
    startable_ticks(limit: u32) -> Vec<TickView>;
    orphaned_plans(limit: u32) -> Vec<(String, BatchId)>;
    release_tick(batch: BatchId, reason: &str, again: bool) -> bool;
    ticks(filter: &TickFilter) -> Vec<TickView>;
    events(tenant: &str, schedule: &str, events: &[String]) -> Vec<TickView>;
    newest_ticks(tenant: &str, schedules: &[String]) -> Vec<TickView>;
    tallies(tenant: &str, schedules: &[String], newest: u32) -> Vec<LedgerTally>;
}

delegate! {
    Backfills {}
    backfill(backfill: &NewBackfill) -> u64;
    control_backfill(tenant: &str, id: Uuid, paused: Option<bool>) -> u64;
    backfills(tenant: &str, schedule: &str) -> Vec<BackfillView>;
}

delegate! {
    Triggers {}
    note_event(event: &NewEvent) -> NotedEvent;
}

delegate! {
    Limits {}
    limited() -> Limited;
    limits() -> Vec<LimitView>;
    save_limit(save: &SaveLimit) -> (LimitView, Dispatched);
    drop_limit(name: &str, origin: LimitOrigin, dry_run: bool) -> ControlReport;
    save_queue(name: &str, spec: &QueueSpec) -> Dispatched;
    raise_aged(limit: u32) -> Dispatched;
    blockers(job: JobId) -> JobBlockers;
}

delegate! {
    Poison {}
    record_poison(poison: &[NewPoison]) -> ();
    unknown_jobs(ids: &[JobId]) -> Vec<JobId>;
    poison(page: &Page) -> Vec<PoisonView>;
    poison_message(id: i64) -> Option<PoisonMessage>;
    drop_poison(ids: &[i64], dry_run: bool) -> ControlReport;
}

delegate! {
    Emails {}
    email(key: &EmailKey) -> Option<EmailRecord>;
    email_begin(key: &EmailKey, fence: &Fence, new: Option<&NewEmail>, policy: UnknownPolicy) -> Option<EmailRecord>;
    email_move(key: &EmailKey, fence: &Fence, moves: &[RecipientMove], said: Option<&EmailSaid>) -> Option<Vec<u32>>;
    email_account(after: Option<&EmailKey>, limit: u32) -> EmailsAccounted;
    mailing(tenant: &str, batch: BatchId) -> Vec<MailingVariant>;
    mailings(tenant: &str, limit: u32) -> Vec<MailingView>;
    hold_mailing(tenant: &str, batch: BatchId, spec: &MailSpec) -> Option<String>;
    email_again(tenant: &str, batch: BatchId, after: Option<JobId>, limit: u32, dry_run: bool) -> Vec<JobId>;
    email_stats(filter: &StatsFilter) -> Vec<EmailStat>;
    email_content(key: &EmailKey) -> Option<Vec<u8>>;
    email_attempts(key: &EmailKey) -> Vec<EmailAttempt>;
    emails(filter: &EmailFilter, page: &Page) -> Vec<EmailView>;
    email_view(key: &EmailKey) -> Option<EmailView>;
    email_of_envelope(envelope_id: &str) -> Option<EmailKey>;
    email_report(report: &EmailReport) -> Reported;
    suppress(entries: &[Suppression]) -> u64;
    unsuppress(tenant: &str, address_hash: &[u8; 32], stream: &str) -> bool;
    suppressions_of(tenant: &str, address_hash: &[u8; 32]) -> Vec<SuppressionView>;
    suppressions(tenant: &str, page: &Page) -> Vec<SuppressionView>;
}

delegate! {
    Accounts {
        fn metered(self: Arc<Self>) -> StoreHandle {
            Arc::new(Self {
                inner: Arc::clone(&self.inner).metered(),
                world: Arc::clone(&self.world),
                process: self.process.clone(),
                random: Mutex::new(self.throw(Random::fork)),
            })
        }
    }
    create_user(user: &NewUser) -> UserView;
    users(page: &Page) -> Vec<UserView>;
    user(user: UserId) -> Option<UserView>;
    user_by_email(email: &EmailAddress) -> Option<UserView>;
    password_of(user: UserId) -> Option<String>;
    change_user(user: UserId, change: &UserChange) -> UserView;
    rehash_password(user: UserId, verified: &str, hash: &str) -> bool;
    remove_user(user: UserId) -> bool;
    create_tenant(tenant: &NewTenant) -> TenantView;
    tenant_list(page: &Page) -> Vec<TenantView>;
    tenant(name: &str) -> Option<TenantView>;
    tenant_usage(name: &str) -> TenantUsage;
    change_tenant(name: &str, change: &TenantChange) -> TenantView;
    members(tenant: &str, page: &Page) -> Vec<MemberView>;
    set_member(change: &MemberChange) -> Option<Role>;
    create_link(link: &NewLink) -> Option<(LinkId, Dispatched)>;
    register(registration: &Registration) -> RegistrationStart;
    link(hash: &SecretHash) -> Option<LinkView>;
    use_link(hash: &SecretHash, with: &LinkUse) -> UsedLink;
    invitations(tenant: &str, page: &Page) -> Vec<InvitationView>;
    withdraw_invitation(tenant: &str, invitation: LinkId) -> bool;
    begin_login(attempt: &LoginTry) -> LoginStart;
    finish_login(session: &NewSession) -> Option<SessionView>;
    federated_login(login: &FederatedLogin) -> FederatedAnswer;
    link_login(login: &NewLogin) -> bool;
    logins_of(user: UserId) -> Vec<LoginView>;
    unlink_login(user: UserId, issuer: &str, keep: Option<SecretHash>) -> bool;
    spend_second(user: UserId, second: Option<Second>) -> ();
    take_back_try(attempt: &LoginTry) -> ();
    factor(user: UserId) -> Option<Factor>;
    offer_factor(user: UserId, secret: &[u8]) -> ();
    confirm_factor(confirm: &ConfirmFactor) -> u64;
    remove_factor(user: UserId, with: Option<Second>) -> bool;
    recognize_session(hash: &SecretHash, tenant: Option<&str>) -> Option<Recognition>;
    recognize_token(hash: &SecretHash, tenant: Option<&str>) -> Option<Recognition>;
    recognize_access(session: SessionId, user: UserId, tenant: Option<&str>) -> Option<(Recognition, Instant)>;
    refresh_session(refresh: &RefreshSession) -> Refreshed;
    end_refresh(hash: &SecretHash) -> bool;
    signing_key() -> Option<SigningKey>;
    access_keys() -> Vec<KeyView>;
    add_key(key: &NewKey) -> bool;
    withdraw_key(key: KeyId) -> bool;
    touch_session(hash: &SecretHash, idle: Duration) -> ();
    touch_token(token: TokenId) -> ();
    sessions(user: UserId, page: &Page) -> Vec<SessionView>;
    session_id(hash: &SecretHash) -> Option<SessionId>;
    end_sessions(end: &EndSessions) -> u64;
    create_token(token: &NewToken) -> TokenView;
    tokens(tenant: &str, user: Option<UserId>, page: &Page) -> Vec<TokenView>;
    revoke_token(tenant: &str, token: TokenId, of: Option<UserId>) -> bool;
    count_users() -> (u64, Instant);
}

delegate! {
    Operations {}
    preview_operation(selection: &Selection) -> OperationPreview;
    start_operation(operation: &NewOperation) -> OperationView;
    operation(tenant: &str, operation: OperationId) -> Option<OperationView>;
    operations(tenant: &str, page: &Page) -> Vec<OperationView>;
    cancel_operation(tenant: &str, operation: OperationId) -> OperationView;
    undo_operation(tenant: &str, operation: OperationId) -> OperationView;
    due_operations(limit: u32) -> Vec<DueOperation>;
    step_operation(operation: OperationId, keys: Duration) -> Option<OperationStep>;
    discarded_by(operation: OperationId, limit: u32) -> Vec<JobId>;
    prune_operations(before: Instant, limit: u32) -> u64;
}

delegate! {
    Requests {}
    begin_request(request: &NewRequest) -> BegunRequest;
    answer_request(key: &RequestKey, attempt: Uuid, answer: &KeptAnswer) -> bool;
    forget_request(key: &RequestKey, attempt: Uuid) -> ();
}

delegate! {
    Acknowledgements {}
    acknowledge_error(ack: &NewAcknowledgement, dry_run: bool) -> ControlReport;
    reopen_error(tenant: &str, fingerprint: &str, dry_run: bool) -> ControlReport;
    acknowledged(tenant: &str) -> Vec<AcknowledgementView>;
    acknowledged_of(tenant: &str, fingerprints: &[String]) -> Vec<AcknowledgementView>;
    prune_acknowledged(before: Instant, limit: u32) -> u64;
}

delegate! {
    MailFlows {}
    mail_flow() -> MailFlow;
    relay_note(name: &str, place: &str, event: &RelayEvent) -> RelayChange;
    relay_take(name: &str, place: &str, terms: &RelayTerms) -> Taken;
    relay_steer(name: &str, event: &RelayEvent, dry_run: bool) -> ControlReport;
    domain_note(domain: &str, event: &DomainEvent, configured: Option<u32>) -> ();
    domain_take(ask: &DomainAsk) -> Taken;
    domain_suspend(suspend: &SuspendDomain, dry_run: bool) -> ControlReport;
    domain_resume(domain: &str, dry_run: bool) -> ControlReport;
    domain_wake(domain: &str, limit: u32) -> u64;
    mail_domains(page: &Page) -> Vec<MailDomainView>;
    mail_flow_tidy(limit: u32) -> u64;
}

delegate! {
    Logs {}
    write_logs(logs: &[NewLog]) -> u64;
    logs(tenant: &str, job: JobId, attempt: Option<u32>, limit: u32) -> Vec<LogView>;
    prune_logs(before: Instant, limit: u32) -> u64;
}

delegate! {
    History {}
    fold_history(limit: u32) -> u64;
    history(filter: &HistoryFilter) -> Vec<HistoryPoint>;
    prune_history(step: HistoryStep, before: Instant, limit: u32) -> u64;
}

delegate! {
    Audit {
        fn attributed(self: Arc<Self>, attribution: Attribution) -> StoreHandle {
            Arc::new(Self {
                inner: Arc::clone(&self.inner).attributed(attribution),
                world: Arc::clone(&self.world),
                process: self.process.clone(),
                random: Mutex::new(self.throw(Random::fork)),
            })
        }
    }
    record_audit(attribution: &Attribution, fields: &Map<String, Value>) -> bool;
    audit(filter: &AuditFilter) -> Vec<SealedEntry>;
    audit_behind(tenant: &str, seq: u64, limit: u32) -> Vec<SealedEntry>;
    audit_heads(tenant: Option<&str>) -> Vec<AuditHead>;
    keep_signed_head(head: &SignedHead) -> bool;
    signed_heads(tenant: &str, seq: u64) -> Vec<SignedHead>;
    prune_audit(attribution: &Attribution, to: ChainEnd) -> u64;
}
