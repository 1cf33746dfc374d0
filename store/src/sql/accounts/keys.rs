//! The keys that sign access tokens: one of them at a time.

use gristmill_core::id::{INSTALLATION_TENANT, KeyId};

use super::noted;
use crate::accounts::{KeyView, NewKey, SigningKey};
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql::{Columns, Sql, values};

const SIGNING: &str = "SELECT id, secret FROM access_key WHERE signs IS NOT NULL";

const KEYS: &str = "
SELECT id, public, CASE WHEN signs IS NULL THEN 0 ELSE 1 END AS signing, created_at, ends_at FROM access_key
WHERE ends_at IS NULL OR ends_at > now() ORDER BY id DESC";

const RETIRE: &str = "UPDATE access_key SET signs = NULL, secret = NULL, ends_at = $1 WHERE signs IS NOT NULL";

const OVER: &str = "DELETE FROM access_key WHERE ends_at <= now()";

/// Of many at once that find no key one adds one.
const ADD: &str = "
INSERT INTO access_key (id, public, secret, signs, created_at) VALUES ($1, $2, $3, $4, now()) ON CONFLICT DO NOTHING";

const WITHDRAW: &str = "DELETE FROM access_key WHERE id = $1";

/// How long the public half of a key is.
const PUBLIC_BYTES: usize = 32;

/// The most bytes of a secret half, as it is stored.
const SECRET_BYTES_MAX: usize = 256;

/// The key that signs.
pub(crate) async fn signing<S: Sql>(sql: &mut S) -> Result<Option<SigningKey>, S::Fault> {
    let Some(row) = sql.row(SIGNING, values![]).await? else { return Ok(None) };
    Ok(Some(SigningKey { id: row.id("id")?, secret: row.bytes("secret")? }))
}

/// The keys by which tokens are verified.
pub(crate) async fn list<S: Sql>(sql: &mut S) -> Result<Vec<KeyView>, S::Fault> {
    let rows = sql.rows(KEYS, values![]).await?;
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

fn view(row: &impl Columns) -> Result<KeyView> {
    Ok(KeyView {
        id: row.id("id")?,
        public: row.bytes("public")?.iter().map(|byte| format!("{byte:02x}")).collect(),
        signs: row.number::<i64>("signing")? > 0,
        created_at: row.instant("created_at")?,
        ends_at: row.maybe_instant("ends_at")?,
    })
}

/// Adds a key that signs.
pub(crate) async fn add<S: Sql>(sql: &mut S, key: &NewKey) -> Result<bool, S::Fault> {
    if key.public.len() != PUBLIC_BYTES {
        return Err(StoreError::Invalid(format!("the public half of a key has {PUBLIC_BYTES} bytes")).into());
    }
    check::at_most(key.secret.len(), SECRET_BYTES_MAX, "bytes of a key's secret half")?;
    let replaced = match key.replaces {
        None => 0,
        Some(verifies) => {
            let ends_at = sql.now().await? + verifies;
            sql.run(OVER, values![]).await?;
            sql.run(RETIRE, values![ends_at]).await?
        }
    };
    let added = sql.run(ADD, values![key.id.0, key.public.clone(), key.secret.clone(), true]).await? > 0;
    if !added && key.replaces.is_some() {
        // Another one was added since the one before it was retired here.
        return Err(StoreError::Conflict("another key began to sign at this moment; look which one".to_owned()).into());
    }
    if added {
        noted::tenant(sql, INSTALLATION_TENANT);
        noted::set(sql, "replaced", replaced > 0);
    }
    Ok(added)
}

/// Withdraws a key.
pub(crate) async fn withdraw<S: Sql>(sql: &mut S, key: &KeyId) -> Result<bool, S::Fault> {
    let there = sql.run(WITHDRAW, values![key.0]).await? > 0;
    if there {
        noted::tenant(sql, INSTALLATION_TENANT);
    }
    Ok(there)
}
