//! The query language of lists and operations: `state:dead kind:import* -queue:mail error:"no route" age>1h`.
//!
//! A query is a row of terms, all of which must hold. A term is a key, how it is compared, and what with; `-` before it
//! turns it around. Several values, separated by commas, are alternatives; `*` at the end of a name takes everything
//! that begins so; quotes hold what has blanks or commas in it. Which keys a list has is said by one table, [`key`],
//! from which the parser, the documentation and the description of the API are made.
//!
//! * [`key`]: the lists, their keys, and what each is compared with.
//! * `lexer`: terms with their positions. [`parse()`]: from terms to a [`Query`], or the first [`Fault`].
//! * [`subject`]: whether something matches. [`time`]: ranges of time.
//!
//! What a query prints is read as the same query again.

pub mod key;
mod lexer;
mod parse;
pub mod subject;
mod suggest;
pub mod time;
mod write;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use uuid::Uuid;

pub use self::key::{Key, List, keys_table};
pub use self::parse::parse;
pub use self::subject::{Subject, Value};
pub use self::time::{Moment, Times};
use crate::Instant;

/// The most bytes of a query.
pub const QUERY_BYTES_MAX: usize = 4_000;

/// The most terms of a query.
pub const TERMS_MAX: usize = 50;

/// The most values of a term.
pub const VALUES_MAX: usize = 100;

/// What is asked of a list: every term must hold. The default asks for nothing, and so selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The terms, in the order in which they were written.
    pub terms: Vec<Term>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// What is looked at.
    pub key: Key,
    /// Whether it must not hold.
    pub negated: bool,
    /// What it is compared with.
    pub test: Test,
}

/// What a key is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// One of these words of a fixed list.
    Words(Vec<String>),
    /// One of these names, or a name that begins so.
    Names(Vec<Name>),
    /// One of these texts is in it, whatever its case.
    Texts(Vec<String>),
    /// One of these ids.
    Ids(Vec<Uuid>),
    /// A number from and up to these, both included.
    Numbers {
        /// The least.
        from: Option<u32>,
        /// The most.
        to: Option<u32>,
    },
    /// A range of time.
    Times(Times),
    /// How long ago.
    Age(Compare, Duration),
}

/// A name that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name, or its beginning.
    pub text: String,
    /// Whether every name that begins so is meant.
    pub prefix: bool,
}

impl Name {
    /// Whether a name is meant.
    pub fn meets(&self, name: &str) -> bool {
        if self.prefix { name.starts_with(&self.text) } else { name == self.text }
    }
}

crate::words! {
    /// How a duration is compared.
    pub enum Compare {
        /// More than it.
        Over = ">",
        /// It or more.
        AtLeast = ">=",
        /// Less than it.
        Under = "<",
        /// It or less.
        AtMost = "<=",
    }
}

/// What is wrong with a query, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at {at}: {message}")]
pub struct Fault {
    /// At which character, counted from 1.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Query {
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether its meaning depends on the time at which it is asked.
    pub fn depends_on_now(&self) -> bool {
        self.terms.iter().any(|term| matches!(term.test, Test::Age(..)))
    }

    /// The same query as of an instant: what says how long ago says when instead.
    #[must_use]
    pub fn at(&self, now: Instant) -> Self {
        let at = |term: &Term| match term.test {
            Test::Age(compare, age) => {
                Term { key: Key::Created, test: Test::Times(Times::aged(compare, age, now)), ..term.clone() }
            }
            _ => term.clone(),
        };
        Self { terms: self.terms.iter().map(at).collect() }
    }

    /// Whether something matches. A query that depends on the time must have been asked [`Query::at`] one.
    pub fn matches(&self, subject: &impl Subject) -> bool {
        self.terms.iter().all(|term| term.matches(subject))
    }

    /// Whether a key could have that name, as far as terms of this key say.
    pub fn allows_name(&self, key: Key, name: &str) -> bool {
        self.terms.iter().filter(|term| term.key == key).all(|term| match &term.test {
            Test::Names(names) => names.iter().any(|wanted| wanted.meets(name)) != term.negated,
            Test::Words(words) => words.iter().any(|word| word == name) != term.negated,
            _ => true,
        })
    }

    /// The one name that a key must have, where a term says just that.
    pub fn only_name(&self, key: Key) -> Option<&str> {
        self.terms.iter().filter(|term| term.key == key && !term.negated).find_map(|term| match &term.test {
            Test::Names(names) => match names.as_slice() {
                [Name { text, prefix: false }] => Some(text.as_str()),
                _ => None,
            },
            _ => None,
        })
    }

    /// The one id that a key must have, where a term says just that.
    pub fn only_id(&self, key: Key) -> Option<Uuid> {
        self.terms.iter().filter(|term| term.key == key && !term.negated).find_map(|term| match &term.test {
            Test::Ids(ids) => match ids.as_slice() {
                [id] => Some(*id),
                _ => None,
            },
            _ => None,
        })
    }
}

/// A query that its list has read, for what is read without knowing more: each list has a type of its own.
macro_rules! listed {
    ($($(#[$about:meta])* $name:ident: $list:ident;)*) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone, Default, PartialEq, Eq)]
            pub struct $name(pub Query);

            impl FromStr for $name {
                type Err = Fault;

                fn from_str(text: &str) -> Result<Self, Fault> {
                    parse(List::$list, text).map(Self)
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }
        )*
    };
}

listed! {
    /// A query of jobs.
    JobQuery: Jobs;
    /// A query of dead letters.
    DeadQuery: DeadLetters;
    /// A query of batches.
    BatchQuery: Batches;
    /// A query of quarantined items.
    QuarantineQuery: Quarantine;
}
