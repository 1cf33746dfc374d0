//! Tenants.

use gristmill_core::access::Role;
use serde_json::json;

use super::{noted, person};
use crate::Page;
use crate::accounts::{NewTenant, Quotas, TenantChange, TenantView};
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Sql, values};

const CREATE: &str = "
INSERT INTO access_tenant (name, state, quotas, created_at) VALUES ($1, 'active', $2, now()) ON CONFLICT DO NOTHING";

const TENANTS: &str = "
SELECT name, state, reason, quotas, created_at, suspended_at,
       (SELECT count(*) FROM access_membership m WHERE m.tenant = t.name) AS members
FROM access_tenant t WHERE ($1::text IS NULL OR name > $1) AND ($2::text IS NULL OR name = $2) ORDER BY name LIMIT $3";

const SUSPEND: &str = "
UPDATE access_tenant SET state = 'suspended', reason = $2, suspended_at = now() WHERE name = $1 AND state = 'active'";

const RESUME: &str = "
UPDATE access_tenant SET state = 'active', reason = NULL, suspended_at = NULL WHERE name = $1 AND state = 'suspended'";

const QUOTAS: &str = "SELECT quotas FROM access_tenant WHERE name = $1 FOR UPDATE";

const SET_QUOTAS: &str = "UPDATE access_tenant SET quotas = $2 WHERE name = $1";

/// Creates a tenant.
pub(crate) async fn create<S: Sql>(sql: &mut S, tenant: &NewTenant) -> Result<TenantView, S::Fault> {
    let name = &tenant.name;
    check::tenant(name)?;
    if name.starts_with('@') {
        let what = format!("`{name}` cannot be a tenant: names that begin with `@` are the installation's own");
        return Err(StoreError::Invalid(what).into());
    }
    if sql.run(CREATE, values![name, check::json(&tenant.quotas)?]).await? == 0 {
        let what = format!("there is a tenant `{name}` already; choose another name");
        return Err(StoreError::Conflict(what).into());
    }
    if let Some(owner) = tenant.owner {
        person::join(sql, name, owner, Role::Owner).await?;
        person::forget_logins(sql, owner, None).await?;
    }
    noted::tenant(sql, name);
    noted::say(sql, |facts| {
        facts.set("owner", tenant.owner.map(|owner| owner.to_string()));
        facts.set("quotas", json!(tenant.quotas));
    });
    one(sql, name).await?.ok_or_else(|| person::no_tenant(name).into())
}

/// Tenants by name.
pub(crate) async fn list<S: Sql>(sql: &mut S, page: &Page) -> Result<Vec<TenantView>, S::Fault> {
    let rows = sql.rows(TENANTS, values![page.after.as_deref(), Option::<&str>::None, page.rows()]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// One tenant.
pub(crate) async fn one<S: Sql>(sql: &mut S, name: &str) -> Result<Option<TenantView>, S::Fault> {
    let row = sql.row(TENANTS, values![Option::<&str>::None, name, 1_u32]).await?;
    Ok(row.map(|row| view(&row)).transpose()?)
}

/// Suspends or resumes a tenant, or sets its quotas.
pub(crate) async fn change<S: Sql>(
    sql: &mut S,
    (name, change): &(&str, &TenantChange),
) -> Result<TenantView, S::Fault> {
    noted::say(sql, |facts| facts.in_chain(*name));
    match change {
        TenantChange::Suspend { reason } => {
            let reason = reason.as_deref().map(|reason| check::plain(reason, check::REASON_CHARS_MAX));
            sql.run(SUSPEND, values![*name, reason]).await?
        }
        TenantChange::Resume => sql.run(RESUME, values![*name]).await?,
        TenantChange::Quotas { quotas, seen } => set_quotas(sql, name, quotas, seen.as_ref()).await?,
    };
    one(sql, name).await?.ok_or_else(|| person::no_tenant(name).into())
}

async fn set_quotas<S: Sql>(sql: &mut S, name: &str, quotas: &Quotas, seen: Option<&Quotas>) -> Result<u64, S::Fault> {
    let row = sql.row(QUOTAS, values![name]).await?.ok_or_else(|| person::no_tenant(name))?;
    let was: Quotas = row.json("quotas")?;
    drop(row);
    if seen.is_some_and(|seen| *seen != was) {
        let what = format!("the quotas of `{name}` were changed meanwhile; look at them and try again");
        return Err(StoreError::Conflict(what).into());
    }
    if was == *quotas {
        return Ok(0);
    }
    noted::say(sql, |facts| facts.between(Some(json!(was)), Some(json!(quotas))));
    sql.run(SET_QUOTAS, values![name, check::json(quotas)?]).await
}

fn view(row: &impl Columns) -> Result<TenantView> {
    Ok(TenantView {
        name: row.text("name")?,
        state: row.word("state")?,
        reason: row.maybe_text("reason")?,
        quotas: row.json("quotas")?,
        members: row.number("members")?,
        created_at: row.instant("created_at")?,
        suspended_at: row.maybe_instant("suspended_at")?,
    })
}
