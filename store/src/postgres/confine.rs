//! Tenants kept apart by the server: a handle that is confined to one takes the role of `[store] api_role` in each of its
//! transactions and says whose it is, and the policies of the tables (migration 0022) let it see and write nothing else.
//!
//! Both are said with the statement that begins the transaction, so that they cost no answer of the server, and both are
//! over with it: a pooler that gives the connection to another client finds it as it was.

use std::borrow::Cow;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use super::PostgresStore;
use super::fault::in_words;
use crate::RowSecurity;
use crate::error::{Result, StoreError};

/// What the role may do beside working with the rows of its tenant: with what is no tenant's, all; and of who may use the API
/// it sees no secret. A lock on a tenant's row, as quotas take it, needs the right to change something of it.
const GRANTS: [&str; 4] = [
    "GRANT SELECT, INSERT, UPDATE, DELETE ON discarded, job_limit, leader, managed, outbox, poison, pruned, queue_spec, \
     worker TO {role}",
    "GRANT SELECT (id, email, name, state, installation, created_at, last_login_at) ON access_user TO {role}",
    "GRANT SELECT ON access_tenant, access_membership, access_token, access_link, confined_role, event_head TO {role}",
    "GRANT UPDATE (name) ON access_tenant TO {role}",
];

/// The tables with rows of a tenant's work: each has a policy, and none is about who may use the API.
const WORK: &str = "
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid AND p.polname = 'tenant_rows'
WHERE c.relnamespace = current_schema()::regnamespace AND NOT starts_with(c.relname, 'access_') ORDER BY 1";

/// What is wrong, one text a row. `$1` is the role.
const FAULTS: &str = "
WITH role AS (SELECT oid, rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = $1)
SELECT 'there is no role of that name' AS fault WHERE NOT EXISTS (SELECT 1 FROM role)
UNION ALL SELECT 'it is a superuser, or bypasses row security, so that nothing is kept from it'
FROM role WHERE rolsuper OR rolbypassrls
UNION ALL SELECT 'the user of the connection is no member of it' FROM role WHERE NOT pg_has_role(current_user, oid, 'MEMBER')
UNION ALL SELECT 'it is not among the confined roles of this database'
FROM role WHERE NOT EXISTS (SELECT 1 FROM confined_role WHERE name = rolname)
UNION ALL SELECT 'it owns the table ' || c.relname FROM role JOIN pg_class c ON c.relowner = role.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
UNION ALL SELECT 'the table ' || c.relname || ' has no policy' FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND a.attname = 'tenant' AND NOT a.attisdropped
  AND NOT (c.relrowsecurity AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid))
UNION ALL SELECT 'it may not read the table ' || c.relname FROM role
JOIN pg_policy p ON p.polname = 'tenant_rows' JOIN pg_class c ON c.oid = p.polrelid
WHERE c.relnamespace = current_schema()::regnamespace AND NOT starts_with(c.relname, 'access_')
  AND NOT has_table_privilege(role.oid, c.oid, 'SELECT')
LIMIT 5";

/// What a transaction of a tenant begins with.
pub(super) fn begins(role: &str, tenant: &str) -> String {
    format!("SET LOCAL ROLE {}; SET LOCAL gristmill.tenant = {}", identifier(role), literal(tenant))
}

/// A name as a statement has it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""))
}

/// A text as a statement has it, whatever the server takes a backslash for.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''").replace('\0', ""))
}

