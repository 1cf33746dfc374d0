//! Who may do what: the roles of a tenant's members, the permissions, and the one table that joins them.
//!
//! A [`Principal`] is a caller that has been recognized: a person, or a program with a token. What it may do follows from
//! its role in the tenant that it asks for, cut down to the scopes of its token. Permissions are never given one by one.
//! Everything that can be asked for names its permission in its types; nothing compares roles.

use crate::id::{TokenId, UserId};

crate::words! {
    /// The role of a member in a tenant.
    #[derive(PartialOrd, Ord)]
    pub enum Role {
        /// Everything, and the only one who appoints owners and gives up the tenant.
        Owner = "owner",
        /// Everything but what concerns owners and the tenant itself.
        Admin = "admin",
        /// Runs the daily work: starts, steers and mends, but changes no plan and deletes nothing that is not work.
        Operator = "operator",
        /// Looks at the work, without what it contains.
        Viewer = "viewer",
        /// Looks at everything, the audit included, and changes nothing.
        Auditor = "auditor",
    }
}

crate::words! {
    /// What may be asked for.
    #[derive(PartialOrd, Ord)]
    pub enum Permission {
        /// Lists and shows jobs and dead letters, without payloads and results.
        JobsRead = "jobs:read",
        /// Enqueues jobs.
        JobsEnqueue = "jobs:enqueue",
        /// Retries, cancels, redrives and edits jobs.
        JobsControl = "jobs:control",
        /// Discards dead letters.
        JobsDelete = "jobs:delete",
        /// Sees what jobs, items and results contain: payloads, quarantined items, outputs.
        ContentsRead = "contents:read",
        /// Lists and shows batches and chunks, with counts and sums.
        BatchesRead = "batches:read",
        /// Starts batches.
        BatchesStart = "batches:start",
        /// Pauses, resumes, cancels and restarts batches.
        BatchesControl = "batches:control",
        /// Deletes batches that have ended.
        BatchesDelete = "batches:delete",
        /// Lists quarantined items, without what they contain.
        QuarantineRead = "quarantine:read",
        /// Patches, redrives and imports quarantined items.
        QuarantineMend = "quarantine:mend",
        /// Lists and shows queues.
        QueuesRead = "queues:read",
        /// Pauses and resumes queues.
        QueuesControl = "queues:control",
        /// Deletes queues.
        QueuesDelete = "queues:delete",
        /// Lists and shows limits.
        LimitsRead = "limits:read",
        /// Sets and removes limits.
        LimitsChange = "limits:change",
        /// Lists and shows schedules, triggers, ticks and backfills.
        SchedulesRead = "schedules:read",
        /// Pauses, resumes, runs and backfills schedules.
        SchedulesControl = "schedules:control",
        /// Creates, edits and deletes schedules.
        SchedulesChange = "schedules:change",
        /// Lists and shows workers.
        WorkersRead = "workers:read",
        /// Retires workers.
        WorkersControl = "workers:control",
        /// Lists messages that cannot be read.
        PoisonRead = "poison:read",
        /// Redrives and discards messages that cannot be read.
        PoisonControl = "poison:control",
        /// Shows operations over many objects.
        OperationsRead = "operations:read",
        /// Cancels and undoes operations over many objects.
        OperationsControl = "operations:control",
        /// Shows definitions of batches, and what they expect.
        DefinitionsRead = "definitions:read",
        /// Shows health, sizes and the configuration in force.
        SystemRead = "system:read",
        /// Reconciles and prunes.
        SystemControl = "system:control",
        /// Lists members, invitations and tokens.
        UsersRead = "users:read",
        /// Invites, changes and removes members, and revokes their sessions and tokens.
        UsersChange = "users:change",
        /// Changes the tenant itself: its name, its owners.
        TenantChange = "tenant:change",
        /// Reads and verifies the audit.
        AuditRead = "audit:read",
        /// Lists and shows events, subscriptions and schemas; what events say only with `contents:read`.
        EventsRead = "events:read",
        /// Publishes events.
        EventsPublish = "events:publish",
        /// Pauses, resumes and replays subscriptions.
        EventsControl = "events:control",
        /// Creates, changes and removes subscriptions, and adds schemas.
        EventsChange = "events:change",
        /// Lists and shows emails, how far each is and for whom; addresses and contents only with `contents:read`.
        EmailsRead = "emails:read",
        /// Sends emails again, and says to which addresses nothing is sent.
        EmailsControl = "emails:control",
    }
}

impl Role {
    /// Whether a member with this role may do it. This is the whole table.
    pub fn allows(self, permission: Permission) -> bool {
        use Permission as P;
        match permission {
            P::JobsRead
            | P::BatchesRead
            | P::QuarantineRead
            | P::QueuesRead
            | P::LimitsRead
            | P::SchedulesRead
            | P::WorkersRead
            | P::OperationsRead
            | P::EmailsRead
            | P::EventsRead
            | P::DefinitionsRead => true,
            P::JobsEnqueue
            | P::JobsControl
            | P::BatchesStart
            | P::BatchesControl
            | P::QuarantineMend
            | P::QueuesControl
            | P::SchedulesControl
            | P::WorkersControl
            | P::PoisonControl
            | P::EmailsControl
            | P::EventsPublish
            | P::EventsControl
            | P::OperationsControl => matches!(self, Self::Owner | Self::Admin | Self::Operator),
            P::ContentsRead | P::PoisonRead | P::SystemRead => self != Self::Viewer,
            P::JobsDelete
            | P::BatchesDelete
            | P::QueuesDelete
            | P::LimitsChange
            | P::SchedulesChange
            | P::EventsChange
            | P::SystemControl
            | P::UsersChange => matches!(self, Self::Owner | Self::Admin),
            P::UsersRead | P::AuditRead => matches!(self, Self::Owner | Self::Admin | Self::Auditor),
            P::TenantChange => self == Self::Owner,
        }
    }

    /// Whether a member with this role may give and take that role: no member raises another above itself, and only
    /// owners appoint owners.
    pub fn may_appoint(self, other: Self) -> bool {
        match self {
            Self::Owner => true,
            Self::Admin => other != Self::Owner,
            Self::Operator | Self::Viewer | Self::Auditor => false,
        }
    }
}

/// Which caller it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A person who has logged in.
    User(UserId),
    /// A program with an API token, which belongs to a user.
    Token {
        /// The token.
        token: TokenId,
        /// Whose it is.
        user: UserId,
    },
    /// Any caller that can reach the listener, where the configuration asks none to log in.
    Anyone,
}

/// A caller that has been recognized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Which one.
    pub subject: Subject,
    /// Its name for people: an address of mail, or a token's name with its owner's.
    pub name: String,
    /// The tenant that it asks for.
    pub tenant: String,
    /// Its role there.
    pub role: Role,
    /// What its token is limited to; `None` without such a limit.
    pub scopes: Option<Vec<Permission>>,
    /// Whether it may also create, suspend and delete tenants: an owner of the installation.
    pub installation: bool,
}

impl Principal {
    /// Whether it may do that.
    pub fn may(&self, permission: Permission) -> bool {
        let in_scope = self.scopes.as_ref().is_none_or(|scopes| scopes.contains(&permission));
        in_scope && self.role.allows(permission)
    }
}
