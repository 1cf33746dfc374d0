//! When: schedules, watched folders, publishing, promoting, rescuing, reconciling. What is started then, and how, is the
//! service's business.
//!
//! Each duty is a plain function in a file of its own. It takes no input that says what changed, is
//! safe to run twice, and safe to run in two processes at once; leadership only saves double work.
//! [`run`] is the one loop that calls them.
//!
//! * [`plan`]: batches whose planner died are taken back.
//! * [`schedules`]: from ticks that are due to runs.
//! * [`watch`]: from files in a folder to runs.
//! * [`promote`], [`rescue`], [`sweep`], [`probe`], [`reconcile`], [`returned`], [`tell`], [`limits`]: the duties.

mod heartbeat;
pub mod late;
pub mod limits;
pub mod outbox_relay;
pub mod plan;
pub mod probe;
pub mod promote;
pub mod reconcile;
pub mod rescue;
pub mod returned;
mod running;
pub mod schedules;
pub mod settings;
pub mod watch;

pub use running::{SchedulerError, SchedulerOptions, run};
pub use schedules::{ConfigSnapshot, RunContext, ScheduleRunner};
pub use settings::Settings;
pub use watch::Watcher;
