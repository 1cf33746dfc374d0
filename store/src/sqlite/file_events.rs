//! What the system reports of files: writes to the write-ahead log, and knocks of other processes. By inotify on Linux, not
//! at all elsewhere.

use std::path::{Path, PathBuf};

pub(super) use watched::FileEvents;

/// What the name of the lock file ends with.
pub(super) const LOCK: &str = ".lock";

/// The file beside a database whose name ends with this.
pub(super) fn beside(database: &Path, end: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

#[cfg(target_os = "linux")]
mod watched {
    use std::io::ErrorKind;
    use std::path::Path;

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use tokio::net::unix::pipe::Receiver;

    /// Room for many reports; those that do not fit come with the next reading.
    const REPORTS_BYTES: usize = 4_096;

    /// One file, watched for what any process of this machine does with it. The system's reports are bytes to be read, as
    /// from a pipe.
    #[derive(Debug)]
    pub(in crate::sqlite) struct FileEvents(Receiver);

    impl FileEvents {
        /// Begins to watch for writes to a file; `None` when the system refuses, or there is no such file.
        pub(in crate::sqlite) fn of_writes(path: &Path) -> Option<Self> {
            Self::watch(path, WatchFlags::MODIFY)
        }

        /// The same, whenever it is opened.
        pub(in crate::sqlite) fn of_openings(path: &Path) -> Option<Self> {
            Self::watch(path, WatchFlags::OPEN)
        }

        fn watch(path: &Path, what: WatchFlags) -> Option<Self> {
            let reports = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
            inotify::add_watch(&reports, path, what).ok()?;
            Receiver::from_owned_fd_unchecked(reports).ok().map(Self)
        }

        /// Waits for what was not reported yet.
        pub(in crate::sqlite) async fn next(&self) {
            while self.0.readable().await.is_ok() {
                match self.take_all() {
                    Ok(true) => return,
                    Ok(false) => {}
                    Err(_) => break,
                }
            }
            // Nothing more is reported.
            std::future::pending().await
        }

        /// Takes all reports. Whether there was any.
        fn take_all(&self) -> std::io::Result<bool> {
            let mut any = false;
            let mut buffer = [0; REPORTS_BYTES];
            loop {
                match self.0.try_read(&mut buffer) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(_) => any = true,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(any),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod watched {
    use std::path::Path;

    /// Nothing is reported here.
    #[derive(Debug)]
    pub(in crate::sqlite) struct FileEvents;

    impl FileEvents {
        pub(in crate::sqlite) fn of_writes(_path: &Path) -> Option<Self> {
            None
        }

        pub(in crate::sqlite) fn of_openings(_path: &Path) -> Option<Self> {
            None
        }

        pub(in crate::sqlite) async fn next(&self) {
            std::future::pending().await
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
    use sqlx::{ConnectOptions, Connection};

    use super::*;

    #[tokio::test]
    async fn a_commit_of_any_connection_is_reported_and_only_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        let options =
            SqliteConnectOptions::new().filename(&path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let mut one = options.clone().connect().await.expect("opened");
        sqlx::query("CREATE TABLE t (n INTEGER)").execute(&mut one).await.expect("made");
        let log = FileEvents::of_writes(&folder.path().join("store.db-wal")).expect("watched");
        let patience = std::time::Duration::from_secs(120);
        for _ in 0..3 {
            // A process of its own would not be told apart: the report is about the file.
            let mut other = options.clone().connect().await.expect("opened");
            sqlx::query("INSERT INTO t VALUES (1)").execute(&mut other).await.expect("written");
            tokio::time::timeout(patience, log.next()).await.expect("it is reported");
            assert!(futures::poll!(Box::pin(log.next())).is_pending(), "what was reported is taken");
            other.close().await.expect("closed");
        }
    }

    #[tokio::test]
    async fn an_opening_is_reported_without_any_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db.lock");
        assert!(FileEvents::of_openings(&path).is_none(), "there is no such file");
        std::fs::write(&path, "process 1").expect("written");
        let knocks = FileEvents::of_openings(&path).expect("watched");
        assert!(futures::poll!(Box::pin(knocks.next())).is_pending(), "what was before does not count");
        std::fs::File::open(&path).expect("opened");
        tokio::time::timeout(std::time::Duration::from_secs(120), knocks.next()).await.expect("it is reported");
    }
}
