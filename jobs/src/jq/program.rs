//! A compiled jq program that always ends.

use jaq_core::data::{DataT, HasLut};
use jaq_core::load::lex::Expect as Lexed;
use jaq_core::load::parse::{Def, Expect as Parsed, Parser, Term};
use jaq_core::load::{Arena, File, Lexer, Loader};
use jaq_core::native::{bome, run, v};
use jaq_core::{Bind, Compiler, Ctx, Cv, Error, Exn, Filter, Lut, Native, Vars};
use serde_json::Value;

use super::native::Fun;
use super::rewrite::Rewriter;
use super::value::Val;
use super::{json, meter};

/// The longest program.
const CODE_BYTES_MAX: usize = 32 * 1024;

/// The longest program that is looked at: what is made of it is dropped, and run, on the stacks of other threads.
const SHORT_BYTES_MAX: usize = 2 * 1024;

/// The deepest nesting of brackets in a program.
const BRACKETS_MAX: usize = 200;

/// The stack for compiling. Each level of a program needs some of it; only the touched part costs memory.
const COMPILE_STACK_BYTES: usize = 512 * 1024 * 1024;

/// The program as a definition: the interpreter takes rewritten terms only so.
const MAIN: &str = "_main";

/// The functions of the interpreter itself that are not offered under their own names.
const RENAMED: [(&str, &str); 2] = [("limit", "_limit"), ("skip", "_skip")];

/// Those that are replaced.
const REPLACED: [&str; 5] = ["range", "keys_unsorted", "key_values", "path", "path_value"];

/// A compiled program.
pub(crate) struct Program(Filter<Metered>);

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Program")
    }
}

/// One output of a program.
#[derive(Debug, PartialEq)]
pub(crate) enum Output {
    Value(Value),
    /// It raised an error.
    Error(String),
    /// Its output is nothing that an item can hold.
    Unfit(String),
    /// It did not end.
    Runaway(&'static str),
}

/// The kind of data that our programs run on.
pub(super) struct Metered;

impl DataT for Metered {
    type V<'a> = Val;
    type Data<'a> = Terms<'a>;
}

/// The terms of a program. The interpreter asks for them each time it evaluates one.
#[derive(Clone)]
pub(super) struct Terms<'a>(&'a Lut<Metered>);

impl<'a> HasLut<'a, Metered> for Terms<'a> {
    fn lut(&self) -> &'a Lut<Metered> {
        meter::term();
        self.0
    }
}

impl Program {
    /// Compiles a program.
    ///
    /// # Errors
    ///
    /// What is wrong, with the place in the program and a caret under it.
    pub(crate) fn compile(code: &str) -> Result<Self, String> {
        if code.len() > CODE_BYTES_MAX {
            return Err(format!("the program has {} bytes; at most {CODE_BYTES_MAX} are compiled", code.len()));
        }
        if let Some(place) = too_nested(code) {
            return Err(at(code, place, &format!("brackets are nested deeper than {BRACKETS_MAX} levels")));
        }
        with_room(|| compiled(code)).unwrap_or_else(|problem| Err(problem.to_owned()))
    }

    /// Runs the program on an item and returns its outputs, at most `most` of them.
    pub(crate) fn run(&self, item: &Value, most: usize) -> Vec<Output> {
        let outputs = meter::within(|| {
            let context = Ctx::<Metered>::new(Terms(&self.0.lut), Vars::new([]));
            self.0.id.run((context, json::from_item(item))).take(most).map(output).collect()
        });
        outputs.unwrap_or_else(|reason| vec![Output::Runaway(reason)])
    }
}

/// Does something that recurses as deeply as a program is nested, on a thread with the stack for it.
fn with_room<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, &'static str> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("jq-compile".to_owned()).stack_size(COMPILE_STACK_BYTES);
        let working = thread.spawn_scoped(scope, work).map_err(|_| "no thread can be started to compile it")?;
        working.join().map_err(|_| "it cannot be compiled")
    })
}

fn compiled(code: &str) -> Result<Program, String> {
    let arena = Arena::default();
    let tokens = Lexer::new(code).lex().map_err(|errors| {
        errors.first().map_or_else(String::new, |(expected, found)| match expected {
            Lexed::Delim(open) => at(code, open, "what is opened here is not closed"),
            other => at(code, found, &format!("{} was expected", other.as_str())),
        })
    })?;
    let term = Parser::new(&tokens).parse(|parser| parser.term()).map_err(|errors| {
        errors.first().map_or_else(String::new, |(expected, found)| {
            at(code, found.map_or(&code[code.len()..], |token| token.0), &unexpected(expected, found.map(|t| t.0)))
        })
    })?;
    let main = Def { name: MAIN, args: Vec::new(), body: Rewriter::new(code, &arena).term(term) };
    let prelude = jaq_core::load::parse(include_str!("prelude.jq"), |parser| parser.defs()).unwrap_or_default();
    let modules = Loader::new(prelude.into_iter().chain([main]))
        .load(&arena, File { code: MAIN, path: () })
        .map_err(|_| "it cannot be compiled".to_owned())?;
    Compiler::default().with_funs(funs()).compile(modules).map(Program).map_err(|errors| {
        let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
        first.map_or_else(
            || "it cannot be compiled".to_owned(),
            |(name, kind)| at(code, name, &undefined(name, kind.as_str())),
        )
    })
}

