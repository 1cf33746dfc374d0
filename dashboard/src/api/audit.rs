//! The audit of the tenant: list, show, export, verify. That of the installation itself is for those who own it.

use gristmill_core::audit::SignedHead;
use gristmill_core::id::INSTALLATION_TENANT;
use gristmill_service::audit::{VerifyOptions, verify};
use gristmill_service::documents::{AuditEntryDocument, AuditVerifiedDocument};
use gristmill_store::AuditFilter;

use super::lines::{AuditLine, Lines};
use crate::gate::query::Paging;
use crate::gate::{
    Allowed, Answer, ApiError, Caller, ErrorCode, Fields, JsonBody, Moment, Object, Outcome, Parameters, Params, Path,
    Query, Result, Routes, perm,
};

/// The most keys that a request may name as trusted, and the most heads that it may bring.
const BROUGHT_MAX: usize = 1_000;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/audit", "What was ordered, newest first", list)
        .get_slowly("/api/v1/audit/export", "All entries with their hashes, oldest first", export)
        .get("/api/v1/audit/{number}", "One entry, with what it did", show)
        .post_slowly(
            "/api/v1/audit/verify",
            "Follow the chain, and say which entry is the first that does not fit",
            check,
        )
}

/// Whether the chain of the installation is meant.
#[derive(Debug, Clone, Copy)]
struct Chain {
    installation: bool,
}

impl Parameters for Chain {
    fn read(query: &mut Query) -> Self {
        let about =
            "The chain of the installation itself, of users without a tenant and of refused logins, for its owners";
        Self { installation: query.flag("installation", about) }
    }
}

impl Chain {
    /// Whose chain it is.
    fn tenant(self, caller: &Caller) -> Result<String> {
        match (self.installation, caller.principal.installation) {
            (false, _) => Ok(caller.tenant().to_owned()),
            (true, true) => Ok(INSTALLATION_TENANT.to_owned()),
            (true, false) => {
                let message = "the audit of the installation is for its owners; leave `installation` out";
                Err(ApiError::new(ErrorCode::Forbidden, message))
            }
        }
    }
}

/// What of the audit is wanted.
#[derive(Debug)]
struct Wanted(AuditFilter);

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        let Paging(page) = Paging::read(query);
        let before = page.after.as_deref().map(str::parse::<u64>);
        if matches!(before, Some(Err(_))) {
            query.fault("after", "is not the number of an entry");
        }
        Self(AuditFilter {
            tenant: String::new(),
            actor: query.one("actor", "Only by this actor"),
            action: query.one("action", "Only with this action, such as queue.pause"),
            target: query.one("target", "Only about this: a name or an id"),
            since: query.one::<Moment>("since", "Not before this instant").map(|moment| moment.0),
            until: query.one::<Moment>("until", "Before this instant").map(|moment| moment.0),
            before: before.and_then(std::result::Result::ok),
            limit: page.limit,
        })
    }
}

async fn list(
    caller: Allowed<perm::AuditRead>,
    Params((chain, Wanted(filter))): Params<(Chain, Wanted)>,
) -> Outcome<Vec<AuditEntryDocument>> {
    let filter = AuditFilter { tenant: chain.tenant(&caller)?, ..filter };
    let found: Vec<AuditEntryDocument> =
        caller.store_of(&filter.tenant).audit(&filter).await?.into_iter().map(AuditEntryDocument::from).collect();
    let full = found.len() >= filter.limit as usize;
    let next = found.last().filter(|_| full).map(|entry| entry.seq.to_string());
    Ok(Answer::page(found, next))
}

async fn show(
    caller: Allowed<perm::AuditRead>,
    Path(number): Path<u64>,
    Params(chain): Params<Chain>,
) -> Outcome<AuditEntryDocument> {
    let tenant = chain.tenant(&caller)?;
    let found = match number.checked_sub(1) {
        Some(before) => caller.store_of(&tenant).audit_behind(&tenant, before, 1).await?,
        None => Vec::new(),
    };
    let found = found.into_iter().find(|found| found.entry.seq == number);
    let missing = || ApiError::not_found(format!("the audit has no entry {number}"));
    Ok(Answer::new(found.ok_or_else(missing)?.into()))
}

/// Where an export begins.
#[derive(Debug)]
struct Behind(u64);

impl Parameters for Behind {
    fn read(query: &mut Query) -> Self {
        Self(query.one("behind", "Begin behind this number").unwrap_or(0))
    }
}

async fn export(
    caller: Allowed<perm::AuditRead>,
    Params((chain, Behind(behind))): Params<(Chain, Behind)>,
) -> Result<Lines<AuditLine>> {
    let tenant = chain.tenant(&caller)?;
    Ok(Lines::of_audit(caller.store_of(&tenant).clone(), tenant, behind))
}

/// What a chain is compared with besides what the server has.
#[derive(Debug)]
struct Brought {
    keys: Vec<String>,
    heads: Vec<SignedHead>,
}

impl Fields for Brought {
    const NAME: &'static str = "VerifyRequest";
    const EXAMPLE: &'static str = r#"{"keys": []}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let keys: Option<Vec<String>> =
            object.optional("keys", "Public keys, in hexadecimal, that are trusted as well");
        let heads: Option<Vec<SignedHead>> = object.optional("heads", "Signed heads that were kept elsewhere");
        let (keys, heads) = (keys.unwrap_or_default(), heads.unwrap_or_default());
        for (name, count) in [("keys", keys.len()), ("heads", heads.len())] {
            if count > BROUGHT_MAX {
                object.fault(name, format!("has {count} of them; at most {BROUGHT_MAX} are looked at"));
            }
        }
        Some(Self { keys, heads })
    }
}

async fn check(
    caller: Allowed<perm::AuditRead>,
    Params(chain): Params<Chain>,
    JsonBody(Brought { keys, heads }): JsonBody<Brought>,
) -> Outcome<AuditVerifiedDocument> {
    let tenant = chain.tenant(&caller)?;
    let _turn = caller.api().begin_to_verify()?;
    let settings = caller.api().program().audit();
    let read = tokio::task::spawn_blocking(move || VerifyOptions::of(&settings)).await;
    // What is wrong with the server's own files is for its log.
    let unread = |error: String| ApiError::internal(error);
    let read = read.map_err(|error| unread(error.to_string()))?;
    let mut options = read.map_err(|error| unread(error.to_string()))?;
    options.trusted_keys.extend(keys);
    options.heads.extend(heads);
    let found = verify(caller.store_of(&tenant), &tenant, &options).await?;
    Ok(Answer::new(AuditVerifiedDocument::new(vec![found])))
}
