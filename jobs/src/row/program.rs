//! Transforms that only set, test, compare, compute and concatenate, as operations on the places of a row.
//!
//! What such a program makes of a row is what the interpreter makes of the same row as an object; a property test holds
//! the two together. A program with anything else in it is left to the interpreter as a whole, and a row at which an
//! operation may fail, or give what is not plainly the same, as a single one.

use std::cell::Cell;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::ops::Math;
use jaq_core::path::Part;

use super::expression::{Constant, Expression, Function};
use super::names::Names;
use crate::jq::Tree;

/// The most operations of one expression. `. | . + . | . + .` doubles them with each step.
const OPERATIONS_MAX: usize = 2_000;

/// A program in this form.
#[derive(Debug, Default)]
pub(super) struct Program(pub(super) Vec<Step>);

/// What is done to a row, one after the other.
#[derive(Debug)]
pub(super) enum Step {
    /// All are computed from the row before any is set.
    Set(Vec<(usize, Expression)>),
    /// The item is skipped unless this holds.
    Keep(Expression),
}

impl Program {
    /// Compiles a program over the fields of a row, whose names it changes to those of its result.
    pub(super) fn compile(term: &Tree<'_>, names: &mut Names) -> Option<Self> {
        let mut program = Self::default();
        program.add(term, names)?;
        Some(program)
    }

    fn add(&mut self, term: &Tree<'_>, names: &mut Names) -> Option<()> {
        match term {
            Term::Id => {}
            Term::BinOp(first, BinaryOp::Pipe(None), then) => {
                self.add(first, names)?;
                self.add(then, names)?;
            }
            Term::BinOp(field, BinaryOp::Assign, value) => {
                let value = Expression::compile(value, names)?;
                self.set(field, value, names)?;
            }
            Term::BinOp(field, BinaryOp::Update, value) => {
                let value = Expression::compile_on(value, &name_in(field)?, names)?;
                self.set(field, value, names)?;
            }
            Term::BinOp(field, BinaryOp::UpdateMath(operator), value) => {
                let (old, value) = (Expression::field(&name_in(field)?, names), Expression::compile(value, names)?);
                self.set(field, Expression::math(*operator, old, value)?, names)?;
            }
            Term::BinOp(row, BinaryOp::Math(Math::Add), object) if matches!(**row, Term::Id) => {
                let Term::Obj(entries) = &**object else { return None };
                let values = entries_of(entries, names)?;
                self.0.push(Step::Set(
                    values.into_iter().map(|(name, value)| (names.place_or_new(&name), value)).collect(),
                ));
            }
            Term::Obj(entries) => {
                let values = entries_of(entries, names)?;
                names.clear();
                self.0.push(Step::Set(
                    values.into_iter().map(|(name, value)| (names.place_or_new(&name), value)).collect(),
                ));
            }
            Term::Call("select", arguments) => {
                let [condition] = arguments.as_slice() else { return None };
                self.0.push(Step::Keep(Expression::compile(condition, names)?));
            }
            Term::Call("del", arguments) => {
                let [fields] = arguments.as_slice() else { return None };
                removed(fields)?.iter().for_each(|name| names.remove(name));
            }
            _ => return None,
        }
        Some(())
    }

    fn set(&mut self, field: &Tree<'_>, value: Expression, names: &mut Names) -> Option<()> {
        self.0.push(Step::Set(vec![(names.place_or_new(&name_in(field)?), value)]));
        Some(())
    }
}

/// The entries of an object whose keys are known. One key twice is left to the interpreter.
fn entries_of(entries: &[(Tree<'_>, Option<Tree<'_>>)], names: &Names) -> Option<Vec<(String, Expression)>> {
    let mut found: Vec<(String, Expression)> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let name = text_in(key)?;
        if found.iter().any(|(other, _)| *other == name) {
            return None;
        }
        let value = match value {
            Some(value) => Expression::compile(value, names)?,
            None => Expression::field(&name, names),
        };
        found.push((name, value));
    }
    Some(found)
}

