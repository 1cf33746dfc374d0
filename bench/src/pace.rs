//! Waiting: for a condition, and at a steady pace.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::fault::Result;

/// Waits until an answer is there, asking again and again, at most so long.
///
/// # Errors
///
/// Those of the question, and when the time has run out.
pub async fn until<T>(
    what: &str,
    at_most: Duration,
    every: Duration,
    mut question: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = question().await? {
            return Ok(answer);
        }
        if begin.elapsed() > at_most {
            return Err(format!("{what}: not within {} s", at_most.as_secs()).into());
        }
        sleep(every).await;
    }
}

/// Begins so many pieces of work, so many a second, whether those before have ended or not; returns when all have.
///
/// # Errors
///
/// The first of them.
pub async fn steadily<F>(times: u32, a_second: u32, mut work: impl FnMut(u32) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut ticks = interval(Duration::from_secs(1) / a_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0..times {
        ticks.tick().await;
        under_way.spawn(work(number));
    }
    while let Some(ended) = under_way.join_next().await {
        ended??;
    }
    Ok(())
}

/// Runs so many callers at once, which share the numbers below `jobs`; returns when all have ended.
///
/// # Errors
///
/// The first of them.
pub async fn by_callers<F>(callers: u32, jobs: u32, mut work: impl FnMut(Vec<u32>) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut under_way = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let share = (0..jobs).filter(|number| number % callers == caller).collect();
        under_way.spawn(work(share));
    }
    while let Some(ended) = under_way.join_next().await {
        ended??;
    }
    Ok(())
}

/// How many a second that is.
pub fn per_second(jobs: u64, elapsed: Duration) -> f64 {
    jobs as f64 / elapsed.as_secs_f64().max(1e-9)
}
