//! What a run took place on: figures mean something only together with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// How many processors there are.
    pub cores: usize,
    /// Their model.
    pub cpu: String,
    /// The memory in MB.
    pub memory_mb: u64,
    /// The operating system and its kernel.
    pub os: String,
    /// The file system that SQLite's files are on.
    pub file_system: String,
    /// The compiler.
    pub rustc: String,
    /// The commit that was measured.
    pub commit: String,
    /// What was asked of the servers and libraries: versions, and the settings that durability rests on.
    pub servers: BTreeMap<String, String>,
}

impl Machine {
    /// Looks at this machine. `folder` is where SQLite's files are put.
    pub fn here(folder: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let kernel = read("/proc/sys/kernel/osrelease");
        let name = field(&read("/etc/os-release"), "PRETTY_NAME=").unwrap_or_else(|| std::env::consts::OS.to_owned());
        let memory = field(&read("/proc/meminfo"), "MemTotal:").and_then(|text| text.split(' ').next()?.parse().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            memory_mb: memory.map_or(0, |kb: u64| kb / 1_024),
            os: format!("{name}, {}", kernel.trim()),
            file_system: file_system(&read("/proc/mounts"), folder),
            rustc: output("rustc", &["--version"]),
            commit: output("git", &["describe", "--always", "--dirty"]),
            servers: BTreeMap::new(),
        }
    }
}

/// The rest of the first line that begins so, without what separates the two.
fn field(text: &str, begins: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(begins))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim_matches('"').trim().to_owned())
}

/// The type of the file system of a folder: of the longest mount point above it.
fn file_system(mounts: &str, folder: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(at, _)| folder.starts_with(at));
    above.max_by_key(|(at, _)| at.len()).map_or("unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// The first line that a program prints; `unknown` when it cannot be run.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().filter(|line| !line.is_empty()).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_however_they_are_separated() {
        let text = "a: 1\nmodel name\t: AMD EPYC\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nMemTotal:       24 kB\n";
        assert_eq!(field(text, "model name"), Some("AMD EPYC".to_owned()));
        assert_eq!(field(text, "PRETTY_NAME="), Some("Debian GNU/Linux 12".to_owned()));
        assert_eq!(field(text, "MemTotal:"), Some("24 kB".to_owned()));
        assert_eq!(field(text, "none"), None);
    }

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts = "a / ext4 rw 0 0\nb /var/tmp tmpfs rw 0 0\nc /v xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/var/tmp/x")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/var/lib")), "ext4");
        assert_eq!(file_system("", Path::new("/")), "unknown");
    }
}
