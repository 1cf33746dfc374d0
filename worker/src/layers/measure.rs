//! Records how long an attempt took, by kind of job.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use apalis_core::task::Task;
use gristmill_jobs::JobContext;
use metrics::Histogram;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::metrics::Clocks;

/// Measures attempts.
#[derive(Debug, Clone)]
pub(super) struct MeasureLayer {
    pub(super) clocks: Arc<Clocks>,
}

/// A service whose attempts are measured.
#[derive(Debug, Clone)]
pub(crate) struct Measure<S> {
    inner: S,
    clocks: Arc<Clocks>,
}

impl<S> Layer<S> for MeasureLayer {
    type Service = Measure<S>;

    fn layer(&self, inner: S) -> Measure<S> {
        Measure { inner, clocks: Arc::clone(&self.clocks) }
    }
}

impl<S: Service<Task<JobContext>>> Service<Task<JobContext>> for Measure<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Measured<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<JobContext>) -> Measured<S::Future> {
        let clock = self.clocks.seconds(task.args.kind()).cloned();
        Measured { began: Instant::now(), clock, inner: self.inner.call(task) }
    }
}

pin_project! {
    pub(crate) struct Measured<F> {
        began: Instant,
        clock: Option<Histogram>,
        #[pin]
        inner: F,
    }
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let ended = ready!(this.inner.poll(cx));
        if let Some(clock) = this.clock {
            clock.record(this.began.elapsed().as_secs_f64());
        }
        Poll::Ready(ended)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use gristmill_jobs::Finish;
    use metrics::HistogramFn;
    use tower::ServiceExt;

    use super::super::testing::{Scripted, task};
    use super::*;

    #[derive(Default)]
    struct Recorded(Mutex<Vec<f64>>);

    impl HistogramFn for Recorded {
        fn record(&self, value: f64) {
            self.0.lock().expect("no panic").push(value);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempts_time_is_recorded_under_its_kind_alone() {
        let (told, other) = (Arc::new(Recorded::default()), Arc::new(Recorded::default()));
        let kinds = [("told", &told), ("other", &other)];
        let clocks = Arc::new(Clocks::recording(kinds.map(|(kind, to)| (kind, Histogram::from_arc(Arc::clone(to))))));
        let inner = Scripted::new(|_| async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok::<_, std::convert::Infallible>(Finish::done(None))
        });
        MeasureLayer { clocks }.layer(inner).oneshot(task().await).await.expect("an ending");
        assert_eq!(*told.0.lock().expect("no panic"), [3.0]);
        assert!(other.0.lock().expect("no panic").is_empty());
    }
}
