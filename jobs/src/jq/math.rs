//! Mathematical functions, from the library of the interpreter.

use jaq_core::Error;
use jaq_core::native::{run, v};

use super::native::{Fun, function0};
use super::number::Num;
use super::operators::Valued;
use super::program::Metered;
use super::value::{List, Shown, Val};

/// The functions of the library that behave as jq's. The others are defined here, or in the prelude.
const BORROWED: [&str; 45] = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "copysign",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "exp",
    "exp10",
    "exp2",
    "expm1",
    "fdim",
    "fma",
    "fmax",
    "fmin",
    "fmod",
    "frexp",
    "hypot",
    "j0",
    "j1",
    "jn",
    "ldexp",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "modf",
    "nextafter",
    "pow",
    "remainder",
    "scalbln",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "tgamma",
    "y0",
];

/// Those of them that did not fit into a line above.
const BORROWED_TOO: [&str; 2] = ["y1", "yn"];

/// All functions of this kind.
pub(super) fn funs() -> Vec<Fun> {
    let borrowed = jaq_std::extra_funs::<Metered>();
    let borrowed = borrowed.filter(|(name, ..)| BORROWED.contains(name) || BORROWED_TOO.contains(name));
    let own = vec![
        function0!("floor", |value| rounded(value, "floor", f64::floor)),
        function0!("ceil", |value| rounded(value, "ceil", f64::ceil)),
        function0!("round", |value| rounded(value, "round", f64::round)),
        function0!("trunc", |value| rounded(value, "trunc", f64::trunc)),
        function0!("rint", |value| rounded(value, "rint", f64::round_ties_even)),
        function0!("nearbyint", |value| rounded(value, "nearbyint", f64::round_ties_even)),
        function0!("fabs", |value| fabs(value)),
        function0!("isinfinite", |value| Ok(is(&value, f64::is_infinite))),
        function0!("isnan", |value| Ok(is(&value, f64::is_nan))),
        function0!("isnormal", |value| Ok(is_normal(&value))),
        run(("infinite", v(0), |_| jaq_core::native::bome(Ok(Val::float(f64::INFINITY))))),
        run(("nan", v(0), |_| jaq_core::native::bome(Ok(Val::float(f64::NAN))))),
    ];
    borrowed.chain(own).collect()
}

/// What is no number is neither infinite nor nan.
fn is(value: &Val, holds: fn(f64) -> bool) -> Val {
    Val::Bool(value.as_number().is_some_and(holds))
}

/// What is no number is not normal either.
fn is_normal(value: &Val) -> Val {
    Val::Bool(value.as_number().is_some_and(f64::is_normal))
}

fn number<'a>(value: &'a Val, name: &str) -> Result<&'a Num, Error<Val>> {
    match value {
        Val::Num(number) => Ok(number),
        other => Err(Error::str(format_args!("{} number required for {name}", Shown(other)))),
    }
}

/// Whole numbers stay as they are.
fn rounded(value: Val, name: &str, round: fn(f64) -> f64) -> Valued {
    match number(&value, name)? {
        Num::Int(_) => Ok(value),
        other => Ok(Val::float(round(other.float()))),
    }
}

fn fabs(value: Val) -> Valued {
    match number(&value, "fabs")? {
        Num::Int(whole) if *whole < 0 => -value,
        Num::Int(_) => Ok(value),
        other => Ok(Val::float(other.float().abs())),
    }
}

/// What the library asks of values.
impl jaq_std::ValT for Val {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self {
            Self::Arr(list) => Ok(List::into_items(list).into_iter().collect()),
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        matches!(self, Self::Num(Num::Int(_)))
    }

    fn as_isize(&self) -> Option<isize> {
        let whole = self.as_number().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
        whole.map(|number| number as isize)
    }

    fn as_f64(&self) -> Option<f64> {
        self.as_number()
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Self::Str(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Str(text) => Some(str::as_bytes(text)),
            _ => None,
        }
    }

    fn as_sub_str(&self, part: &[u8]) -> Self {
        Self::text(String::from_utf8_lossy(part))
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::text(String::from_utf8_lossy(bytes.as_ref()))
    }
}
