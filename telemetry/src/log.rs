//! The process's log: what happens, on standard error.

use tracing_subscriber::EnvFilter;

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people, coloured when standard error is a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log. `level` is what `tracing_subscriber` reads: a level such as `info`, and others for single modules,
/// such as `info,gristmill_store=debug`. A log that the process already has stays, which is right in tests.
pub fn start(level: &str, format: Format) {
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter(level))).with_writer(std::io::stderr);
    let _ = match format {
        Format::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        Format::Json => log.json().flatten_event(true).try_init(),
    };
}

/// `lapin` reports every closed connection at level error, including those that we close ourselves. Our own supervisor
/// reports those that matter; an operator who wants more names `lapin` in the level.
fn filter(level: &str) -> String {
    if level.contains("lapin") { level.to_owned() } else { format!("{level},lapin=off") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_of_the_broker_is_silent_unless_it_is_named() {
        assert_eq!(filter("info"), "info,lapin=off");
        assert_eq!(filter("warn,lapin=debug"), "warn,lapin=debug");
    }
}
