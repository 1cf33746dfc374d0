//! How functions in Rust are offered to programs.

use super::program::Metered;

pub(super) type Fun = jaq_core::native::Fun<Metered>;

/// A function of the input alone.
macro_rules! function0 {
    ($name:literal, |$value:ident| $result:expr) => {
        jaq_core::native::run(($name, jaq_core::native::v(0), |cv| {
            let $value = cv.1;
            let call = || -> crate::jq::operators::Valued { $result };
            jaq_core::native::bome(call())
        }))
    };
}

/// A function of the input and one value.
macro_rules! function1 {
    ($name:literal, |$value:ident, $first:ident| $result:expr) => {
        jaq_core::native::run(($name, jaq_core::native::v(1), |mut cv| {
            let $first = cv.0.pop_var();
            let $value = cv.1;
            let call = || -> crate::jq::operators::Valued { $result };
            jaq_core::native::bome(call())
        }))
    };
}

/// A function of the input and two values.
macro_rules! function2 {
    ($name:literal, |$value:ident, $first:ident, $second:ident| $result:expr) => {
        jaq_core::native::run(($name, jaq_core::native::v(2), |mut cv| {
            let $second = cv.0.pop_var();
            let $first = cv.0.pop_var();
            let $value = cv.1;
            let call = || -> crate::jq::operators::Valued { $result };
            jaq_core::native::bome(call())
        }))
    };
}

pub(super) use {function0, function1, function2};
