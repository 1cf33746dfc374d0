//! `make bench`: what Gristmill costs, beside the least that the same work can cost and beside a peer, in one run.
//!
//! Everything is measured in interleaved rounds: within a round the raw limit, Gristmill and the peer follow one another
//! within seconds, so that what else the machine does touches all of them alike. docs/performance.md explains each row.
//!
//! * [`metric`]: what is measured, and what it should reach. [`figure`]: medians and ratios. [`report`]: the document
//!   `target/bench.json`. [`table`]: the same for people. [`options`] and [`machine`]: of what and where.
//! * [`record`]: the 24 bytes that each job writes, by which a run knows that every job ran once, and when.
//!
//! With the feature `run` also what measures:
//!
//! * `command`: the rounds. `stand`: a database, queues and a folder for one measurement. `raw/`: the raw limits.
//!   `own/`: Gristmill. `peer`: the program of the peer, which is behind a feature of its own.

#[cfg(feature = "run")]
pub mod amounts;
pub mod figure;
pub mod machine;
pub mod metric;
pub mod note;
pub mod options;
pub mod record;
pub mod report;
pub mod table;

#[cfg(feature = "run")]
pub mod command;
#[cfg(feature = "run")]
pub mod fault;
#[cfg(feature = "run")]
pub mod folder;
#[cfg(feature = "run")]
pub mod history;
#[cfg(feature = "run")]
pub mod latencies;
#[cfg(feature = "run")]
pub mod own;
#[cfg(feature = "run")]
pub mod pace;
#[cfg(feature = "run")]
pub mod peer;
#[cfg(feature = "run")]
pub mod process;
#[cfg(feature = "run")]
pub mod raw;
#[cfg(feature = "run")]
pub mod size;
#[cfg(feature = "run")]
pub mod stand;
