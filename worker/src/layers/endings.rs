//! Turns every error into an ending, so that the outer layers see endings only.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use apalis_core::error::{AbortError, BoxDynError, DeferredError, RetryAfterError};
use gristmill_core::settle::Ending;
use gristmill_jobs::Finish;
use gristmill_jobs::pool::panic_text;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// How long a job waits when its handler asks apalis to defer it without saying how long.
const DEFERRED: Duration = Duration::from_secs(60);

/// A panic, as an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked(String);

impl Panicked {
    pub(super) fn new(what: &str, panic: &(dyn Any + Send)) -> Self {
        Self(format!("{what} panicked: {}", panic_text(panic)))
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Panicked {}

/// What an error means: a panic stays a panic; apalis' `AbortError` is permanent, its `RetryAfterError` says when to
/// come again, its `DeferredError` snoozes for a minute. Any other error may succeed another time.
pub fn finish(error: &BoxDynError) -> Finish {
    let reason = || error.source().unwrap_or(&**error).to_string();
    if let Some(panicked) = error.downcast_ref::<Panicked>() {
        ended_with(Ending::Panicked, panicked.to_string())
    } else if error.is::<AbortError>() {
        Finish::permanent(reason())
    } else if let Some(later) = error.downcast_ref::<RetryAfterError>() {
        Finish::failed_until(reason(), later.get_duration())
    } else if error.is::<DeferredError>() {
        Finish::snooze(reason(), DEFERRED)
    } else {
        Finish::failed(error.to_string())
    }
}

pub(super) fn ended_with(ending: Ending, error: String) -> Finish {
    Finish { ending, ..Finish::failed(error) }
}

/// Turns errors into endings.
#[derive(Debug, Clone, Copy)]
pub(super) struct EndingsLayer;

/// A service whose errors are endings.
#[derive(Debug, Clone)]
pub(crate) struct Endings<S> {
    inner: S,
}

impl<S> Layer<S> for EndingsLayer {
    type Service = Endings<S>;

    fn layer(&self, inner: S) -> Endings<S> {
        Endings { inner }
    }
}

impl<S, R> Service<R> for Endings<S>
where
    S: Service<R, Response = Finish, Error = BoxDynError>,
{
    type Response = Finish;
    type Error = Infallible;
    type Future = Ended<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The inner service is always ready: see `Dispatch` and `Program`.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Ended<S::Future> {
        Ended { inner: self.inner.call(request) }
    }
}

pin_project! {
    pub(crate) struct Ended<F> {
        #[pin]
        inner: F,
    }
}

impl<F: Future<Output = Result<Finish, BoxDynError>>> Future for Ended<F> {
    type Output = Result<Finish, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(self.project().inner.poll(cx));
        Poll::Ready(Ok(ended.unwrap_or_else(|error| finish(&error))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_apalis_is_an_ending_of_its_own_and_keeps_its_reason() {
        let wait = Duration::from_secs(9);
        let cases: [(BoxDynError, Finish); 4] = [
            (Box::new(AbortError::new("no such customer")), Finish::permanent("no such customer")),
            (Box::new(RetryAfterError::new("too many", wait)), Finish::failed_until("too many", wait)),
            (Box::new(DeferredError::new("too early")), Finish::snooze("too early", DEFERRED)),
            ("the line is busy".into(), Finish::failed("the line is busy")),
        ];
        for (error, ending) in cases {
            assert_eq!(finish(&error), ending);
        }
        let panicked = Panicked::new("the handler", &"at the till");
        let finish = finish(&(Box::new(panicked) as BoxDynError));
        assert_eq!(
            (finish.ending, finish.error.as_deref()),
            (Ending::Panicked, Some("the handler panicked: at the till"))
        );
    }
}
