//! The configuration: one file, the environment and the flags, laid over the defaults.
//!
//! The order of precedence is flag, environment `GRISTMILL_SECTION_KEY`, file, default. Each value keeps its
//! [`Origin`], so that an error can point at the line and `config show --origin` can show which one won. Paths in a
//! file are relative to that file's folder.

pub(crate) mod definitions;
pub mod error;
pub(crate) mod exposed;
pub mod keys;
pub mod layers;
pub mod loaded;
pub mod origin;
mod paths;
mod redact;
mod renamed;
pub(crate) mod runs;
pub mod schema;
pub mod settings;
mod shape;
pub mod show;
pub mod toml_tree;
pub mod verify;
mod zoneinfo;

pub use error::{ConfigError, nearest, suggest};
pub use layers::{Layers, load};
pub use loaded::Loaded;
pub use origin::{Origin, Origins};
pub use settings::{Config, LogFormat, LogSettings, SECTIONS};

pub use crate::kind_settings::KindSettings;