/// A program as it is written.
pub(crate) type Tree<'s> = Term<&'s str>;

/// Lets `read` look at a program that can be compiled. `None`: it is too long.
pub(crate) fn with_term<R: Send>(code: &str, read: impl FnOnce(&Tree<'_>) -> R + Send) -> Option<R> {
    if code.len() > SHORT_BYTES_MAX {
        return None;
    }
    let read = || {
        let tokens = Lexer::new(code).lex().ok()?;
        let term = Parser::new(&tokens).parse(|parser| parser.term()).ok()?;
        Some(read(&term))
    };
    with_room(read).ok().flatten()
}

/// All functions in Rust.
fn funs() -> impl Iterator<Item = Fun> {
    let core = jaq_core::funs::<Metered>().filter(|(name, ..)| !REPLACED.contains(name)).map(|(name, args, fun)| {
        let renamed = RENAMED.iter().find(|(old, _)| *old == name);
        (renamed.map_or(name, |(_, new)| *new), args, fun)
    });
    let ours = [super::lists::funs(), super::texts::funs(), super::patterns::funs(), super::dates::funs()];
    let more = [super::math::funs(), super::decimals::funs(), control()];
    core.chain(ours.into_iter().chain(more).flatten())
}

/// Constants, what ends a program, and what rewritten terms call.
fn control() -> Vec<Fun> {
    let closure = || Box::new([Bind::Fun(())]) as Box<[Bind]>;
    vec![
        run(("null", v(0), |_| bome(Ok(Val::Null)))),
        run(("true", v(0), |_| bome(Ok(Val::Bool(true))))),
        run(("false", v(0), |_| bome(Ok(Val::Bool(false))))),
        run(("halt", v(0), |_| jaq_core::box_iter::box_once(Err(Exn::halt(0))))),
        run(("halt_error", v(0), |_| jaq_core::box_iter::box_once(Err(Exn::halt(5))))),
        run(("halt_error", v(1), |_| jaq_core::box_iter::box_once(Err(Exn::halt(5))))),
        run(("path", closure(), |mut cv| {
            let (f, context) = cv.0.pop_fun();
            let mut found = f.paths((context, (cv.1, Default::default())));
            Box::new(std::iter::from_fn(move || {
                let path = meter::finding_paths(|| found.next())?;
                Some(path.map(|(_, path)| {
                    let mut steps = path.iter().cloned().collect::<Vec<_>>();
                    steps.reverse();
                    Val::list(steps)
                }))
            }))
        })),
        linked(),
        run(("_last_or_null", closure(), |mut cv| {
            let (f, context) = cv.0.pop_fun();
            let last = f.run((context, cv.1)).try_fold(Val::Null, |_, next| next);
            jaq_core::box_iter::box_once(last)
        })),
        run(("_all_and_last", closure(), |mut cv| {
            let (f, context) = cv.0.pop_fun();
            let all = f.run((context, cv.1)).collect::<Result<Vec<_>, _>>();
            jaq_core::box_iter::box_once(all.map(|all| {
                let last = all.last().cloned().unwrap_or_default();
                Val::list(vec![Val::list(all), last])
            }))
        })),
    ]
}

/// The input itself, where a function calls itself with closures: each call keeps those of the one before.
fn linked() -> Fun {
    let native = Native::new(|cv: Cv<'_, Metered>| {
        meter::link();
        jaq_core::box_iter::box_once(Ok(cv.1))
    });
    let native = native.with_paths(|cv| {
        meter::link();
        jaq_core::box_iter::box_once(Ok(cv.1))
    });
    let native = native.with_update(|cv, change| {
        meter::link();
        change(cv.1)
    });
    ("_linked", v(0), native)
}

fn output(result: jaq_core::ValX<'_, Val>) -> Output {
    match result {
        Ok(value) => json::to_item(&value, 0).map_or_else(Output::Unfit, Output::Value),
        Err(exception) => match exception.get_err() {
            Ok(error) => Output::Error(raised(error)),
            // Otherwise it would end the whole process.
            Err(_) => Output::Error("it used `halt` or `break` outside of its label".to_owned()),
        },
    }
}

fn raised(error: Error<Val>) -> String {
    match error.into_val() {
        Val::Str(text) => text.to_string(),
        other => json::beginning(&other, 2_000),
    }
}

fn undefined(name: &str, kind: &str) -> String {
    match name {
        "env" | "$ENV" | "now" | "input" | "inputs" | "localtime" | "strflocaltime" | "input_filename"
        | "input_line_number" | "$__prog_args" => {
            format!("`{name}` is not offered: the same item must give the same result at each attempt")
        }
        _ => format!("there is no {kind} `{name}`; look at its name and the number of its arguments"),
    }
}

fn unexpected(expected: &Parsed<&str>, found: Option<&str>) -> String {
    match found {
        Some("include" | "import" | "module") => "modules cannot be loaded; write the program in one piece".to_owned(),
        Some("?//") => "alternatives of patterns (`?//`) are not offered".to_owned(),
        _ => format!("{} was expected", expected.as_str()),
    }
}

/// Returns the bracket that is nested too deeply, if there is one. Brackets in texts count as well.
fn too_nested(code: &str) -> Option<&str> {
    let mut depth = 0_usize;
    code.char_indices().find_map(|(place, letter)| {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (depth > BRACKETS_MAX).then(|| &code[place..])
    })
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
