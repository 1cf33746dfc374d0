//! The one connection that writes, and the turns at it.
//!
//! A statement goes to the connection's own thread and its answer comes back: two wake-ups, which under light load cost
//! more than the statement. Therefore the connection stays with its turns instead of returning to a pool, which checks
//! it each time with a round of its own, and a transaction begins and ends in as few rounds as it can: its `BEGIN` goes
//! with the question for the time, its `COMMIT` with the last statement.
//!
//! A commit waits for the disk, however little it writes. A transaction that ends while others wait for their turn does
//! not commit: those join it, each within a savepoint of its own, and one commit is for all of them. None has an
//! answer before that commit, and none waits for others to come: a group is closed by those that waited when its first
//! member ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool};
use sqlx::{Error, Sqlite};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use super::error::{copy, database};
use crate::error::{Result, StoreError};

/// A statement with its parameters.
pub(super) type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// The database's own clock, in microseconds, accurate to a millisecond.
macro_rules! now {
    () => {
        "SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000"
    };
}
pub(super) use now;

/// Immediate: a transaction that reads first and then writes could otherwise be refused halfway, when another process
/// has written in between.
const BEGIN: &str = concat!("BEGIN IMMEDIATE; ", now!());

const JOIN: &str = concat!("SAVEPOINT member; ", now!());

const LEAVE: &str = "RELEASE member";

const TAKE_BACK: &str = "ROLLBACK TO member; RELEASE member";

/// What SQLite says where there is no transaction to roll back, because it has rolled back by itself, or has not begun.
const NO_TRANSACTION: &str = "no transaction is active";

/// The connection that writes. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    /// Opens it, and once more when it is lost.
    pool: SqlitePool,
    kept: Arc<Mutex<Kept>>,
    /// How many wait for a turn who may join a group.
    coming: Arc<AtomicUsize>,
    /// How long to wait for a turn.
    wait: Duration,
}

#[derive(Debug, Default)]
struct Kept {
    /// Not the pool's any more: it would have to hear of it when this is dropped, where no runtime may be left to do it.
    conn: Option<SqliteConnection>,
    unfinished: Unfinished,
    /// Those whose transactions have ended and are not committed yet. There is an open transaction as long as this is
    /// not empty, and a task that will commit it.
    group: Vec<oneshot::Sender<Result<()>>>,
}

/// What is known to have begun, and not known to have ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Unfinished {
    #[default]
    Nothing,
    /// A transaction.
    Whole,
    /// A member of a group.
    Member,
}

/// The right to use the connection. What is unfinished when this is dropped is rolled back.
#[derive(Debug)]
pub(super) struct Turn {
    kept: Option<OwnedMutexGuard<Kept>>,
    writer: Writer,
}

/// Counts one that waits for a turn.
struct Coming<'w>(&'w AtomicUsize);

impl Writer {
    /// Of a pool of one connection.
    pub(super) fn new(pool: SqlitePool, wait: Duration) -> Self {
        Self { pool, kept: Arc::default(), coming: Arc::default(), wait }
    }

    /// Waits for a turn, for something that takes long: none should wait for its end to be committed, so that a group
    /// is committed before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when others keep it for too long; those of opening the file.
    pub(super) async fn turn(&self) -> Result<Turn> {
        let mut turn = self.any_turn().await?;
        turn.kept()?.commit_group().await;
        Ok(turn)
    }

    /// Waits for a turn, for something short: it may join a group.
    ///
    /// # Errors
    ///
    /// As [`Writer::turn`].
    pub(super) async fn short_turn(&self) -> Result<Turn> {
        let _coming = Coming::of(&self.coming);
        self.any_turn().await
    }

    async fn any_turn(&self) -> Result<Turn> {
        let kept = timeout(self.wait, Arc::clone(&self.kept).lock_owned()).await;
        let kept = kept.map_err(|_| database(Error::PoolTimedOut))?;
        let mut turn = Turn { kept: Some(kept), writer: self.clone() };
        turn.kept()?.roll_back().await;
        if turn.kept()?.conn.is_none() {
            let conn = self.pool.acquire().await.map_err(database)?;
            turn.kept()?.conn = Some(conn.detach());
        }
        Ok(turn)
    }

    /// Commits what ends while others wait, once they have ended, too. Its place is behind all who wait now, and before
    /// all who come later.
    async fn commit_later(&self) {
        let mut place = Box::pin(Arc::clone(&self.kept).lock_owned());
        // The caller has the turn: it only takes its place.
        if futures::poll!(place.as_mut()).is_pending() {
            tokio::spawn(async move { place.await.commit_group().await });
        }
    }

    /// How many wait for a turn who may join a group.
    #[cfg(test)]
    pub(super) fn coming(&self) -> usize {
        self.coming.load(Ordering::Acquire)
    }

    /// The pool, with the connection in it.
    #[cfg(feature = "testing")]
    pub(super) async fn pool(&self) -> &SqlitePool {
        self.kept.lock().await.conn = None;
        &self.pool
    }
}

impl Turn {
    fn kept(&mut self) -> Result<&mut Kept> {
        self.kept.as_deref_mut().ok_or_else(|| database(Error::PoolClosed))
    }

    /// The connection.
    ///
    /// # Errors
    ///
    /// None while this lives: it is there.
    pub(super) fn conn(&mut self) -> Result<&mut SqliteConnection> {
        self.kept()?.conn()
    }

