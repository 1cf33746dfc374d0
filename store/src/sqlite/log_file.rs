//! Writes to the write-ahead log, as the system reports them: by inotify on Linux, not at all elsewhere.

pub(super) use watched::LogFile;

#[cfg(target_os = "linux")]
mod watched {
    use std::io::ErrorKind;
    use std::path::Path;

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use tokio::net::unix::pipe::Receiver;

    /// Room for many reports; those that do not fit come with the next reading.
    const REPORTS_BYTES: usize = 4_096;

    /// The log of one database, watched for writes by any process of this machine. The system's reports are bytes to be
    /// read, as from a pipe.
    #[derive(Debug)]
    pub(in crate::sqlite) struct LogFile(Receiver);

    impl LogFile {
        /// Begins to watch the log of the database at `path`, which must be open; `None` when the system refuses.
        pub(in crate::sqlite) fn watch(path: &Path) -> Option<Self> {
            let mut log = path.as_os_str().to_owned();
            log.push("-wal");
            let reports = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok()?;
            inotify::add_watch(&reports, Path::new(&log), WatchFlags::MODIFY).ok()?;
            Receiver::from_owned_fd_unchecked(reports).ok().map(Self)
        }

        /// Waits for a write that was not reported yet.
        pub(in crate::sqlite) async fn written(&self) {
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

    /// Nothing reports writes here.
    #[derive(Debug)]
    pub(in crate::sqlite) struct LogFile;

    impl LogFile {
        pub(in crate::sqlite) fn watch(_path: &Path) -> Option<Self> {
            None
        }

        pub(in crate::sqlite) async fn written(&self) {
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
        let log = LogFile::watch(&path).expect("watched");
        let patience = std::time::Duration::from_secs(120);
        for _ in 0..3 {
            // A process of its own would not be told apart: the report is about the file.
            let mut other = options.clone().connect().await.expect("opened");
            sqlx::query("INSERT INTO t VALUES (1)").execute(&mut other).await.expect("written");
            tokio::time::timeout(patience, log.written()).await.expect("it is reported");
            assert!(futures::poll!(Box::pin(log.written())).is_pending(), "what was reported is taken");
            other.close().await.expect("closed");
        }
    }
}
