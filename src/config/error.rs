//! Errors of the configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::web_file;
use crate::sys::user::describe_refusal;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the configuration {}: {}", path.display(), describe_refusal(error))]
    Read { path: PathBuf, error: io::Error },
    /// The file has an invalid key or value.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key, what is wrong, and what is valid.
        message: String,
    },
    /// The file names a host or a user that cannot be looked up now.
    #[error("{}:{line}: {message}", path.display())]
    Unknown {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key, and what was not found.
        message: String,
    },
    #[error(transparent)]
    Web(#[from] web_file::Error),
    /// A flag has an invalid value or names a host that cannot be looked up now.
    #[error(transparent)]
    Flag(#[from] Fault),
}

impl Error {
    /// Returns whether this configuration can never work. Otherwise a later start may succeed with
    /// it: a host, a user or a file that is missing may appear.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Read { error, .. } => error.kind() == io::ErrorKind::InvalidData,
            Self::Invalid { .. } => true,
            Self::Unknown { .. } => false,
            Self::Web(error) => error.is_final(),
            Self::Flag(fault) => fault.is_final,
        }
    }
}

/// Serde's words for Rust types, each with the word for it in TOML.
const TERMS: [(&str, &str); 11] = [
    ("expected usize", "expected a number from 0"),
    ("expected a sequence", "expected a list"),
    ("expected struct Capture", "expected a table"),
    ("expected struct Web", "expected a table"),
    ("expected struct Log", "expected a table"),
    ("expected a map", "expected a table"),
    ("invalid type: map", "invalid type: table"),
    ("invalid type: sequence", "invalid type: list"),
    (
        "wanted exactly 1 element, found 0 elements",
        "expected a table in single brackets",
    ),
    ("wanted string or table", "expected a string"),
    (
        "expected a duration",
        "expected a duration such as \"90s\" or \"1h\"",
    ),
];

/// Replaces Rust's words in a message of serde with those of TOML.
pub(super) fn in_terms_of_toml(message: &str) -> String {
    TERMS
        .iter()
        .fold(message.to_owned(), |message, (serde, toml)| {
            message.replace(serde, toml)
        })
}

/// A value that cannot be used: the path of its key in the document, and the reason.
#[derive(Debug, PartialEq, thiserror::Error)]
pub struct Fault {
    pub(super) key: Vec<String>,
    pub(super) message: String,
    pub(super) is_final: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key.join("."), self.message)
    }
}

impl Fault {
    /// Returns a fault of a value that can never be valid.
    pub(super) fn new(key: &str, message: impl Into<String>) -> Self {
        Self {
            key: key.split('.').map(str::to_owned).collect(),
            message: message.into(),
            is_final: true,
        }
    }

    /// Returns a fault of a name that cannot be looked up now, but may be later.
    pub(super) fn unknown(key: &str, message: impl Into<String>) -> Self {
        Self {
            is_final: false,
            ..Self::new(key, message)
        }
    }

    /// Returns whether `key` is the one with the invalid value.
    pub fn is_in(&self, key: &str) -> bool {
        self.key.iter().map(String::as_str).eq(key.split('.'))
    }
}
