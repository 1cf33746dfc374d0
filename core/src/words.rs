//! Enums whose values are words: the same in the database, in JSON and on the command line.

/// A word that is not one of those expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not one of {expected}")]
pub struct UnknownWord {
    /// What was found.
    pub found: String,
    /// What would have been right, separated by commas.
    pub expected: String,
}

/// Declares an enum with a word for each value: `ALL`, `as_str`, `Display`, `FromStr` (which lists the words that
/// would have been right) and serde agree on it. Crates that use it depend on serde.
///
/// ```
/// gristmill_core::words! {
///     /// The state of a door.
///     pub enum Door {
///         /// No key is needed.
///         Open = "open",
///         /// A key is needed.
///         Locked = "locked",
///     }
/// }
///
/// assert_eq!("locked".parse(), Ok(Door::Locked));
/// assert_eq!("ajar".parse::<Door>().unwrap_err().to_string(), "`ajar` is not one of open, locked");
/// ```
#[macro_export]
macro_rules! words {
    ($(#[$about:meta])* $vis:vis enum $name:ident { $($(#[$word_about:meta])* $word:ident = $text:literal),* $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ::serde::Serialize, ::serde::Deserialize)]
        $vis enum $name { $($(#[$word_about])* #[serde(rename = $text)] $word),* }

        impl $name {
            /// Every value, in the order of its declaration.
            $vis const ALL: [Self; [$($text),*].len()] = [$(Self::$word),*];

            /// The word for it.
            $vis fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text),* }
            }
        }

        $crate::word_schema!($name, $($text),*);

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                Self::ALL.into_iter().find(|word| word.as_str() == text).ok_or_else(|| $crate::words::UnknownWord {
                    found: text.to_owned(),
                    expected: Self::ALL.map(Self::as_str).join(", "),
                })
            }
        }
    };
}

/// The schema of an enum whose values are words.
#[cfg(feature = "schema")]
#[doc(hidden)]
#[macro_export]
macro_rules! word_schema {
    ($name:ident, $($text:literal),*) => {
        impl $crate::schema::ComposeSchema for $name {
            fn compose(
                _: ::std::vec::Vec<$crate::schema::RefOr<$crate::schema::Schema>>,
            ) -> $crate::schema::RefOr<$crate::schema::Schema> {
                $crate::schema::words([$($text),*])
            }
        }

        impl $crate::schema::ToSchema for $name {
            fn name() -> ::std::borrow::Cow<'static, str> {
                ::std::borrow::Cow::Borrowed(stringify!($name))
            }
        }
    };
}

/// Nothing: this build describes no schemas.
#[cfg(not(feature = "schema"))]
#[doc(hidden)]
#[macro_export]
macro_rules! word_schema {
    ($($anything:tt)*) => {};
}

#[cfg(test)]
mod tests {
    words! {
        /// A word of two parts and one of its own.
        #[derive(Default)]
        pub(super) enum Sample {
            /// The first.
            #[default]
            TwoParts = "two_parts",
            /// The second.
            Other = "another",
        }
    }

    #[test]
    fn a_word_is_the_same_in_json_in_texts_and_when_read() {
        for word in Sample::ALL {
            assert_eq!(serde_json::to_value(word).expect("JSON"), word.as_str());
            assert_eq!(serde_json::from_value::<Sample>(word.as_str().into()).expect("read"), word);
            assert_eq!(word.to_string().parse(), Ok(word));
        }
        assert_eq!(format!("[{:>10}]", Sample::default()), "[ two_parts]");
    }

    #[test]
    fn an_unknown_word_is_refused_with_those_that_would_be_right() {
        let error = "TwoParts".parse::<Sample>().expect_err("another spelling");
        assert_eq!(error.to_string(), "`TwoParts` is not one of two_parts, another");
    }
}
