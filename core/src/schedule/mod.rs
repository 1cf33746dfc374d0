//! When work starts by itself: the arithmetic of schedules. No clock is read here; instants come in as arguments.
//!
//! * [`ScheduleSpec`]: a schedule as `[schedule.NAME]` spells it.
//! * [`Timetable`]: the same, compiled: ticks before, after and between instants, in the schedule's zone.
//! * [`missed`]: which of the ticks that are due run, and which are recorded as skipped.
//! * [`overlap`]: what a tick does while earlier runs are still under way.
//! * [`following`]: schedules that follow a batch instead of the clock.
//! * [`describe`]: an expression in plain language.
//!
//! The module `wall` alone decides what happens when clocks are put forward or back.

mod cron;
pub mod describe;
pub mod following;
pub mod missed;
pub mod overlap;
mod spec;
mod ticks;
mod wall;
mod zone;

pub use following::Ending;
pub use missed::{CatchUp, Due, DueTick, Missed};
pub use overlap::{Busy, Overlap, Step};
pub use spec::{JobSpec, ScheduleError, ScheduleSpec, Target};
pub use ticks::{Note, Ticks, Timetable};
pub use wall::instant;
pub use zone::{ReadZone, Zone, ZoneSource, tzdb, tzdb_built_in, use_zones, zone, zone_names};
