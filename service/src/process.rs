//! What a process reports about itself when it enters the store.

use std::time::Duration;

use gristmill_core::id::WorkerId;
use gristmill_store::NewWorker;
use uuid::Uuid;

/// A fresh incarnation of this process in a role, such as `worker`, `scheduler` or `command`: it has no slots, queues or
/// kinds, and counts as alive for `lease` without a beat.
pub fn incarnation(role: impl Into<String>, lease: Duration) -> NewWorker {
    NewWorker {
        id: WorkerId(Uuid::now_v7()),
        role: role.into(),
        host: host(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slots: 0,
        queues: Vec::new(),
        kinds: Vec::new(),
        lease,
    }
}

/// The machine's name: `HOSTNAME` in the environment if it is set, else `/etc/hostname`, else `unknown`.
pub fn host() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|name| !name.trim().is_empty());
    named
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The operator who runs this process, as `USER@HOST`.
pub fn operator() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    format!("{}@{}", user.as_deref().unwrap_or("somebody"), host())
}
