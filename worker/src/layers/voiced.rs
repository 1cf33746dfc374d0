//! Gives each attempt its voice: what its handler logs and what its programs write is kept with the job.

use std::task::{Context, Poll};

use apalis_core::task::Task;
use gristmill_jobs::attempt_log::{Recorder, Spoken};
use tower::{Layer, Service};

use crate::attempt::ClaimedAttempt;

/// Gives attempts their voices.
#[derive(Debug, Clone)]
pub(super) struct VoiceLayer {
    pub(super) recorder: Recorder,
}

/// A service whose attempts have voices.
#[derive(Debug, Clone)]
pub(crate) struct Voiced<S> {
    inner: S,
    recorder: Recorder,
}

impl<S> Layer<S> for VoiceLayer {
    type Service = Voiced<S>;

    fn layer(&self, inner: S) -> Voiced<S> {
        Voiced { inner, recorder: self.recorder.clone() }
    }
}

impl<S> Service<Task<ClaimedAttempt>> for Voiced<S>
where
    S: Service<Task<ClaimedAttempt>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Spoken<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<ClaimedAttempt>) -> Self::Future {
        let voice = self.recorder.voice(task.args.job.fence);
        // The span of the attempt is made in here, and has the voice as well.
        let attempt = voice.within(|| self.inner.call(task));
        voice.around(attempt)
    }
}
