//! How soon jobs began, from the records that they wrote.

use std::path::Path;

use crate::fault::Result;
use crate::figure::quantile;
use crate::metric::Metric;
use crate::record::History;

/// Reads how long jobs waited until they began.
///
/// # Errors
///
/// When not each of them ran exactly once.
pub fn latencies(records: &Path, jobs: u32) -> Result<Vec<(Metric, f64)>> {
    let history = History::read(records)?;
    history.check(jobs)?;
    let waits = history.waits_ms(jobs);
    let at = |share| quantile(&waits, share).ok_or("no job ran");
    Ok(vec![(Metric::LatencyP50, at(0.5)?), (Metric::LatencyP99, at(0.99)?)])
}
