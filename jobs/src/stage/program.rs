//! A compiled jq program that always ends.
//!
//! jq is a full programming language: a slip makes a program that never ends or that recurses until the stack is
//! exhausted, which would take the whole process with it. The interpreter asks for its table of terms each time it
//! evaluates one; [`Meter`] counts these requests and measures how deep the stack is, and beyond the limit unwinds to
//! [`Program::run`]. Two gaps remain, on purpose: a native function such as `range` that yields very much is not
//! counted, and memory is not measured.
//!
//! Not offered, because the same item must give the same result at each attempt and on each machine, and because items
//! come from strangers: `env`, `$ENV`, `now`, `input`; `debug` is silent.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use jaq_core::data::{DataT, HasLut};
use jaq_core::load::lex::Expect as Lexed;
use jaq_core::load::{Arena, Error as LoadError, File, Loader};
use jaq_core::native::{Fun, run, v};
use jaq_core::{Compiler, Ctx, Filter, Lut, Vars};
use jaq_json::Val;

use super::decimals;

/// The most terms that a program evaluates for one item: some tenths of a second.
const STEPS_MAX: u64 = 5_000_000;

/// The most stack that it uses: well below what the threads for items have.
const STACK_BYTES_MAX: usize = 6 * 1024 * 1024;

/// The functions of the standard library that are left out, or replaced by [`silent`] ones.
const LEFT_OUT: [&str; 4] = ["env", "now", "debug_empty", "stderr_empty"];

/// A compiled program.
pub(super) struct Program(Filter<Metered>);

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Program")
    }
}

/// One output of a program.
#[derive(Debug)]
pub(super) enum Output {
    Value(Val),
    /// It raised an error.
    Error(String),
    /// It did not end.
    Runaway(&'static str),
}

/// The kind of data that our programs run on: jq values, and a meter.
struct Metered;

impl DataT for Metered {
    type V<'a> = Val;
    type Data<'a> = &'a Meter<'a>;
}

/// What a program has used so far.
struct Meter<'a> {
    lut: &'a Lut<Metered>,
    steps: Cell<u64>,
    floor: usize,
}

/// The value that is thrown when a limit is reached.
struct Runaway(&'static str);

impl<'a> HasLut<'a, Metered> for &'a Meter<'a> {
    fn lut(&self) -> &'a Lut<Metered> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if steps > STEPS_MAX {
            // Without the panic hook: this is not a defect and must not look like one in the log.
            resume_unwind(Box::new(Runaway("it did not end within 5,000,000 steps; does it call itself for ever?")));
        }
        if stack_address().abs_diff(self.floor) > STACK_BYTES_MAX {
            resume_unwind(Box::new(Runaway(
                "it calls itself too deeply; let it call itself only as the last thing it does",
            )));
        }
        self.lut
    }
}

/// Roughly the current end of the stack.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

impl Program {
    /// Compiles a program.
    ///
    /// # Errors
    ///
    /// What is wrong, with the place in the program and a caret under it.
    pub(super) fn compile(code: &str) -> Result<Self, String> {
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let funs = jaq_core::funs().chain(jaq_std::base_funs()).chain(jaq_std::extra_funs()).chain(jaq_json::funs());
        let funs = funs.filter(|(name, ..)| !LEFT_OUT.contains(name)).chain(decimals::funs()).chain(silent());
        let arena = Arena::default();
        let modules = Loader::new(defs)
            .load(&arena, File { code, path: () })
            .map_err(|errors| errors.into_iter().map(|(_, error)| load_problem(code, &error)).collect::<String>())?;
        Compiler::default().with_funs(funs).compile(modules).map(Self).map_err(|errors| {
            let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
            first.map_or_else(
                || "it cannot be compiled".to_owned(),
                |(name, kind)| at(code, name, &undefined(name, kind.as_str())),
            )
        })
    }

    /// Runs the program and returns its outputs, at most `most` of them.
    pub(super) fn run(&self, input: Val, most: usize) -> Vec<Output> {
        let meter = Meter { lut: &self.0.lut, steps: Cell::new(0), floor: stack_address() };
        let run = || {
            let context = Ctx::<Metered>::new(&meter, Vars::new([]));
            self.0.id.run((context, input)).take(most).map(output).collect()
        };
        // What is unwound is dropped; none of it is used afterwards.
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(outputs) => outputs,
            Err(panic) => match panic.downcast::<Runaway>() {
                Ok(runaway) => vec![Output::Runaway(runaway.0)],
                Err(panic) => resume_unwind(panic),
            },
        }
    }
}

/// `debug` and `stderr` pass on their input and print nothing: an item must not get into a log.
fn silent() -> impl Iterator<Item = Fun<Metered>> {
    ["debug_empty", "stderr_empty"].into_iter().map(|name| run((name, v(0), |_| Box::new(std::iter::empty()))))
}

/// `halt` is an error here: the crate's own behaviour would end the whole process.
fn output(result: jaq_json::ValX<'_>) -> Output {
    match result {
        Ok(value) => Output::Value(value),
        Err(exception) => match exception.get_err() {
            Ok(error) => Output::Error(match error.into_val() {
                Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
                other => other.to_string(),
            }),
            Err(_) => Output::Error("it used `halt` or `break` outside of its label".to_owned()),
        },
    }
}

fn undefined(name: &str, kind: &str) -> String {
    match name {
        "env" | "$ENV" | "now" | "input" | "inputs" => {
            format!("`{name}` is not offered: the same item must give the same result at each attempt")
        }
        _ => format!("there is no {kind} `{name}`; look at its name and the number of its arguments"),
    }
}

fn load_problem(code: &str, error: &LoadError<&str>) -> String {
    match error {
        LoadError::Io(errors) => errors.first().map_or_else(String::new, |(path, _)| {
            at(code, path, "modules cannot be loaded; write the program in one piece")
        }),
        LoadError::Lex(errors) => errors.first().map_or_else(String::new, |(expected, found)| match expected {
            Lexed::Delim(open) => at(code, open, "what is opened here is not closed"),
            other => at(code, found, &format!("{} was expected", other.as_str())),
        }),
        LoadError::Parse(errors) => errors.first().map_or_else(String::new, |(expected, found)| {
            at(code, found, &format!("{} was expected", expected.as_str()))
        }),
    }
}

/// The problem, the line that it is on, and a caret under its place. `found` is a part of `code`.
fn at(code: &str, found: &str, problem: &str) -> String {
    let offset = found.as_ptr().addr().wrapping_sub(code.as_ptr().addr());
    let offset = if offset <= code.len() && code.is_char_boundary(offset) { offset } else { code.len() };
    let before = &code[..offset];
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = code[start..].lines().next().unwrap_or_default();
    let (row, column) = (before.matches('\n').count() + 1, code[start..offset].chars().count());
    format!("line {row}, column {}: {problem}\n  {line}\n  {}^", column + 1, " ".repeat(column))
}
