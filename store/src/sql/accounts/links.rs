//! Links that may be used once.

use gristmill_core::Instant;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::LinkId;
use gristmill_core::login::KEPT;

use super::{judged, login, noted, person};
use crate::Page;
use crate::accounts::{Appointer, InvitationView, Letter, LinkPurpose, LinkView, NewLink, Registration, SecretHash};
use crate::audit::Facts;
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Creating, Sql, values};

const USERS: &str = "SELECT count(*) AS found FROM access_user";

const HAS_ACCOUNT: &str = "
SELECT count(*) AS found FROM access_user WHERE email = $1 AND state = $2";

const EXISTS: &str = "SELECT count(*) AS found FROM access_user WHERE email = $1";

const IS_MEMBER: &str = "
SELECT count(*) AS found FROM access_membership m JOIN access_user u ON u.id = m.user_id
WHERE m.tenant = $1 AND u.email = $2";

const SENT: &str = "
SELECT count(*) AS found FROM access_link
WHERE email = $1 AND purpose = $2 AND created_at > $3 AND used_at IS NULL AND revoked_at IS NULL";

const REPLACE: &str = "
UPDATE access_link SET revoked_at = now()
WHERE purpose = $1 AND used_at IS NULL AND revoked_at IS NULL
  AND (email = $2 OR (email IS NULL AND $2::text IS NULL)) AND (tenant = $3 OR purpose <> 'invite')";

const CREATE: &str = "
INSERT INTO access_link (id, hash, purpose, email, tenant, role, by_user, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now(), $8)";

const OLD: &str = "DELETE FROM access_link WHERE expires_at < $1";

const LINK: &str = "
SELECT l.purpose, l.email, l.tenant, l.role, l.expires_at,
       (SELECT count(*) FROM access_user u WHERE u.email = l.email) AS accounts
FROM access_link l WHERE l.hash = $1 AND l.used_at IS NULL AND l.revoked_at IS NULL AND l.expires_at > now()";

const INVITATIONS: &str = "
SELECT l.id, l.email, l.tenant, l.role, u.email AS by_email, l.created_at, l.expires_at
FROM access_link l LEFT JOIN access_user u ON u.id = l.by_user
WHERE l.tenant = $1 AND l.purpose = 'invite' AND l.used_at IS NULL AND l.revoked_at IS NULL AND l.expires_at > now()
  AND ($2::uuid IS NULL OR l.id < $2) ORDER BY l.id DESC LIMIT $3";

const WITHDRAW: &str = "
UPDATE access_link SET revoked_at = now()
WHERE tenant = $1 AND id = $2 AND purpose = 'invite' AND used_at IS NULL AND revoked_at IS NULL
RETURNING email, role";

/// Creates a link, and enqueues its letter. The caller knows what may be published.
pub(crate) async fn create<S: Creating>(sql: &mut S, link: &NewLink) -> Result<bool, S::Fault> {
    let now = sql.now().await?;
    if !wanted(sql, link).await? || sent_lately(sql, link, now).await? {
        return Ok(false);
    }
    insert(sql, link, now).await?;
    Ok(true)
}

/// Writes a link, in place of those for the same address, tenant and purpose, and enqueues its letter.
async fn insert<S: Creating>(sql: &mut S, link: &NewLink, now: Instant) -> Result<(), S::Fault> {
    let email = link.email.as_ref().map(EmailAddress::as_str);
    let (tenant, role) = match &link.member {
        Some((tenant, role)) => (Some(tenant.as_str()), Some(role.as_str())),
        None => (None, None),
    };
    sql.run(OLD, values![now - KEPT]).await?;
    sql.run(REPLACE, values![link.purpose.as_str(), email, tenant]).await?;
    let by = match link.by {
        Appointer::Installation => None,
        Appointer::User(user) => Some(user.0),
    };
    let values =
        values![link.id.0, link.hash.to_vec(), link.purpose.as_str(), email, tenant, role, by, now + link.lifetime];
    sql.run(CREATE, values).await?;
    note(sql, link).await?;
    if let Some(Letter { job, .. }) = &link.letter {
        sql.enqueue(std::slice::from_ref(job)).await?;
    }
    Ok(())
}

/// Counts a wish for an account, and makes its link. The caller knows what may be published.
pub(crate) async fn register<S: Creating>(
    sql: &mut S,
    registration: &Registration,
) -> Result<Result<bool, (Instant, Instant)>, S::Fault> {
    let Registration { link, address, per_address, in_all } = registration;
    let (Some(email), LinkPurpose::Verify, Some(_)) = (&link.email, link.purpose, &link.letter) else {
        let what = "a registration is a link of purpose `verify`, with an address and a letter";
        return Err(StoreError::Invalid(what.to_owned()).into());
    };
    let now = sql.now().await?;
    let (here, all) = (format!("{REGISTERS}{address}"), REGISTERS.trim_end().to_owned());
    let waits = login::count_both(sql, [(&here, *per_address), (&all, *in_all)], now).await?;
    if let Some(until) = waits {
        return Ok(Err((until, now)));
    }
    let known = person::any(sql.row(EXISTS, values![email.as_str()]).await?.as_ref())?;
    if known || sent_lately(sql, link, now).await? {
        noted::say(sql, Facts::withhold);
        return Ok(Ok(false));
    }
    insert(sql, link, now).await?;
    Ok(Ok(true))
}

