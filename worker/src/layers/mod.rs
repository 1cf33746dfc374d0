//! What runs around an attempt: a stack of tower layers, each in a file of its own.
//!
//! From the outermost to the innermost:
//!
//! 1. [`voiced`]: what is said within is kept with the job.
//! 2. [`span`]: everything logged while the attempt runs carries the job's fields (apalis' `TraceLayer`).
//! 3. [`judge`]: turns the claimed job into an attempt, and asks `settle` what its ending means.
//! 4. [`measure`]: records how long the attempt took.
//! 5. [`program`]: the layers that the program has added, the first one outermost. If there are any, 6 to 9 stand
//!    around them too, with a second to spare: a layer that panics or hangs costs its own attempt and nothing else.
//! 6. [`revocation`]: a stop, a lost lease and a cancelled job end the attempt.
//! 7. [`timeout`]: so does the job's own time limit, which unlike tower's differs from job to job.
//! 8. [`endings`]: turns an error into an ending.
//! 9. apalis' `CatchPanicLayer`: turns a panic into an error.
//! 10. [`dispatch`]: the handler of the job's kind.
//!
//! There is no layer for concurrency: a job is claimed only when a slot is free, and keeps the slot until its ending
//! has been handed over, which a limit around the handler could not guarantee.

mod dispatch;
mod endings;
mod judge;
mod measure;
mod program;
mod revocation;
mod span;
mod timeout;
mod voiced;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use apalis::layers::catch_panic::{CatchPanicLayer, CatchPanicService};
use gristmill_jobs::Registry;
use gristmill_jobs::attempt_log::Recorder;
use gristmill_store::StoreHandle;
use tower::Layer;
use tower::util::Either;

use crate::metrics::Clocks;
use dispatch::Dispatch;
use endings::{Endings, EndingsLayer};
use judge::{Judge, JudgeLayer};
use measure::{Measure, MeasureLayer};
use revocation::{Revocation, RevocationLayer};
use span::{Spanned, span_layer};
use timeout::{Timeout, TimeoutLayer};
use voiced::{VoiceLayer, Voiced};

pub use apalis_core::error::BoxDynError;
pub use endings::{Panicked, finish};
pub use program::{AttemptRequest, AttemptService, Layers};

/// How long the program's layers may take to finish after the attempt inside them was called off.
const PROGRAM_GRACE: Duration = Duration::from_secs(1);

type OnPanic = fn(&Box<dyn Any + Send>) -> Panicked;

/// A service that cannot fail: whatever happens inside is an ending.
type Guarded<S> = Revocation<Timeout<Endings<CatchPanicService<S, OnPanic>>>>;

type Handlers = Guarded<Dispatch>;

/// The whole stack. It takes a claimed job, and returns what is to be written down.
pub(crate) type Attempts = Voiced<Spanned<Judge<Measure<Either<Handlers, Guarded<program::Program>>>>>>;

/// Builds the stack.
pub(crate) fn attempts(
    store: StoreHandle,
    registry: Registry,
    layers: &Layers,
    clocks: Arc<Clocks>,
    recorder: Recorder,
) -> Attempts {
    let handlers = guarded(Dispatch::new(registry), handler_panicked, Duration::ZERO);
    let inside = match layers.around(&handlers) {
        None => Either::Left(handlers),
        Some(program) => Either::Right(guarded(program, layer_panicked, PROGRAM_GRACE)),
    };
    let judged = JudgeLayer { store }.layer(MeasureLayer { clocks }.layer(inside));
    VoiceLayer { recorder }.layer(span_layer().layer(judged))
}

fn guarded<S>(inside: S, on_panic: OnPanic, grace: Duration) -> Guarded<S> {
    let caught = CatchPanicLayer::<OnPanic, Panicked>::with_panic_handler(on_panic).layer(inside);
    let timed = TimeoutLayer { grace }.layer(EndingsLayer.layer(caught));
    RevocationLayer { grace }.layer(timed)
}

fn handler_panicked(panic: &Box<dyn Any + Send>) -> Panicked {
    Panicked::new("the handler", &**panic)
}

fn layer_panicked(panic: &Box<dyn Any + Send>) -> Panicked {
    Panicked::new("a layer around the attempt", &**panic)
}

/// Converts an error that cannot occur into another type.
fn never(error: std::convert::Infallible) -> BoxDynError {
    match error {}
}

#[cfg(test)]
mod testing;
