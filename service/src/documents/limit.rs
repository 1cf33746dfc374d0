//! A limit that would be set.

use gristmill_store::LimitSpec;
use serde::Serialize;

/// What a dry run of `limit set` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct WouldSetLimitDocument {
    /// Always `true`.
    pub dry_run: bool,
    /// Its name.
    pub name: String,
    /// What it would allow.
    pub spec: LimitSpec,
}

impl WouldSetLimitDocument {
    /// A limit of this name.
    pub fn new(name: &str, spec: &LimitSpec) -> Self {
        Self { dry_run: true, name: name.to_owned(), spec: spec.clone() }
    }
}
