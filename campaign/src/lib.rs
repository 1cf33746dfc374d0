//! The fault campaign: real processes, a real PostgreSQL, a real RabbitMQ, and everything that may go wrong.
//!
//! One *schedule* follows from one seed: what is enqueued, who works, which process dies where, which connection
//! breaks when. After the faults have ended everything must come to rest, and then the oracle looks: plain SQL on the
//! tables, its own arithmetic over the input, the broker's own queues. It shares no code with the product.
//!
//! The seed repeats the schedule, not the race: processes of an operating system do not interleave twice in the same
//! way. A failure names its seed; running it a few times finds it again.
//!
//! * [`plan`]: what a schedule will do, all of it drawn from its seed.
//! * [`mod@env`]: a database, a namespace, proxies and a mail server of one schedule's own.
//! * [`actor`]: the processes, and what becomes of them.
//! * [`run`]: one schedule from its beginning to the oracle's verdict.
//! * [`oracle`]: what must be true when all is quiet.
//! * `filed`: a watched folder, and what is put into it.
//! * [`input`]: what a batch of it is run over.
//! * [`command`]: the command line.
//! * [`nemesis`]: blows against whole servers.
//! * [`fleet`]: the servers, and those that one level has for itself.
//! * [`disk`]: the same file on a disk that is full now and then.
//! * [`recovery`]: how long it takes to get over something, with the settings that users have.
//! * [`soak`]: a long backlog, a killer and a slow consumer.
//! * [`sqlite`]: one program on one file, killed at every write.
//! * [`figures`]: what is counted over all schedules.

pub mod actor;
pub mod command;
pub mod disk;
pub mod env;
pub mod figures;
mod filed;
pub mod fleet;
pub mod input;
pub mod nemesis;
pub mod oracle;
mod oracle_jobs;
mod oracle_sqlite;
pub mod plan;
pub mod recovery;
pub mod run;
pub mod soak;
pub mod sqlite;
mod sqlite_env;

use std::path::PathBuf;

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}
