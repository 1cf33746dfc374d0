//! What the program shows in JSON: one document for each noun, for the command line, the API, the pages, callbacks and
//! mail templates alike. docs/documents.md lists them with their fields.
//!
//! Instants are RFC 3339 in UTC, with as many digits of a second as they have. Counts are integers, exact decimals are
//! texts. A field that has no value is `null`; it is left out only where its document says so.
//!
//! A view of the store whose words are those of its document is that document, alone or flattened into one that says
//! more: [`QuarantineItemDocument`], [`WorkerDocument`], [`LimitDocument`], [`TickDocument`], [`BackfillDocument`] and
//! [`AttemptDocument`] only have another name here.

mod account;
mod audit;
mod batch;
mod chunk;
mod configuration;
mod doctor;
mod email;
mod enqueued;
mod error;
mod eta;
mod event;
mod history;
mod job;
mod limit;
mod operation;
mod output;
mod poison;
mod quarantine;
mod queue;
mod report;
mod retention;
mod schedule;
mod trigger;

pub use account::{
    BegunLinkDocument, CreatedTokenDocument, IssuedTokensDocument, JsonWebKeyDocument, JsonWebKeysDocument,
    LinkDocument, LoginLinkDocument, MeDocument, OfferedFactorDocument, RecoveryCodesDocument, SecondFactorDocument,
    TenantInUseDocument,
};
pub use audit::{AuditEntryDocument, AuditVerifiedDocument};
pub use batch::{BatchWithResult, PlannedBatchDocument, PlannedCounts, WouldStartDocument};
pub use chunk::{ChunkDocument, ChunkResultDocument};
pub use configuration::{
    CheckDocument, ContextDocument, DefinitionDocument, InitDocument, LookDocument, ProblemDocument, SettingDocument,
    TrialDocument, TriedItemDocument, TriedStepDocument, VersionDocument,
};
pub use doctor::{DoctorDocument, FindingDocument, ReconcileDocument};
pub use email::{
    EmailDocument, MailTestDocument, MailingDocument, ReturnedDocument, ReturnedKind, ReturnedRecipientDocument,
    WouldResendDocument, without_contents,
};
pub use enqueued::{
    EndedJobsDocument, EnqueuedManyDocument, EnqueuedOneDocument, WouldEnqueueDocument, WouldEnqueueManyDocument,
};
pub use error::{ErrorBody, ErrorDocument};
pub use eta::{EtaDocument, EtaRecordDocument, EtaSaidDocument, EtaState};
pub use event::{EventDocument, EventTraceDocument, StartedReplayDocument};
pub use gristmill_core::attempt_log::LogLine as LogLineDocument;
pub use gristmill_store::accounts::{
    InvitationView as InvitationDocument, KeyView as KeyDocument, LinkView as OpenLinkDocument,
    MemberView as MemberDocument, SessionView as SessionDocument, TenantView as TenantDocument,
    TokenView as TokenDocument, UserView as UserDocument,
};
pub use gristmill_store::{
    AcknowledgementView as AcknowledgementDocument, AttemptView as AttemptDocument, BackfillView as BackfillDocument,
    BatchDocument, CallbackDocument, CountsDocument, DeliveryView as DeliveryDocument, EmailStat as EmailStatDocument,
    EmailView as EmailRowDocument, Enqueued as EnqueuedDocument, EventSchemaView as EventSchemaDocument,
    FailureDocument, LimitView as LimitDocument, LogView as AttemptLogDocument, MailDomainView as MailDomainDocument,
    MailRelayView as MailRelayDocument, MailingView as MailingRowDocument, MigrationStatus as MigrationsDocument, News,
    OperationView as OperationDocument, PauseView as PauseDocument, PoisonView as PoisonDocument,
    Published as PublishedDocument, QuarantineView as QuarantineItemDocument, ReplayView as ReplayDocument,
    SubscriptionView as SubscriptionDocument, SuppressionView as SuppressionDocument, TableSize as TableSizeDocument,
    TickView as TickDocument, WorkerView as WorkerDocument,
};
pub(crate) use history::series;
pub use history::{
    HistoryBy, HistoryDocument, HistoryPointDocument, HistorySeriesDocument, PassedDocument, TimesBucketDocument,
    TimesDocument,
};
pub use job::{JobDocument, JobOnlyDocument};
pub use limit::WouldSetLimitDocument;
pub use operation::WouldOperateDocument;
pub use output::OutputDocument;
pub use poison::{BodyEncoding, PoisonMessageDocument};
pub use quarantine::{ExportedItemDocument, PatchReportDocument, RefusedItemDocument};
pub use queue::QueueDocument;
pub use report::{DeadReportDocument, RedrivenDocument, ReportDocument};
pub use retention::{
    DatabaseSizeDocument, DeletedBatchesDocument, DeletedQueueDocument, PruneDocument, PruneNounDocument,
    PrunedDocument,
};
pub use schedule::{
    BackfillReportDocument, IntervalDocument, NextTicksDocument, PlannedTickDocument, RunDocument, ScheduleDocument,
    ScheduleReportDocument, ScheduleState, SlotDocument, SlotState, StartedBackfillDocument, WouldBackfillDocument,
    WouldRunDocument, WouldSaveScheduleDocument, slots, starts,
};
pub use trigger::{TriggerDocument, TriggerReportDocument};
