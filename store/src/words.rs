//! Enumerations whose words are the same in the database, in JSON and on the command line.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$word_doc])* $word),* }

        impl $name {
            /// The word for it, the same in the database and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = gristmill_core::job::UnknownWord;

            fn from_str(text: &str) -> std::result::Result<Self, gristmill_core::job::UnknownWord> {
                match text {
                    $($text => Ok(Self::$word),)*
                    _ => Err(gristmill_core::job::UnknownWord { found: text.to_owned(), expected: [$($text),*].join(", ") }),
                }
            }
        }
    };
}

pub(crate) use words;