impl PostgresStore {
    /// What a transaction begins with, and whose it is, where it is confined.
    pub(super) fn confining<'s>(&self, setting: &'s str) -> Cow<'s, str> {
        match &self.confined {
            None => Cow::Borrowed(setting),
            Some(confined) => Cow::Owned(format!("{setting}; {confined}")),
        }
    }

    /// The role of transactions that are confined to a tenant, where one is named.
    fn api_role(&self) -> Option<&str> {
        self.api_role.as_deref()
    }

    /// A handle of the same store that is confined to a tenant, where a role for that is named.
    pub(super) fn of_tenant(&self, tenant: &str) -> Self {
        let mut of_tenant = self.clone();
        of_tenant.confined = self.api_role().map(|role| begins(role, tenant).into());
        of_tenant
    }

    /// What the server says of the role.
    pub(super) async fn security(&self) -> Result<Option<RowSecurity>> {
        let Some(role) = self.api_role() else { return Ok(None) };
        let mut held = self.held().await?;
        let asked = sqlx::query_scalar(FAULTS).bind(role).fetch_all(&mut *held);
        let faults = self.answer(asked).await?;
        held.answered();
        Ok(Some(RowSecurity { role: role.to_owned(), faults }))
    }

    /// Makes the role, lets the user of the connection take it, and gives it its rights. Each of it bears to be repeated.
    pub(super) async fn make_role(&self) -> Result<RowSecurity> {
        let Some(role) = self.api_role() else {
            let what = "no role is named: set `[store] api_role`, such as `gristmill_api`";
            return Err(StoreError::Invalid(what.to_owned()));
        };
        let mut conn = match self.options().connect().await {
            Ok(conn) => conn,
            Err(error) => return Err(self.explain(&error).await),
        };
        let made = statements(&mut conn, role).await;
        let _ = conn.close().await;
        made.map_err(|(statement, error)| match in_words(&error) {
            unavailable @ StoreError::Unavailable(_) => unavailable,
            other => StoreError::Denied(format!(
                "{other}; have an administrator of the server say `{statement}`, and do this again"
            )),
        })?;
        self.security().await?.ok_or_else(|| StoreError::Invalid("no role is named".to_owned()))
    }
}

/// What the server says of a role that is there already: a duplicate object, or a duplicate key, at the same moment.
const THERE: [&str; 2] = ["42710", "23505"];

/// A statement that was refused, and why.
type Refused = (String, sqlx::Error);

/// Runs what is missing.
async fn statements(conn: &mut PgConnection, role: &str) -> std::result::Result<(), Refused> {
    let named = identifier(role);
    let there: bool = one(conn, "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)", role).await?;
    if !there {
        match run(conn, format!("CREATE ROLE {named} NOLOGIN NOINHERIT")).await {
            // Another process was first.
            Err((_, sqlx::Error::Database(error))) if error.code().is_some_and(|code| THERE.contains(&&*code)) => {}
            made => made?,
        }
    }
    let user: String = one(conn, "SELECT quote_ident(current_user) WHERE $1 <> ''", role).await?;
    let member: bool = one(conn, "SELECT pg_has_role(current_user, $1, 'MEMBER')", role).await?;
    if !member {
        run(conn, format!("GRANT {named} TO {user}")).await?;
    }
    run(conn, format!("INSERT INTO confined_role (name) VALUES ({}) ON CONFLICT DO NOTHING", literal(role))).await?;
    run(conn, "SELECT confine_tenants()".to_owned()).await?;
    let schema: String = one(conn, "SELECT quote_ident(current_schema()) WHERE $1 <> ''", role).await?;
    run(conn, format!("GRANT USAGE ON SCHEMA {schema} TO {named}")).await?;
    let work = sqlx::query_scalar(WORK).fetch_all(&mut *conn).await;
    let work: Vec<String> = work.map_err(|error| (WORK.to_owned(), error))?;
    run(conn, format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {named}", work.join(", "))).await?;
    for grant in GRANTS {
        run(conn, grant.replace("{role}", &named)).await?;
    }
    Ok(())
}

async fn run(conn: &mut PgConnection, statement: String) -> std::result::Result<(), Refused> {
    let done = conn.execute(AssertSqlSafe(statement.clone())).await;
    done.map(drop).map_err(|error| (statement, error))
}

async fn one<T>(conn: &mut PgConnection, statement: &'static str, role: &str) -> std::result::Result<T, Refused>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let asked = sqlx::query_scalar(statement).bind(role).fetch_one(conn).await;
    asked.map_err(|error| (statement.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_anything_but_a_name() {
        let said = begins("a\"; DROP ROLE b; --", "main'; RESET ROLE; --\\");
        let whole =
            "SET LOCAL ROLE \"a\"\"; DROP ROLE b; --\"; SET LOCAL gristmill.tenant = E'main''; RESET ROLE; --\\\\'";
        assert_eq!(said, whole);
    }
}
