//! What this program reports by itself. A job that simply succeeds reports nothing: only what an operator or another
//! program would act upon is an event.

use std::str::FromStr;

use crate::batch::BatchState;
use crate::letter::RecipientState;

crate::words! {
    /// The types of this program's own events.
    #[derive(PartialOrd, Ord)]
    pub enum OwnType {
        /// A batch was created.
        BatchCreated = "batch.created",
        /// A batch was paused.
        BatchPaused = "batch.paused",
        /// A batch was resumed.
        BatchResumed = "batch.resumed",
        /// A batch is complete.
        BatchCompleted = "batch.completed",
        /// A batch was halted.
        BatchHalted = "batch.halted",
        /// A batch was cancelled.
        BatchCancelled = "batch.cancelled",
        /// The first item or chunk of a batch has failed.
        BatchFirstFailure = "batch.first_failure",
        /// A batch has not ended in time.
        BatchLate = "batch.late",
        /// A job became a dead letter.
        JobDead = "job.dead",
        /// A queue was paused.
        QueuePaused = "queue.paused",
        /// A queue was resumed.
        QueueResumed = "queue.resumed",
        /// A tick of a schedule was not run, because it came too late.
        ScheduleMissed = "schedule.missed",
        /// A tick of a schedule was not run, because an earlier run was under way.
        ScheduleSkipped = "schedule.skipped",
        /// A run of a schedule could not be started.
        ScheduleFailed = "schedule.failed",
        /// A hook, a watched folder or a program has started a run.
        TriggerReceived = "trigger.received",
        /// A mail server has refused a recipient for good, at once or later.
        MailBounced = "mail.bounced",
        /// A recipient has complained.
        MailComplained = "mail.complained",
        /// A recipient's server has reported the delivery.
        MailDelivered = "mail.delivered",
        /// A recipient got nothing, because the address is on the list of those to which nothing is sent.
        MailSuppressed = "mail.suppressed",
        /// A user was created, changed or removed.
        UserChanged = "user.changed",
        /// A tenant was created, suspended or resumed.
        TenantChanged = "tenant.changed",
    }
}

impl OwnType {
    /// What is reported with an entry of the audit, if anything: what concerns people and tenants.
    pub fn of_action(action: &str) -> Option<Self> {
        match action.split_once('.')?.0 {
            "user" | "member" | "factor" => Some(Self::UserChanged),
            "tenant" => Some(Self::TenantChanged),
            _ => None,
        }
    }

    /// What is reported when a recipient of an email enters this state, if anything: that a server has taken it is nothing to
    /// act upon.
    pub fn of_recipient(state: RecipientState) -> Option<Self> {
        match state {
            RecipientState::Bounced => Some(Self::MailBounced),
            RecipientState::Complained => Some(Self::MailComplained),
            RecipientState::Delivered => Some(Self::MailDelivered),
            RecipientState::Suppressed => Some(Self::MailSuppressed),
            _ => None,
        }
    }

    /// What is reported when a batch is paused, or resumed.
    pub fn of_batch_pause(paused: bool) -> Self {
        if paused { Self::BatchPaused } else { Self::BatchResumed }
    }

    /// What is reported when a batch ends in this state.
    pub fn of_end(state: BatchState) -> Self {
        match state {
            BatchState::Halted => Self::BatchHalted,
            BatchState::Cancelled => Self::BatchCancelled,
            _ => Self::BatchCompleted,
        }
    }
}

/// Whether only this program may report events of this type.
pub fn is_own(kind: &str) -> bool {
    OwnType::from_str(kind).is_ok()
}
