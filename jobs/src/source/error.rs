//! Why a source cannot be planned or read: what is wrong, where, and what would be right.

use gristmill_core::inline::InlineError;

/// Why a source cannot be planned or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The definition asks for something impossible.
    #[error("source: {0}")]
    Setting(String),
    /// Nothing is there.
    #[error("{name}: {problem}")]
    Missing {
        /// The name that the user gave.
        name: String,
        /// What was looked for, and where.
        problem: String,
    },
    /// It exists, but the operating system does not allow reading it.
    #[error("{name}: cannot be read: {problem}")]
    Unreadable {
        /// The name that the user gave.
        name: String,
        /// The operating system's message.
        problem: String,
    },
    /// The header is missing, or cannot name columns.
    #[error("{name}:{line}: {problem}")]
    Header {
        /// The name that the user gave the file.
        name: String,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Bytes that are not valid in the encoding.
    #[error("{name}:{line}: {problem}")]
    Encoding {
        /// The name that the user gave the file.
        name: String,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A record over the limit.
    #[error(
        "{name}:{line}: the record that begins here is longer than {limit} bytes{}; raise `record_bytes_max` (16777216 at most) or mend the file",
        if *.unclosed { " because a quote opens in it that is not closed" } else { "" }
    )]
    TooLong {
        /// The name that the user gave the file.
        name: String,
        /// The line on which the record begins, counted from 1.
        line: u64,
        /// The limit in bytes.
        limit: u64,
        /// Whether a quote is open where the limit was reached.
        unclosed: bool,
    },
    /// A row whose width differs from the header's, when the definition makes that an error.
    #[error(
        "{name}:{line}: the row has {found}, the header has {expected}; mend the file, or set `ragged = \"quarantine\"` to set such rows aside"
    )]
    Ragged {
        /// The name that the user gave the file.
        name: String,
        /// The line on which the row begins, counted from 1.
        line: u64,
        /// How many fields it has, or that a quote is never closed.
        found: String,
        /// How many fields the header has.
        expected: usize,
    },
    /// It no longer matches the plan.
    #[error("the source changed since it was planned: {name}: {problem}; start a new batch")]
    Changed {
        /// The name that the user gave.
        name: String,
        /// What differs.
        problem: String,
    },
    /// The decompressed or re-encoded spool cannot be kept.
    #[error("{path}: cannot write the spooled copy of {name}: {problem}")]
    Spool {
        /// The name that the user gave the source.
        name: String,
        /// The spool.
        path: String,
        /// The operating system's message.
        problem: String,
    },
    /// A spool would exceed its limit.
    #[error(
        "{name}: decompressed it has more than {limit} bytes, and no copy may be larger; is it what it should be? If so, raise `copy_bytes_max` in [scheduler]"
    )]
    TooMuch {
        /// The name that the user gave the source.
        name: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The database refuses, or cannot be reached.
    #[error("source sql: {problem}")]
    Sql {
        /// The database's message. Never the URL's password.
        problem: String,
        /// Whether no retry helps.
        permanent: bool,
    },
    /// Items inside a payload that cannot be unpacked.
    #[error(transparent)]
    Inline(#[from] InlineError),
    /// The thread that reads it is gone: a panic, or the program is stopping.
    #[error("reading the source was cut short; nothing was lost, it can be read again")]
    Interrupted,
}

impl SourceError {
    /// Whether no retry helps. A file that is missing here may exist on another machine, and a disk or a database may
    /// come back.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Setting(_)
            | Self::Header { .. }
            | Self::Encoding { .. }
            | Self::TooLong { .. }
            | Self::TooMuch { .. }
            | Self::Ragged { .. }
            | Self::Changed { .. }
            | Self::Inline(_) => true,
            Self::Missing { .. } | Self::Unreadable { .. } | Self::Spool { .. } | Self::Interrupted => false,
            Self::Sql { permanent, .. } => *permanent,
        }
    }

    /// Wraps the operating system's message about a file in an error that names the file.
    pub(super) fn from_io(name: &str, error: &std::io::Error) -> Self {
        let name = name.to_owned();
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                Self::Missing { name, problem: format!("there is no such file ({error})") }
            }
            _ => Self::Unreadable { name, problem: error.to_string() },
        }
    }
}
