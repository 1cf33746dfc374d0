//! The audit: list, show, export, verify.

use std::time::Duration;

use gristmill_client::http::Call;
use gristmill_core::id::INSTALLATION_TENANT;
use gristmill_service::audit::{Verified, VerifyOptions, verify};
use gristmill_service::documents::{AuditEntryDocument, AuditVerifiedDocument};
use gristmill_store::AuditFilter;
use serde_json::json;

use super::{Backend, part};
use crate::exit_code::{CommandError, Exit, Result};

/// How many entries an export reads at a time.
const PAGE_ROWS: u32 = 1_000;

/// How long a server may take to follow a chain.
const WHOLE: Duration = Duration::from_secs(3_600);

impl Backend<'_> {
    /// A page of entries, newest first.
    pub(crate) async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntryDocument>> {
        match self {
            Self::Store(local) => Ok(local.store().audit(filter).await?.into_iter().map(Into::into).collect()),
            Self::Server(server) => {
                let call = Call::get(&["audit"]).param("limit", filter.limit).maybe("after", filter.before);
                let call = call.maybe("actor", filter.actor.as_ref()).maybe("action", filter.action.as_ref());
                let call = call.maybe("target", filter.target.as_ref());
                let call = call.maybe("since", filter.since.map(|at| at.to_rfc3339()));
                let call = call.maybe("until", filter.until.map(|at| at.to_rfc3339()));
                server.look(&of(call, &filter.tenant)).await
            }
        }
    }

    /// One entry; `None` when there is none.
    pub(crate) async fn audit_entry(&self, tenant: &str, seq: u64) -> Result<Option<AuditEntryDocument>> {
        let server = match self {
            Self::Store(local) => {
                let Some(before) = seq.checked_sub(1) else { return Ok(None) };
                let found = local.store().audit_behind(tenant, before, 1).await?;
                return Ok(found.into_iter().find(|found| found.entry.seq == seq).map(Into::into));
            }
            Self::Server(server) => server,
        };
        match server.look(&of(Call::get(&["audit", &part(seq)]), tenant)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.exit == Exit::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the lines of all entries behind a number away, in pieces, as they come.
    pub(crate) async fn export_audit(
        &self,
        tenant: &str,
        mut behind: u64,
        mut take: impl FnMut(&[u8]) -> std::result::Result<(), String> + Send,
    ) -> Result<()> {
        let local = match self {
            Self::Store(local) => local,
            Self::Server(server) => {
                let call = of(Call::get(&["audit", "export"]).param("behind", behind), tenant);
                return server.download(&call, take).await;
            }
        };
        loop {
            let page = local.store().audit_behind(tenant, behind, PAGE_ROWS).await?;
            let Some(last) = page.last().map(|last| last.entry.seq) else { return Ok(()) };
            behind = last;
            for entry in page {
                let line = serde_json::to_string(&entry).map_err(CommandError::internal)?;
                take(format!("{line}\n").as_bytes()).map_err(|what| CommandError::new(Exit::Failed, what))?;
            }
        }
    }

    /// Follows the chain of a tenant. A server compares it with what it has itself as well.
    pub(crate) async fn verify_audit(&self, tenant: &str, options: &VerifyOptions) -> Result<Verified> {
        match self {
            Self::Store(local) => Ok(verify(local.store(), tenant, options).await?),
            Self::Server(server) => {
                let body = json!({ "keys": options.trusted_keys, "heads": options.heads });
                let call = of(Call::post(&["audit", "verify"]), tenant).body(&body).within(WHOLE);
                let found: AuditVerifiedDocument = server.look(&call).await?;
                let nothing = || CommandError::new(Exit::Failed, "the server says nothing of the chain");
                found.chains.into_iter().next().ok_or_else(nothing)
            }
        }
    }
}

/// Asks for a chain: the tenant's own is meant unless said.
fn of(call: Call, tenant: &str) -> Call {
    call.flag("installation", tenant == INSTALLATION_TENANT)
}
