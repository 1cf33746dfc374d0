//! Emails: list, show, the message, resend; the list of addresses to which nothing is sent.

use gristmill_client::http::Call;
use gristmill_core::duration::{self, Span};
use gristmill_core::id::{BatchId, JobId};
use gristmill_service::Order;
use gristmill_service::control::add;
use gristmill_service::documents::{EmailDocument, EnqueuedOneDocument, MailingDocument, ReportDocument};
use gristmill_store::{
    ControlReport, EMAIL_BYTES_MAX, EmailFilter, EmailKey, EmailStat, EmailView, Page, SUPPRESSIONS_MAX, StatsFilter,
    Suppression, SuppressionView,
};
use serde_json::json;

use super::{Backend, paged, part};
use crate::cli::context::internal;
use crate::exit_code::{CommandError, Exit, Result};

impl Backend<'_> {
    /// A page of emails.
    pub(crate) async fn emails(&self, filter: &EmailFilter, page: &Page) -> Result<Vec<EmailView>> {
        match self {
            Self::Store(local) => Ok(local.store().emails(filter, page).await?),
            Self::Server(server) => {
                let hash = filter.address_hash.map(hex::encode);
                let call = Call::get(&["emails"]).maybe("state", filter.state).maybe("address_sha256", hash);
                let call = call.maybe("batch", filter.batch);
                server.look(&paged(call, page)).await
            }
        }
    }

    /// An email, whole; `None` when there is none.
    pub(crate) async fn email(&self, key: &str) -> Result<Option<EmailDocument>> {
        let server = match self {
            Self::Store(local) => return Ok(local.service.email(&named(local.tenant(), key)).await?),
            Self::Server(server) => server,
        };
        match server.look(&Call::get(&["emails", &part(key)])).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.exit == Exit::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The message of an email; `None` when there is none, or it is not kept any more.
    pub(crate) async fn email_content(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let server = match self {
            Self::Store(local) => return Ok(local.store().email_content(&named(local.tenant(), key)).await?),
            Self::Server(server) => server,
        };
        let mut bytes = Vec::new();
        let take = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            if bytes.len() > EMAIL_BYTES_MAX {
                Err("the server sends more than a message has".to_owned())
            } else {
                Ok(())
            }
        };
        match server.download(&Call::get(&["emails", &part(key), "raw"]), take).await {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.exit == Exit::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Enqueues the job of an email once more.
    pub(crate) async fn resend_email(&self, order: &Order, job: JobId) -> Result<EnqueuedOneDocument> {
        match self {
            Self::Store(local) => {
                let enqueued = local.service.resend_email(order, job).await?;
                let job = enqueued.ok_or_else(|| internal("the store enqueued nothing"))?;
                Ok(EnqueuedOneDocument { job })
            }
            Self::Server(server) => server.change(Call::post(&["emails", &part(job), "resend"]), order).await,
        }
    }

    /// How many recipients are in which state.
    pub(crate) async fn email_stats(&self, filter: &StatsFilter) -> Result<Vec<EmailStat>> {
        match self {
            Self::Store(local) => Ok(local.store().email_stats(filter).await?),
            Self::Server(server) => {
                let call = Call::get(&["email-stats"])
                    .param("by", filter.by)
                    .param("limit", filter.limit)
                    .maybe("batch", filter.batch)
                    .maybe("template", filter.template.as_deref())
                    .maybe("stream", filter.stream.as_deref())
                    .maybe("domain", filter.domain.as_deref())
                    .maybe("since", filter.since.map(duration::format));
                server.look(&call).await
            }
        }
    }

    /// How far the mailing of a batch is.
    pub(crate) async fn mailing(&self, batch: BatchId) -> Result<MailingDocument> {
        match self {
            Self::Store(local) => {
                let missing = || CommandError::not_found(format!("there is no batch {batch}"));
                local.store().batch(local.tenant(), batch).await?.ok_or_else(missing)?;
                Ok(local.service.mailing(local.tenant(), batch).await?)
            }
            Self::Server(server) => server.look(&Call::get(&["batches", &part(batch), "mailing"])).await,
        }
    }

    /// Tries messages of a batch again.
    pub(crate) async fn resend_mailing(&self, order: &Order, batch: BatchId) -> Result<ControlReport> {
        match self {
            Self::Store(local) => Ok(local.service.resend_mailing(order, batch).await?),
            Self::Server(server) => {
                let call = Call::post(&["batches", &part(batch), "mailing", "resend"]);
                Ok(server.change::<ReportDocument>(call, order).await?.into())
            }
        }
    }

    /// A page of the list, or the entries of one address.
    pub(crate) async fn suppressions(&self, of: Option<[u8; 32]>, page: &Page) -> Result<Vec<SuppressionView>> {
        match self {
            Self::Store(local) => match of {
                Some(hash) => Ok(local.store().suppressions_of(local.tenant(), &hash).await?),
                None => Ok(local.store().suppressions(local.tenant(), page).await?),
            },
            Self::Server(server) => {
                let call = Call::get(&["suppressions"]).maybe("address_sha256", of.map(hex::encode));
                server.look(&paged(call, page)).await
            }
        }
    }

    /// Puts addresses on the list. All are for the same stream and reason.
    pub(crate) async fn suppress(&self, order: &Order, entries: &[Suppression]) -> Result<ControlReport> {
        let server = match self {
            Self::Store(local) => return Ok(local.service.suppress(order, entries).await?),
            Self::Server(server) => server,
        };
        let mut total = ControlReport::default();
        for group in entries.chunks(SUPPRESSIONS_MAX) {
            let hashes: Vec<String> = group.iter().map(|entry| hex::encode(entry.address_hash)).collect();
            let Some(first) = group.first() else { continue };
            let body = json!({
                "address_sha256s": hashes,
                "stream": first.stream,
                "reason": first.reason,
                "note": first.note,
                "for": first.keep.map(Span),
            });
            let report: ReportDocument = server.change(Call::post(&["suppressions"]).body(&body), order).await?;
            add(&mut total, report.into());
        }
        Ok(total)
    }

    /// Takes an address off the list.
    pub(crate) async fn unsuppress(&self, order: &Order, hash: &[u8; 32], stream: &str) -> Result<ControlReport> {
        let server = match self {
            Self::Store(local) => return Ok(local.service.unsuppress(order, hash, stream).await?),
            Self::Server(server) => server,
        };
        let call = Call::delete(&["suppressions", &hex::encode(hash)]).param("stream", stream);
        match server.change::<ReportDocument>(call, order).await {
            Ok(report) => Ok(report.into()),
            Err(error) if error.exit == Exit::NotFound => Ok(ControlReport::default()),
            Err(error) => Err(error),
        }
    }
}

fn named(tenant: &str, key: &str) -> EmailKey {
    EmailKey { tenant: tenant.to_owned(), key: key.to_owned() }
}