/// The fields of `del(.a, .b)`.
fn removed(term: &Tree<'_>) -> Option<Vec<String>> {
    match term {
        Term::BinOp(first, BinaryOp::Comma, then) => Some([removed(first)?, removed(then)?].concat()),
        field => Some(vec![name_in(field)?]),
    }
}

/// The name in `.name` or `."any name"`.
pub(super) fn name_in(term: &Tree<'_>) -> Option<String> {
    match term {
        Term::Path(head, path) if matches!(**head, Term::Id) => match path.0.as_slice() {
            [(Part::Index(name), _)] => text_in(name),
            _ => None,
        },
        _ => None,
    }
}

/// A text without anything to be computed in it.
pub(super) fn text_in(term: &Tree<'_>) -> Option<String> {
    let Term::Str(None, parts) = term else { return None };
    let mut text = String::new();
    for part in parts {
        match part {
            StrPart::Str(part) => text.push_str(part),
            StrPart::Char(letter) => text.push(*letter),
            StrPart::Term(_) => return None,
        }
    }
    Some(text)
}

impl Expression {
    /// Compiles an expression whose input is the row.
    pub(super) fn compile(term: &Tree<'_>, names: &Names) -> Option<Self> {
        Compiler::over(names, None).expression(term)
    }

    /// Compiles an expression whose input is the field of this name.
    fn compile_on(term: &Tree<'_>, name: &str, names: &Names) -> Option<Self> {
        Compiler::over(names, Some(Self::field(name, names))).expression(term)
    }

    /// A field that a row does not have is null.
    fn field(name: &str, names: &Names) -> Self {
        names.place(name).map_or(Self::Constant(Constant::Null), Self::Place)
    }

    fn math(operator: Math, left: Self, right: Self) -> Option<Self> {
        match operator {
            Math::Rem => None,
            operator => Some(Self::Math(operator, Box::new((left, right)))),
        }
    }
}

struct Compiler<'n> {
    names: &'n Names,
    /// What `.` is. `None`: the row.
    input: Option<Expression>,
    /// How many operations `.` is.
    weight: usize,
    /// How many more operations may be made.
    left: Cell<usize>,
}

impl<'n> Compiler<'n> {
    fn over(names: &'n Names, input: Option<Expression>) -> Self {
        Self { names, input, weight: 1, left: Cell::new(OPERATIONS_MAX) }
    }

    /// `None`: it comes to too many operations.
    fn spend(&self, operations: usize) -> Option<()> {
        self.left.set(self.left.get().checked_sub(operations)?);
        Some(())
    }

    fn expression(&self, term: &Tree<'_>) -> Option<Expression> {
        self.spend(1)?;
        match term {
            Term::Id => {
                self.spend(self.weight)?;
                self.input.clone()
            }
            Term::Num(digits) => match Constant::number(digits)? {
                Constant::Number(_) => None,
                whole => Some(Expression::Constant(whole)),
            },
            Term::Neg(inner) => match self.expression(inner)? {
                Expression::Constant(Constant::Int(number)) => Some(Expression::Constant(Constant::Int(-number))),
                _ => None,
            },
            Term::Str(None, parts) => self.text(parts),
            Term::Path(..) if self.input.is_none() => Some(Expression::field(&name_in(term)?, self.names)),
            Term::BinOp(left, operator, right) => self.operation(left, operator, right),
            Term::IfThenElse(cases, Some(other)) => {
                let mut compiled = Vec::with_capacity(cases.len());
                for (condition, then) in cases {
                    compiled.push((self.expression(condition)?, self.expression(then)?));
                }
                Some(Expression::If(compiled, Box::new(self.expression(other)?)))
            }
            Term::Call(name, arguments) => self.call(name, arguments),
            _ => None,
        }
    }

