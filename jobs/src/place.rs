//! Where this process runs, for the row that each worker and scheduler has in the store.

/// The machine's name. The environment may say it, else the system's own file does.
pub fn host() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|name| !name.trim().is_empty());
    named
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
