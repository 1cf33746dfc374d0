//! What a program may use: steps, memory, stack.
//!
//! A program runs on one thread from its beginning to its end, so that the meter is a thread's own. The interpreter
//! counts a step for each term that it evaluates; the functions count in proportion to what they touch; values say how
//! many bytes they hold and when they let go of them. Beyond a limit the program is unwound to [`within`].

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::stack;

/// The most steps for one item: some tenths of a second.
const STEPS_MAX: u64 = 5_000_000;

/// The most bytes that the values of a program hold at one time.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// How many bytes a function looks at for the price of one step.
const BYTES_A_STEP: usize = 64;

/// The price of a link on a stack with room for this many bytes: ten thousand of them for an item.
const LINK_STEPS: usize = 500;
const LINKED_STACK_BYTES: usize = 6 * 1024 * 1024;

const TOO_LONG: &str = "it did not end within 5,000,000 steps; does it call itself for ever?";
const TOO_LARGE: &str = "its values need more than 256 MiB of memory; let it keep less at one time";
const TOO_DEEP: &str = "it calls itself too deeply; let it call itself only as the last thing it does";

thread_local! {
    static METER: Meter = const {
        Meter {
            steps: Cell::new(u64::MAX),
            bytes: Cell::new(0),
            room: Cell::new(usize::MAX),
            floor: Cell::new(None),
            paths: Cell::new(false),
        }
    };
}

struct Meter {
    /// Steps that are left.
    steps: Cell<u64>,
    /// Bytes that values hold.
    bytes: Cell<usize>,
    /// The most that they may hold.
    room: Cell<usize>,
    /// Where the stack began, when a program runs.
    floor: Cell<Option<usize>>,
    /// Whether paths are being found.
    paths: Cell<bool>,
}

/// The value that is thrown when a limit is reached.
struct Runaway(&'static str);

/// Runs a program, or what is done with its values, within the limits.
///
/// # Errors
///
/// The limit that was reached, as a sentence.
pub(super) fn within<R>(run: impl FnOnce() -> R) -> Result<R, &'static str> {
    METER.with(|meter| {
        meter.steps.set(STEPS_MAX);
        meter.bytes.set(0);
        meter.room.set(BYTES_MAX);
        meter.floor.set(Some(stack_address()));
        meter.paths.set(false);
    });
    // What is unwound is dropped; none of it is used afterwards.
    let outcome = catch_unwind(AssertUnwindSafe(run));
    METER.with(|meter| {
        meter.steps.set(u64::MAX);
        meter.room.set(usize::MAX);
        meter.floor.set(None);
    });
    outcome.map_err(|panic| match panic.downcast::<Runaway>() {
        Ok(runaway) => runaway.0,
        Err(panic) => resume_unwind(panic),
    })
}

/// Ends the program for this reason.
pub(super) fn stop(reason: &'static str) -> ! {
    // Without the panic hook: this is not a defect and must not look like one in the log.
    resume_unwind(Box::new(Runaway(reason)))
}

/// Counts one term, and looks how deep the stack is.
pub(super) fn term() {
    work(1);
    METER.with(|meter| {
        let Some(floor) = meter.floor.get() else { return };
        if stack_address().abs_diff(floor) > stack::room() {
            stop(TOO_DEEP);
        }
    });
}

/// Counts steps.
pub(super) fn work(steps: usize) {
    METER.with(|meter| match meter.steps.get().checked_sub(steps as u64) {
        Some(left) => meter.steps.set(left),
        None => stop(TOO_LONG),
    });
}

/// Counts one more link in a chain that the interpreter keeps: of closures within closures, or of the steps of a path.
/// It drops such a chain by calling itself for each link, and looks at no limit then.
pub(super) fn link() {
    work(LINK_STEPS * LINKED_STACK_BYTES / stack::room());
}

/// Counts a look into a value. One that finds paths may go on for ever, as `null | .a | .a …`.
pub(super) fn look() {
    if METER.with(|meter| meter.paths.get()) { link() } else { work(1) }
}

/// Finds the next path.
pub(super) fn finding_paths<R>(next: impl FnOnce() -> R) -> R {
    let before = METER.with(|meter| meter.paths.replace(true));
    let found = next();
    METER.with(|meter| meter.paths.set(before));
    found
}

/// Counts the reading or writing of so many bytes.
pub(super) fn touch(bytes: usize) {
    work(bytes / BYTES_A_STEP);
}

/// Ends the program if it has no room for so many bytes more.
pub(super) fn reserve(bytes: usize) {
    METER.with(|meter| {
        if meter.bytes.get().saturating_add(bytes) > meter.room.get() {
            stop(TOO_LARGE);
        }
    });
}

/// Bytes that a value holds for as long as it lives.
#[derive(Debug)]
pub(super) struct Held(usize);

impl Held {
    pub(super) fn new(bytes: usize) -> Self {
        reserve(bytes);
        METER.with(|meter| meter.bytes.set(meter.bytes.get() + bytes));
        touch(bytes);
        Self(bytes)
    }

    /// Follows a value that has grown or shrunk.
    pub(super) fn set(&mut self, bytes: usize) {
        if bytes > self.0 {
            reserve(bytes - self.0);
            touch(bytes - self.0);
        }
        METER.with(|meter| meter.bytes.set((meter.bytes.get() + bytes).saturating_sub(self.0)));
        self.0 = bytes;
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        Self::new(self.0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        METER.with(|meter| meter.bytes.set(meter.bytes.get().saturating_sub(self.0)));
    }
}

/// Roughly the current end of the stack.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}
