//! What the planner is held to, and where that is set: once for each session, or in each transaction.
//!
//! A server takes the settings with the connection. A pooler that gives a connection to another client after each
//! transaction must not: others would plan under our settings. PgBouncer refuses them at the start or drops them, and
//! either is noticed here; then each transaction sets them for itself, and whatever is a single statement becomes a
//! transaction of several.

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

/// Keeps the planner to the plans that these statements are written for: arrays joined to tables by their keys, and
/// tables read row by row in the order of an index. Statistics alone cannot achieve that: they were taken when a table
/// was nearly empty, and now it holds a million rows. Sorting is allowed: each statement that reads in the order of an
/// index has that index as its only way, and one that sorts a few rows must not walk a whole table to have them in order
/// (`store/tests/plans/` looks at all of them). A statement is planned once for each connection: its parameters change
/// nothing, and planning takes longer than many a transition.
const HELD: [(&str, &str); 6] = [
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// The same for one transaction.
pub const PLANNER: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
                           SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; \
                           SET LOCAL plan_cache_mode = force_generic_plan";

/// An operator's commands, views and a user's own statements are planned as usual, but for the compiler, whose work
/// costs more than it saves.
const FREE: &str = "SET LOCAL jit = off";

/// The same where the session is held.
const FREE_HERE: &str = "SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_hashjoin = on; \
                         SET LOCAL enable_mergejoin = on; SET LOCAL jit = off; SET LOCAL plan_cache_mode = auto";

/// Shows whether the settings have arrived. A setting with a dot in its name may be anything.
const MARK: (&str, &str) = ("gristmill.session", "held");

/// Where the planner is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    /// In the whole session.
    Held,
    /// In each transaction that needs it.
    Free,
}

impl Session {
    /// Opens a pool whose sessions are held where the server allows that; returns with which options. The sessions of
    /// the pool, and only they, also limit a statement that no transaction of ours limits: to this many milliseconds.
    pub(super) async fn open(
        pool: PgPoolOptions,
        options: PgConnectOptions,
        statement: u128,
    ) -> Result<(PgPool, PgConnectOptions, Self), sqlx::Error> {
        let held = options.clone().options(HELD.into_iter().chain([MARK]));
        match pool.clone().connect_with(Self::Held.limited(held.clone(), statement)).await {
            Ok(pool) if marked(&pool).await? => return Ok((pool, held, Self::Held)),
            Ok(_) => tracing::debug!("a pooler has dropped our settings; each transaction sets them for itself"),
            Err(sqlx::Error::Database(refusal)) if is_of_a_pooler(refusal.as_ref()) => {
                tracing::debug!(%refusal, "a pooler refuses our settings; each transaction sets them for itself");
            }
            Err(error) => return Err(error),
        }
        Ok((pool.connect_with(options.clone()).await?, options, Self::Free))
    }

    /// The same options for sessions in which a statement may take no longer than this many milliseconds.
    pub(super) fn limited(self, options: PgConnectOptions, statement: u128) -> PgConnectOptions {
        match self {
            Self::Held => options.options([("statement_timeout", statement)]),
            Self::Free => options,
        }
    }

    /// What a transaction begins with whose statements are ours.
    pub(super) fn held(self) -> &'static str {
        match self {
            Self::Held => "",
            Self::Free => PLANNER,
        }
    }

    /// What a transaction of the user's own begins with: how long its statements may take is not ours to say.
    pub(super) fn users(self) -> String {
        match self {
            Self::Held => format!("{FREE_HERE}; SET LOCAL statement_timeout = 0"),
            Self::Free => FREE.to_owned(),
        }
    }

    /// What any other transaction begins with.
    pub(super) fn free(self) -> &'static str {
        match self {
            Self::Held => FREE_HERE,
            Self::Free => FREE,
        }
    }
}

/// Whether the settings have arrived.
async fn marked(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let mark = sqlx::query_scalar("SELECT current_setting($1, true)").bind(MARK.0).persistent(false);
    let mark: Option<String> = mark.fetch_one(pool).await?;
    Ok(mark.as_deref() == Some(MARK.1))
}

/// PgBouncer: `unsupported startup parameter`, with the code of a protocol violation.
fn is_of_a_pooler(refusal: &dyn sqlx::error::DatabaseError) -> bool {
    refusal.code().as_deref() == Some("08P01") && refusal.message().contains("startup parameter")
}
