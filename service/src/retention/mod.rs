//! Retention: what has ended long ago is archived, if that is wanted, and deleted, a step at a time.
//!
//! * [`RetentionSettings`]: how long what is kept. Pure.
//! * [`Pruner`]: the steps. They are made by the scheduler's duty, `gristmill db prune`, `gristmill batch delete`.
//! * [`Archive`]: where what is deleted is written first.
//! * [`prune_logs`]: what attempts have said, after its time; [`prune_acknowledged`]: which errors were acknowledged;
//!   [`prune_events`]: events after theirs.
//! * [`survey()`]: what a pass would delete.

mod archive;
mod events;
mod logs;
mod pruner;
mod settings;
mod survey;

pub use archive::{Archive, ArchiveFile};
pub use events::prune_events;
pub use logs::{prune_acknowledged, prune_logs};
pub use pruner::{Pruner, PrunerOptions, Step};
pub use settings::{Keep, RetentionSettings};
pub use survey::{Survey, survey};
