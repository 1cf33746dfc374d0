//! Rewrites a program where the interpreter means something other than jq does.
//!
//! * `..` counts its steps, and a long path is taken in pieces.
//! * In `l + r` and `"\(l) \(r)"` the outputs of the right side are the outer loop.
//! * `reduce` and `foreach` go on with the last output of their update, or with null.
//! * What `|=` finds by anything but a plain path is changed path by path, and removed at the end.
//!
//! Where a term plainly has one output there is nothing to rewrite, and it stays as fast as it is.

use std::cell::RefCell;

use jaq_core::load::Arena;
use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::path::{Opt, Part, Path};

/// Functions of the input alone that have one output.
const SINGLE: [&str; 33] = [
    "add",
    "ascii_downcase",
    "ascii_upcase",
    "ceil",
    "explode",
    "false",
    "first",
    "flatten",
    "floor",
    "from_entries",
    "fromjson",
    "implode",
    "keys",
    "keys_unsorted",
    "last",
    "length",
    "max",
    "min",
    "not",
    "null",
    "reverse",
    "round",
    "sort",
    "to_entries",
    "tojson",
    "tonumber",
    "tostring",
    "transpose",
    "trim",
    "true",
    "type",
    "unique",
    "todate",
];

/// Functions that have one output for each combination of those of their arguments. The last is the outer loop.
const BY_VALUE: [&str; 21] = [
    "atan2",
    "copysign",
    "drem",
    "fdim",
    "fma",
    "fmax",
    "fmin",
    "fmod",
    "hypot",
    "jn",
    "ldexp",
    "match",
    "nextafter",
    "nexttoward",
    "pow",
    "remainder",
    "scalb",
    "scalbln",
    "setpath",
    "test",
    "yn",
];

/// Functions with closures that have one output.
const CLOSED: [&str; 10] =
    ["map", "map_values", "sort_by", "group_by", "unique_by", "min_by", "max_by", "any", "all", "with_entries"];

type Tree<'s> = Term<&'s str>;

/// What rewriting needs to know.
pub(super) struct Rewriter<'s> {
    code: &'s str,
    arena: &'s Arena,
    /// The names that the program gives to functions and their arguments.
    own: Vec<&'s str>,
    /// The definitions around the term that take closures.
    around: RefCell<Vec<&'s str>>,
}

impl<'s> Rewriter<'s> {
    pub(super) fn new(code: &'s str, arena: &'s Arena) -> Self {
        Self { code, arena, own: defined(code), around: RefCell::default() }
    }

