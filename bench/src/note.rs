//! The job that is measured: it notes that it began, in 24 bytes, and ends.

use serde::{Deserialize, Serialize};

/// The variable that names the file of records.
pub const RECORDS: &str = "GRISTMILL_BENCH_RECORDS";

/// Its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The job's number, counted from 0.
    pub number: u32,
    /// When it was handed to the queue, in nanoseconds since 1970.
    pub enqueued_at: i64,
}

impl Note {
    /// The note of a job that is enqueued now.
    pub fn now(number: u32) -> Self {
        Self { number, enqueued_at: crate::record::now() }
    }
}

#[cfg(feature = "run")]
mod kind {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use gristmill::{Context, Failure, Kind};
    use gristmill_client::Payload;

    use super::{Note, RECORDS};
    use crate::record::{Record, Records};

    /// The file of this process. It is opened once, and never when the process enqueues only.
    fn records() -> Result<&'static Records, Failure> {
        static FILE: OnceLock<Option<Records>> = OnceLock::new();
        let open = || Records::append_to(&PathBuf::from(std::env::var_os(RECORDS)?)).ok();
        FILE.get_or_init(open).as_ref().ok_or_else(|| Failure::permanent(format!("{RECORDS} names no file to write")))
    }

    impl Kind for Note {
        const NAME: &str = "note";
        type Output = ();

        async fn run(self, _context: Context) -> Result<(), Failure> {
            records()?.write(Record::begun(self.number, self.enqueued_at))?;
            Ok(())
        }
    }

    impl Payload for Note {
        const KIND: &'static str = "note";
    }
}
