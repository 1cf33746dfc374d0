//! When: planning, and the duties that bring about everything else.
//!
//! Each duty is a plain function in a file of its own. It takes no input that says what changed, is safe to run twice,
//! and safe to run in two processes at once; leadership only saves double work. [`run`] runs them all, each at its own
//! rhythm from `[scheduler.duties]`.
//!
//! * [`plan`]: batches whose planner died are taken back.
//! * [`schedules`]: from ticks that are due to runs.
//! * [`watch`]: from files in a folder to runs.
//! * [`duties`]: one file for each, and their registry.
//! * `duty`: what a duty is, and the loop that runs one. `clock`: its rhythm, from the crate `tokio-cron-scheduler`.

mod clock;
pub mod duties;
mod duty;
mod leadership;
pub mod plan;
mod running;
pub mod schedules;
pub mod settings;
pub mod watch;

pub use running::{SchedulerError, SchedulerOptions, run};
pub use schedules::{ConfigSnapshot, RunContext, ScheduleRunner};
pub use settings::{DutySettings, Settings};
pub use watch::Watcher;