    pub(super) fn term(&self, term: Tree<'s>) -> Tree<'s> {
        match term {
            Term::Recurse => Term::Call("recurse", Vec::new()),
            Term::Str(format, parts) => self.text(format, parts),
            Term::Arr(inner) => Term::Arr(inner.map(|inner| self.boxed(*inner))),
            Term::Obj(entries) => Term::Obj(entries.into_iter().map(|entry| self.entry(entry)).collect()),
            Term::Neg(inner) => Term::Neg(self.boxed(*inner)),
            Term::BinOp(left, operator, right) => self.operation(*left, operator, *right),
            Term::Label(name, inner) => Term::Label(name, self.boxed(*inner)),
            Term::Fold(kind, source, pattern, parts) => self.fold(kind, *source, pattern, parts),
            Term::TryCatch(inner, catch) => Term::TryCatch(self.boxed(*inner), catch.map(|catch| self.boxed(*catch))),
            Term::IfThenElse(cases, other) => Term::IfThenElse(
                cases.into_iter().map(|(condition, then)| (self.term(condition), self.term(then))).collect(),
                other.map(|other| self.boxed(*other)),
            ),
            Term::Def(defs, inner) => {
                Term::Def(defs.into_iter().map(|def| self.definition(def)).collect(), self.boxed(*inner))
            }
            Term::Call(name, arguments) => self.call(name, arguments),
            Term::Var(name) if name == "$__loc__" => self.location(name),
            Term::Path(head, path) => in_pieces(self.boxed(*head), self.path(path)),
            plain @ (Term::Id | Term::Num(_) | Term::Var(_) | Term::Break(_)) => plain,
        }
    }

    fn definition(&self, def: Def<&'s str>) -> Def<&'s str> {
        let takes_closures = def.args.iter().any(|argument| !argument.starts_with('$'));
        self.around.borrow_mut().extend(takes_closures.then_some(def.name));
        let body = self.term(def.body);
        if takes_closures {
            self.around.borrow_mut().pop();
        }
        Def { name: def.name, args: def.args, body }
    }

    fn boxed(&self, term: Tree<'s>) -> Box<Tree<'s>> {
        Box::new(self.term(term))
    }

    fn kept(&self, text: String) -> &'s str {
        self.arena.alloc(text)
    }

    fn entry(&self, (key, value): (Tree<'s>, Option<Tree<'s>>)) -> (Tree<'s>, Option<Tree<'s>>) {
        match (key, value) {
            (Term::Var(name), None) if name == "$__loc__" => (text("__loc__"), Some(self.location(name))),
            (key, value) => (self.term(key), value.map(|value| self.term(value))),
        }
    }

    /// `{"file": "<top-level>", "line": 1}`
    fn location(&self, place: &'s str) -> Tree<'s> {
        let offset = place.as_ptr().addr().wrapping_sub(self.code.as_ptr().addr());
        let line = self.code.get(..offset).map_or(1, |before| before.matches('\n').count() + 1);
        let line = Term::Num(self.kept(line.to_string()));
        Term::Obj(vec![(text("file"), Some(text("<top-level>"))), (text("line"), Some(line))])
    }

    fn path(&self, path: Path<Tree<'s>>) -> Path<Tree<'s>> {
        let part = |part| match part {
            Part::Index(index) => Part::Index(self.term(index)),
            Part::Range(from, to) => Part::Range(from.map(|from| self.term(from)), to.map(|to| self.term(to))),
        };
        Path(path.0.into_iter().map(|(one, opt)| (part(one), opt)).collect())
    }

    fn text(&self, format: Option<&'s str>, parts: Vec<StrPart<&'s str, Tree<'s>>>) -> Tree<'s> {
        let mut several = Several::default();
        let many = parts.iter().filter(|part| matches!(part, StrPart::Term(term) if !self.is_single(term))).count() > 1;
        let parts = parts.into_iter().map(|part| match part {
            StrPart::Term(term) if many => StrPart::Term(several.variable(self, self.term(term))),
            StrPart::Term(term) => StrPart::Term(self.term(term)),
            plain => plain,
        });
        let parts = parts.collect();
        several.around(Term::Str(format, parts))
    }

    fn call(&self, name: &'s str, arguments: Vec<Tree<'s>>) -> Tree<'s> {
        if !arguments.is_empty() && self.around.borrow().contains(&name) {
            let arguments = arguments.into_iter().map(|argument| self.term(argument)).collect();
            return pipe(Term::Call("_linked", Vec::new()), Term::Call(name, arguments));
        }
        let many = arguments.iter().filter(|argument| !self.is_single(argument)).count() > 1;
        if !many || !BY_VALUE.contains(&name) || self.own.contains(&name) {
            return Term::Call(name, arguments.into_iter().map(|argument| self.term(argument)).collect());
        }
        let mut several = Several::default();
        let arguments = arguments.into_iter().map(|argument| several.variable(self, self.term(argument))).collect();
        several.around(Term::Call(name, arguments))
    }

    fn operation(&self, left: Tree<'s>, operator: BinaryOp<&'s str>, right: Tree<'s>) -> Tree<'s> {
        match operator {
            BinaryOp::Math(_) | BinaryOp::Cmp(_) if !self.is_single(&left) && !self.is_single(&right) => {
                let mut several = Several::default();
                let left = several.variable(self, self.term(left));
                let right = several.variable(self, self.term(right));
                several.around(binary(left, operator, right))
            }
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt
                if !self.is_plain(&left) =>
            {
                self.assignment(left, operator, right)
            }
            BinaryOp::Pipe(Some(pattern)) => {
                let pattern = BinaryOp::Pipe(Some(self.pattern(pattern)));
                binary(self.term(left), pattern, self.term(right))
            }
            operator => binary(self.term(left), operator, self.term(right)),
        }
    }

    fn assignment(&self, left: Tree<'s>, operator: BinaryOp<&'s str>, right: Tree<'s>) -> Tree<'s> {
        let (left, right) = (self.term(left), self.term(right));
        let with = |operator| {
            let mut several = Several::default();
            let value = several.variable(self, right.clone());
            several.around(Term::Call("_modify", vec![left.clone(), binary(Term::Id, operator, value)]))
        };
        match operator {
            BinaryOp::Assign => Term::Call("_assign", vec![left, right]),
            BinaryOp::UpdateMath(operator) => with(BinaryOp::Math(operator)),
            BinaryOp::UpdateAlt => with(BinaryOp::Alt),
            _ => Term::Call("_modify", vec![left, right]),
        }
    }

    fn pattern(&self, pattern: Pattern<&'s str>) -> Pattern<&'s str> {
        match pattern {
            Pattern::Var(name) => Pattern::Var(name),
            Pattern::Arr(parts) => Pattern::Arr(parts.into_iter().map(|part| self.pattern(part)).collect()),
            Pattern::Obj(parts) => {
                Pattern::Obj(parts.into_iter().map(|(key, part)| (self.term(key), self.pattern(part))).collect())
            }
        }
    }

    fn fold(&self, kind: &'s str, source: Tree<'s>, pattern: Pattern<&'s str>, parts: Vec<Tree<'s>>) -> Tree<'s> {
        let single = parts.get(1).is_none_or(|update| self.is_single(update));
        let mut parts = parts.into_iter().map(|part| self.term(part)).collect::<Vec<_>>();
        match parts.as_mut_slice() {
            [_, update] if kind == "reduce" && !single => {
                *update = Term::Call("_last_or_null", vec![std::mem::take(update)]);
            }
            [init, update, rest @ ..] if kind == "foreach" && !single && rest.len() < 2 => {
                let extract = rest.first_mut().map(std::mem::take).unwrap_or_default();
                // The state is a pair: the outputs of the last update, and the last of them.
                let init = pipe(
                    std::mem::take(init),
                    Term::Arr(Some(Box::new(binary(Term::Arr(None), BinaryOp::Comma, Term::Id)))),
                );
                let update = pipe(at(Term::Id, "1"), Term::Call("_all_and_last", vec![std::mem::take(update)]));
                let each =
                    Term::Path(Box::new(at(Term::Id, "0")), Path(vec![(Part::Range(None, None), Opt::Essential)]));
                parts = vec![init, update, pipe(each, extract)];
            }
            _ => {}
        }
        Term::Fold(kind, Box::new(self.term(source)), self.pattern(pattern), parts)
    }

    /// Whether a term plainly has one output.
    fn is_single(&self, term: &Tree<'s>) -> bool {
        let single = |term: &Tree<'s>| self.is_single(term);
        match term {
            Term::Id | Term::Num(_) | Term::Var(_) | Term::Arr(_) => true,
            Term::Str(_, parts) => parts.iter().all(|part| match part {
                StrPart::Term(term) => single(term),
                _ => true,
            }),
            Term::Obj(entries) => entries.iter().all(|(key, value)| single(key) && value.as_ref().is_none_or(single)),
            Term::Neg(inner) => single(inner),
            Term::BinOp(_, BinaryOp::Comma, _) => false,
            Term::BinOp(
                left,
                BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt,
                right,
            ) => self.is_plain(left) && single(right),
            Term::BinOp(left, _, right) => single(left) && single(right),
            Term::IfThenElse(cases, other) => {
                cases.iter().all(|(condition, then)| single(condition) && single(then))
                    && other.as_ref().is_none_or(|other| single(other))
            }
            Term::Path(head, path) => single(head) && path.0.iter().all(|(part, opt)| self.is_single_part(part, *opt)),
            Term::Call(name, arguments) if !self.own.contains(name) => match arguments.as_slice() {
                [] => SINGLE.contains(name) || name.starts_with('@'),
                [_] => CLOSED.contains(name),
                _ => false,
            },
            _ => false,
        }
    }

    fn is_single_part(&self, part: &Part<Tree<'s>>, opt: Opt) -> bool {
        let single = |term: &Option<Tree<'s>>| term.as_ref().is_none_or(|term| self.is_single(term));
        matches!(opt, Opt::Essential)
            && match part {
                Part::Index(index) => self.is_single(index),
                Part::Range(None, None) => false,
                Part::Range(from, to) => single(from) && single(to),
            }
    }

    /// Whether a term is a path that the interpreter itself can change: no part of a value is met twice.
    fn is_plain(&self, term: &Tree<'s>) -> bool {
        match term {
            Term::Id => true,
            Term::Path(head, path) => {
                self.is_plain(head)
                    && path.0.iter().all(|(part, _)| {
                        matches!(part, Part::Range(None, None)) || self.is_single_part(part, Opt::Essential)
                    })
            }
            Term::BinOp(left, BinaryOp::Pipe(None), right) => self.is_plain(left) && self.is_plain(right),
            Term::Call("select", arguments) => {
                !self.own.contains(&"select") && arguments.iter().all(|f| self.is_single(f))
            }
            _ => false,
        }
    }
}

/// Returns the names between each `def` and its colon. Some of them may stand in a text; that costs only speed.
fn defined(code: &str) -> Vec<&str> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let heads = code.split("def").skip(1).filter_map(|rest| rest.split(':').next());
    heads.flat_map(|head| head.split(|letter| !is_name(letter))).filter(|name| !name.is_empty()).collect()
}

/// Variables for terms with several outputs. The last is the outermost loop.
#[derive(Default)]
struct Several<'s>(Vec<(&'s str, Tree<'s>)>);

impl<'s> Several<'s> {
    fn variable(&mut self, rewriter: &Rewriter<'s>, term: Tree<'s>) -> Tree<'s> {
        let name = rewriter.kept(format!("$_{}", self.0.len()));
        self.0.push((name, term));
        Term::Var(name)
    }

    fn around(self, inner: Tree<'s>) -> Tree<'s> {
        self.0
            .into_iter()
            .fold(inner, |inner, (name, term)| binary(term, BinaryOp::Pipe(Some(Pattern::Var(name))), inner))
    }
}

fn binary<'s>(left: Tree<'s>, operator: BinaryOp<&'s str>, right: Tree<'s>) -> Tree<'s> {
    Term::BinOp(Box::new(left), operator, Box::new(right))
}

fn pipe<'s>(left: Tree<'s>, right: Tree<'s>) -> Tree<'s> {
    binary(left, BinaryOp::Pipe(None), right)
}

fn text(text: &str) -> Tree<'_> {
    Term::Str(None, vec![StrPart::Str(text)])
}

/// How many steps of a path the interpreter takes at once. It calls itself for each of them and counts none.
const PIECE: usize = 32;

fn in_pieces<'s>(head: Box<Tree<'s>>, path: Path<Tree<'s>>) -> Tree<'s> {
    let mut parts = path.0.into_iter();
    let mut term = Term::Path(head, Path(parts.by_ref().take(PIECE).collect()));
    loop {
        let piece: Vec<_> = parts.by_ref().take(PIECE).collect();
        if piece.is_empty() {
            return term;
        }
        term = Term::Path(Box::new(term), Path(piece));
    }
}

fn at<'s>(head: Tree<'s>, place: &'s str) -> Tree<'s> {
    Term::Path(Box::new(head), Path(vec![(Part::Index(Term::Num(place)), Opt::Essential)]))
}
