//! What a process takes: its memory, and its time on the processors.

use std::fs;

use crate::fault::Result;

/// The memory of a process in MB: resident, and its proportional share of that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// All pages that are in memory, those that it shares with other processes included.
    pub rss: f64,
    /// The same with each shared page divided by its users.
    pub pss: f64,
}

/// Looks at a process.
///
/// # Errors
///
/// When it is gone, or this is not Linux.
pub fn memory(id: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field")?;
        let kb: f64 = line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse()?;
        Ok::<_, crate::fault::Fault>(kb / 1_024.0)
    };
    Ok(Memory { rss: field("Rss")?, pss: field("Pss")? })
}

/// The seconds that its threads have spent on a processor so far, to the nanosecond.
///
/// # Errors
///
/// When it is gone, or this is not Linux.
pub fn cpu_seconds(id: u32) -> Result<f64> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread may end between the two looks.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanoseconds += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(nanoseconds as f64 / 1e9)
}