    /// Begins a transaction, or joins one, and returns the database's time in microseconds.
    ///
    /// # Errors
    ///
    /// Those of SQLite.
    pub(super) async fn begin(&mut self) -> Result<i64> {
        let kept = self.kept()?;
        let (unfinished, begin) =
            if kept.group.is_empty() { (Unfinished::Whole, BEGIN) } else { (Unfinished::Member, JOIN) };
        // Before it begins: from here on it is rolled back unless it is known to have ended.
        kept.unfinished = unfinished;
        sqlx::query_scalar(begin).fetch_one(kept.conn()?).await.map_err(database)
    }

    /// Runs the last statement, if there is one, and commits, or leaves that to those who come.
    ///
    /// # Errors
    ///
    /// Those of SQLite: then nothing has happened.
    pub(super) async fn end(mut self, last: Option<Last>) -> Result<()> {
        let anyone_comes = self.writer.coming.load(Ordering::Acquire) > 0;
        let kept = self.kept()?;
        let (joined, commits) = (kept.unfinished == Unfinished::Member, kept.group.is_empty() && !anyone_comes);
        let query = match last {
            Some(last) if commits => Some(last.and_commit),
            Some(last) if joined => Some(last.and_leave),
            Some(last) => Some(last.alone),
            None if commits => Some(sqlx::query("COMMIT")),
            None if joined => Some(sqlx::query(LEAVE)),
            None => None,
        };
        if let Some(query) = query {
            query.execute(kept.conn()?).await.map_err(database)?;
        }
        kept.unfinished = Unfinished::Nothing;
        if commits {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        kept.group.push(answer);
        if !joined {
            self.writer.commit_later().await;
        }
        drop(self);
        answered.await.unwrap_or_else(|_| Err(lost()))
    }
}

/// The last statement of a transaction, in three forms: one round, however the transaction ends.
pub(super) struct Last {
    pub(super) alone: Query,
    pub(super) and_commit: Query,
    pub(super) and_leave: Query,
}

impl Drop for Turn {
    /// Rolls back at once, because others wait; where no runtime does it any more, the next turn does.
    fn drop(&mut self) {
        if let Some(mut kept) = self.kept.take().filter(|kept| kept.unfinished != Unfinished::Nothing)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { kept.roll_back().await });
        }
    }
}

impl Kept {
    fn conn(&mut self) -> Result<&mut SqliteConnection> {
        self.conn.as_mut().ok_or_else(|| database(Error::PoolClosed))
    }

    async fn execute(&mut self, statement: &'static str) -> Result<()> {
        sqlx::query(statement).execute(self.conn()?).await.map(drop).map_err(database)
    }

    /// Rolls back what is unfinished. A commit that was broken off may have happened: those for whom it was learn that this
    /// is not known, and are not confirmed by a later one. A member that cannot be taken back shows that SQLite has rolled back the whole
    /// transaction by itself, as it does on a full disk: then nothing of the group has happened either.
    async fn roll_back(&mut self) {
        if self.unfinished == Unfinished::Whole {
            self.fail_group(&StoreError::Unavailable("it is not known whether it was committed".to_owned()));
        }
        if self.unfinished == Unfinished::Member {
            match self.execute(TAKE_BACK).await {
                Ok(()) => self.unfinished = Unfinished::Nothing,
                Err(error) => self.fail_group(&StoreError::Unavailable(format!(
                    "SQLite has rolled back the transaction that it went with: {error}"
                ))),
            }
        }
        if self.unfinished == Unfinished::Nothing {
            return;
        }
        if let Err(error) = self.execute("ROLLBACK").await
            && !error.to_string().contains(NO_TRANSACTION)
        {
            self.give_up(&error);
        }
        self.unfinished = Unfinished::Nothing;
    }

    async fn commit_group(&mut self) {
        self.roll_back().await;
        if self.group.is_empty() {
            return;
        }
        self.unfinished = Unfinished::Whole;
        match self.execute("COMMIT").await {
            Ok(()) => {
                self.unfinished = Unfinished::Nothing;
                // One that has given up does not hear it.
                self.group.drain(..).for_each(|member| drop(member.send(Ok(()))));
            }
            Err(error) => {
                self.fail_group(&error);
                self.roll_back().await;
            }
        }
    }

    fn fail_group(&mut self, error: &StoreError) {
        self.unfinished = Unfinished::Whole;
        self.group.drain(..).for_each(|member| drop(member.send(Err(copy(error)))));
    }

    /// A connection that cannot even roll back is closed, and its transaction ends with it.
    fn give_up(&mut self, error: &StoreError) {
        tracing::warn!(%error, "the connection that writes is opened anew");
        self.fail_group(error);
        self.conn = None;
    }
}

impl<'w> Coming<'w> {
    fn of(all: &'w AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::AcqRel);
        Self(all)
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("the program ended before the transaction was committed".to_owned())
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;

    #[tokio::test]
    async fn those_of_a_commit_that_was_broken_off_are_not_confirmed_by_a_later_one() {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.expect("opens");
        let writer = Writer::new(pool, Duration::from_secs(60));
        let mut turn = writer.turn().await.expect("a turn");
        let (answer, answered) = oneshot::channel();
        let kept = turn.kept().expect("open");
        // As when the caller of a long transaction goes away while it commits for others.
        (kept.group, kept.unfinished) = (vec![answer], Unfinished::Whole);
        drop(turn);
        let mut next = writer.short_turn().await.expect("the next turn");
        assert!(next.kept().expect("open").group.is_empty(), "there is no transaction that it could join");
        let error = answered.await.expect("an answer").expect_err("unknown");
        assert!(error.is_transient() && error.to_string().contains("not known"), "{error}");
        next.begin().await.expect("a transaction of its own");
        next.end(None).await.expect("committed");
    }
}