/// What the counts of wishes for accounts begin with, among those of tries from addresses.
const REGISTERS: &str = "registrations from ";

/// What the audit learns of a new link: never its secret, nor the hash of that.
async fn note<S: Sql>(sql: &mut S, link: &NewLink) -> Result<(), S::Fault> {
    if let Some(email) = &link.email {
        noted::address(sql, email).await?;
    }
    noted::say(sql, |facts| {
        facts.set("purpose", link.purpose.as_str());
        facts.set("mailed", link.letter.is_some());
        if let Some((tenant, role)) = &link.member {
            facts.in_chain(tenant);
            facts.set("role", role.as_str());
        }
    });
    Ok(())
}

/// Whether there is a person for whom the link could be.
async fn wanted<S: Sql>(sql: &mut S, link: &NewLink) -> Result<bool, S::Fault> {
    let email = link.email.as_ref().map(EmailAddress::as_str);
    match (link.purpose, email, &link.member) {
        (LinkPurpose::FirstOwner, None, Some((tenant, _))) => {
            person::lock(sql, tenant).await?;
            if person::any(sql.row(USERS, values![]).await?.as_ref())? {
                let what = "there are users already; ask one of the owners, or run `gristmill user link EMAIL`";
                return Err(StoreError::Conflict(what.to_owned()).into());
            }
            Ok(true)
        }
        (LinkPurpose::Invite, Some(email), Some((tenant, role))) => {
            person::lock(sql, tenant).await?;
            judged::invitation(sql, tenant, link.by, *role).await??;
            if person::any(sql.row(IS_MEMBER, values![tenant, email]).await?.as_ref())? {
                return Err(person::member_already(tenant).into());
            }
            Ok(true)
        }
        (LinkPurpose::Reset, Some(email), None) => {
            Ok(person::any(sql.row(HAS_ACCOUNT, values![email, "active"]).await?.as_ref())?)
        }
        (LinkPurpose::Verify, Some(email), None) => {
            Ok(person::any(sql.row(HAS_ACCOUNT, values![email, "unverified"]).await?.as_ref())?)
        }
        (purpose, ..) => {
            let what = format!("a link of purpose `{purpose}` is not made of this address and this tenant");
            Err(StoreError::Invalid(what).into())
        }
    }
}

/// Whether the address has been sent such a letter a few minutes ago.
async fn sent_lately<S: Sql>(sql: &mut S, link: &NewLink, now: Instant) -> Result<bool, S::Fault> {
    let (Some(letter), Some(email)) = (&link.letter, &link.email) else { return Ok(false) };
    let since = now - letter.once_in;
    let row = sql.row(SENT, values![email.as_str(), link.purpose.as_str(), since]).await?;
    Ok(person::any(row.as_ref())?)
}

/// What an unused link is for.
pub(crate) async fn look<S: Sql>(sql: &mut S, hash: &SecretHash) -> Result<Option<LinkView>, S::Fault> {
    let Some(row) = sql.row(LINK, values![hash.to_vec()]).await? else { return Ok(None) };
    Ok(Some(link_view(&row)?))
}

fn link_view(row: &impl Columns) -> Result<LinkView> {
    Ok(LinkView {
        purpose: row.word("purpose")?,
        email: row.maybe_text("email")?,
        tenant: row.maybe_text("tenant")?,
        role: row.maybe_text("role")?.map(|_| row.word("role")).transpose()?,
        has_account: row.number::<i64>("accounts")? > 0,
        expires_at: row.instant("expires_at")?,
    })
}

/// The open invitations of a tenant, newest first.
pub(crate) async fn invitations<S: Sql>(
    sql: &mut S,
    tenant: &str,
    page: &Page,
) -> Result<Vec<InvitationView>, S::Fault> {
    let rows = sql.rows(INVITATIONS, values![tenant, page.after_id()?, page.rows()]).await?;
    let view = |row: &S::Row| {
        Ok(InvitationView {
            id: row.id("id")?,
            email: row.text("email")?,
            tenant: row.text("tenant")?,
            role: row.word("role")?,
            by: row.maybe_text("by_email")?,
            created_at: row.instant("created_at")?,
            expires_at: row.instant("expires_at")?,
        })
    };
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Withdraws an invitation.
pub(crate) async fn withdraw<S: Sql>(sql: &mut S, (tenant, invitation): &(&str, LinkId)) -> Result<bool, S::Fault> {
    let Some(row) = sql.row(WITHDRAW, values![*tenant, invitation.0]).await? else { return Ok(false) };
    let (email, role) = (row.maybe_text("email")?, row.maybe_text("role")?);
    noted::tenant(sql, tenant);
    noted::say(sql, |facts| {
        email.into_iter().for_each(|email| facts.about(email));
        facts.set("role", role);
    });
    Ok(true)
}
