//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::web_file;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file has an invalid key or value.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Which key, what is wrong, and what would be right.
        message: String,
    },
    /// The web configuration file cannot be used.
    #[error(transparent)]
    Web(#[from] web_file::Error),
    /// A flag has an invalid value.
    #[error(transparent)]
    Flag(#[from] Fault),
}

/// A key whose value is wrong: its path in the document, and why.
#[derive(Debug, PartialEq, thiserror::Error)]
pub struct Fault {
    pub(super) key: Vec<String>,
    pub(super) message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key.join("."), self.message)
    }
}

impl Fault {
    pub(super) fn new(key: &str, message: impl Into<String>) -> Self {
        Self {
            key: key.split('.').map(str::to_owned).collect(),
            message: message.into(),
        }
    }

    /// Whether the value of this key is wrong.
    pub fn is_in(&self, key: &str) -> bool {
        self.key.iter().map(String::as_str).eq(key.split('.'))
    }
}
