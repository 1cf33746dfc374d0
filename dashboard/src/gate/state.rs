//! What all endpoints share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::access::{Principal, Role, Subject};
use gristmill_core::schedule::ScheduleSpec;
use gristmill_mail::signed::Signed;
use gristmill_service::Service;
use gristmill_service::accounts::Accounts;
use gristmill_service::audit::AuditSettings;
use gristmill_service::documents::SettingDocument;
use gristmill_service::retention::PrunerOptions;
use gristmill_service::start::RunContext;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::costs::Costs;
use super::error::{ApiError, ErrorCode, Result};
use super::rate::Rates;
use super::settings::ServeSettings;
use crate::auth::Recognize;
use crate::live::Hub;

/// What the program around knows and the rooms below do not: its kinds, its configuration, its surroundings.
pub trait Program: std::fmt::Debug + Send + Sync {
    /// Checks the name of a kind: one that is nearly a known one is misspelt, any other may be that of another program.
    ///
    /// # Errors
    ///
    /// What was probably meant.
    fn check_kind(&self, kind: &str) -> std::result::Result<(), String>;

    /// Checks the payload of a kind, as far as it knows that kind.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn check_payload(&self, kind: &str, payload: &Value) -> std::result::Result<(), String>;

    /// Checks what a schedule would start.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn check_schedule(&self, name: &str, spec: &ScheduleSpec) -> std::result::Result<(), String>;

    /// What a deletion goes by.
    fn pruner_options(&self) -> PrunerOptions;

    /// The key of the configuration that names a queue, if one does.
    fn names_queue(&self, queue: &str) -> Option<String>;

    /// Every setting in force, without secrets.
    fn settings(&self) -> Vec<SettingDocument>;

    /// What the audit is verified with: `[audit]`.
    fn audit(&self) -> AuditSettings;

    /// What signs the links in emails, if `[mail]` names a secret.
    fn mail_signing(&self) -> Option<&Signed>;

    /// The batch definitions by their names, without secrets.
    fn definitions(&self) -> BTreeMap<String, Value>;
}

/// What a server is made of.
#[derive(Debug)]
pub struct ApiParts {
    /// The verbs.
    pub service: Service,
    /// What batches and runs are created with.
    pub run_context: RunContext,
    /// The program around.
    pub program: Arc<dyn Program>,
    /// The settings in force.
    pub settings: ServeSettings,
    /// How long nothing of a body may come.
    pub stall: Duration,
    /// How often those who watch are told that the server is there.
    pub beat: Duration,
    /// Who recognizes callers.
    pub recognize: Arc<dyn Recognize>,
    /// The verbs over accounts.
    pub accounts: Accounts,
}

/// What all endpoints share. Clones are the same.
#[derive(Debug, Clone)]
pub struct Api(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    parts: ApiParts,
    rates: Rates,
    hub: Hub,
    verifying: Semaphore,
    costs: Costs,
}

/// How many chains of the audit are followed at once: each reads all of its entries.
const VERIFYING_MAX: usize = 2;

impl Api {
    /// Puts a server together.
    pub fn new(parts: ApiParts) -> Self {
        let rates = Rates::new(&parts.settings, parts.accounts.shared().clone());
        let hub = Hub::new(Arc::clone(parts.service.store()));
        let verifying = Semaphore::new(VERIFYING_MAX);
        Self(Arc::new(Shared { parts, rates, hub, verifying, costs: Costs::default() }))
    }

    /// The verbs.
    pub fn service(&self) -> &Service {
        &self.0.parts.service
    }

    /// The verbs over accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.0.parts.accounts
    }

    /// What batches and runs are created with.
    pub fn run_context(&self) -> &RunContext {
        &self.0.parts.run_context
    }

    /// The program around.
    pub fn program(&self) -> &dyn Program {
        &*self.0.parts.program
    }

    /// The settings in force.
    pub fn settings(&self) -> &ServeSettings {
        &self.0.parts.settings
    }

    /// How often those who watch are told that the server is there, and recognized anew.
    pub fn beat(&self) -> Duration {
        self.0.parts.beat
    }

    /// What is watched.
    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// What the pages have cost the database.
    pub fn costs(&self) -> &Costs {
        &self.0.costs
    }

    /// A turn to follow a chain of the audit.
    ///
    /// # Errors
    ///
    /// 503 when so many are being followed already.
    pub fn begin_to_verify(&self) -> Result<SemaphorePermit<'_>> {
        self.0.verifying.try_acquire().map_err(|_| {
            let busy = ApiError::new(ErrorCode::Unavailable, "other callers are having the audit verified; try again");
            ApiError { retry_after: Some(Duration::from_secs(5)), ..busy }
        })
    }

    /// How long nothing of a body may come.
    pub fn stall(&self) -> Duration {
        self.0.parts.stall
    }

    /// Who recognizes callers.
    pub(super) fn recognize(&self) -> &dyn Recognize {
        &*self.0.parts.recognize
    }

    pub(super) fn rates(&self) -> &Rates {
        &self.0.rates
    }

    /// A caller that reaches the listener, where none has to say who they are.
    pub(super) fn anyone(&self) -> Principal {
        Principal {
            subject: Subject::Anyone,
            name: "anyone".to_owned(),
            tenant: self.run_context().tenant.clone(),
            role: Role::Owner,
            scopes: None,
            installation: true,
        }
    }
}