    fn text(&self, parts: &[StrPart<&str, Tree<'_>>]) -> Option<Expression> {
        let mut compiled = Vec::with_capacity(parts.len());
        for part in parts {
            compiled.push(match part {
                StrPart::Str(text) => Expression::Constant(Constant::Text((*text).to_owned())),
                StrPart::Char(letter) => Expression::Constant(Constant::Text(letter.to_string())),
                StrPart::Term(term) => self.expression(term)?,
            });
        }
        match compiled.as_slice() {
            [] => Some(Expression::Constant(Constant::Text(String::new()))),
            [Expression::Constant(Constant::Text(_))] => compiled.pop(),
            _ => Some(Expression::Text(compiled)),
        }
    }

    fn operation(&self, left: &Tree<'_>, operator: &BinaryOp<&str>, right: &Tree<'_>) -> Option<Expression> {
        if let BinaryOp::Pipe(None) = operator {
            let before = self.left.get();
            let input = Some(self.expression(left)?);
            let inner = Self { names: self.names, input, weight: before - self.left.get(), left: self.left.clone() };
            let piped = inner.expression(right);
            self.left.set(inner.left.get());
            return piped;
        }
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        match operator {
            BinaryOp::Math(operator) => Expression::math(*operator, left, right),
            BinaryOp::Cmp(operator) => Some(Expression::Compare(*operator, Box::new((left, right)))),
            BinaryOp::And => Some(Expression::And(Box::new((left, right)))),
            BinaryOp::Or => Some(Expression::Or(Box::new((left, right)))),
            BinaryOp::Alt => Some(Expression::Alternative(Box::new((left, right)))),
            _ => None,
        }
    }

    fn call(&self, name: &str, arguments: &[Tree<'_>]) -> Option<Expression> {
        match (name, arguments) {
            ("null", []) => return Some(Expression::Constant(Constant::Null)),
            ("true", []) => return Some(Expression::Constant(Constant::Bool(true))),
            ("false", []) => return Some(Expression::Constant(Constant::Bool(false))),
            _ => {}
        }
        let function = Function::named(name, arguments.len())?;
        let input = if function.takes_input() { Some(self.expression(&Term::Id)?) } else { None };
        let mut compiled: Vec<Expression> = input.into_iter().collect();
        for argument in arguments {
            compiled.push(self.argument(argument)?);
        }
        Some(Expression::Call(function, compiled))
    }

    /// Functions for decimals also take numbers that are not whole.
    fn argument(&self, term: &Tree<'_>) -> Option<Expression> {
        match term {
            Term::Num(digits) => Constant::number(digits).map(Expression::Constant),
            term => self.expression(term),
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::aggregate::Datum;

    use super::*;
    use crate::jq::with_term;

    /// What Rust gives a thread.
    const ORDINARY_STACK_BYTES: usize = 2 * 1024 * 1024;

    fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
        format!(".a = {}{inner}{}", open.repeat(times), close.repeat(times))
    }

    #[test]
    fn a_program_as_deep_as_it_can_be_needs_no_more_than_an_ordinary_stack() {
        let deep = [
            nested("(", ".a", ")", 200),
            nested("1+", ".a", "", 1_000),
            nested("(1+", ".a", ")", 200),
            nested("if .a then 1 else ", ".a", " end", 80),
            nested("\"\\(", ".a", ")\"", 200),
            nested(".a|", "not", "", 600),
            nested(".a//", ".a", "", 400),
            nested("-", "1", "", 2_000),
            nested("[", ".a", "]", 200),
            format!(".a = (.a{})", "|.+.".repeat(300)),
        ];
        for code in deep {
            let thread = std::thread::Builder::new().stack_size(ORDINARY_STACK_BYTES).spawn(move || {
                let mut names = Names::of(&["a".to_owned()]);
                let program = with_term(&code, |term| Program::compile(term, &mut names)).flatten();
                for step in program.iter().flat_map(|program| &program.0) {
                    let Step::Set(fields) = step else { continue };
                    fields.iter().for_each(|(_, value)| drop(value.value(&[Datum::Int(7)])));
                }
            });
            thread.expect("a thread").join().expect("room enough");
        }
    }

    #[test]
    fn a_program_whose_operations_double_at_each_step_is_left_to_the_interpreter() {
        let compiled = |steps: usize| {
            let code = format!(".a = (.a{})", "|.+.".repeat(steps));
            with_term(&code, |term| Program::compile(term, &mut Names::default()).is_some())
        };
        assert_eq!((compiled(3), compiled(60)), (Some(true), Some(false)));
    }
}
