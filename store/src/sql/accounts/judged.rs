//! Rights over memberships, judged in the transaction that uses them.

use gristmill_core::access::Role;
use gristmill_core::id::UserId;
use gristmill_core::membership::{self, Changer, Refused};

use crate::accounts::Appointer;
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Sql, values};

const ROLE: &str = "
SELECT m.role FROM access_membership m JOIN access_user u ON u.id = m.user_id
WHERE m.tenant = $1 AND m.user_id = $2 AND ($3 OR u.state = 'active')";

const OTHER_OWNERS: &str = "
SELECT count(*) AS found FROM access_membership m JOIN access_user u ON u.id = m.user_id
WHERE m.tenant = $1 AND m.role = 'owner' AND u.state = 'active' AND m.user_id <> $2";

/// The role of a user in a tenant, whether the user is active or not.
pub(super) async fn role<S: Sql>(sql: &mut S, tenant: &str, user: UserId) -> Result<Option<Role>, S::Fault> {
    let row = sql.row(ROLE, values![tenant, user.0, true]).await?;
    Ok(row.map(|row| row.word("role")).transpose()?)
}

/// Refuses a change of a role that is not for the one who asks to make, or that leaves the tenant without an active
/// owner. The caller has locked the tenant.
pub(super) async fn change<S: Sql>(
    sql: &mut S,
    tenant: &str,
    by: Appointer,
    user: UserId,
    from: Option<Role>,
    to: Option<Role>,
) -> Result<(), S::Fault> {
    let changer = changer(sql, tenant, by, Some(user)).await??;
    let others = sql.row(OTHER_OWNERS, values![tenant, user.0]).await?;
    let others = others.map(|row| row.number("found")).transpose()?.unwrap_or(0);
    Ok(membership::judge(changer, from, to, others).map_err(refused)?)
}

/// Whether an invitation to a role is the inviter's to give: the refusal, where it is not.
pub(super) async fn invitation<S: Sql>(
    sql: &mut S,
    tenant: &str,
    by: Appointer,
    to: Role,
) -> Result<Result<()>, S::Fault> {
    let changer = changer(sql, tenant, by, None).await?;
    Ok(changer.and_then(|changer| membership::judge(changer, None, Some(to), 0).map_err(refused)))
}

/// The one who asks; the refusal, where they are no active member.
async fn changer<S: Sql>(
    sql: &mut S,
    tenant: &str,
    by: Appointer,
    whom: Option<UserId>,
) -> Result<Result<Changer>, S::Fault> {
    let Appointer::User(user) = by else { return Ok(Ok(Changer::Installation)) };
    let Some(row) = sql.row(ROLE, values![tenant, user.0, false]).await? else {
        return Ok(Err(StoreError::Denied(format!("the one who asks is no member of `{tenant}` any more"))));
    };
    let own = row.word("role")?;
    Ok(Ok(if whom == Some(user) { Changer::Themselves(own) } else { Changer::Member(own) }))
}

fn refused(refused: Refused) -> StoreError {
    match refused {
        Refused::NotTheirs { .. } => StoreError::Denied(refused.to_string()),
        Refused::LastOwner => StoreError::Conflict(refused.to_string()),
    }
}
