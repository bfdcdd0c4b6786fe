//! The text of a configuration file, and the lines of its keys.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::error::{Error, Fault};
use super::suggest;

/// The file that is read without `--config`, if it exists.
pub const DEFAULT_PATH: &str = "/etc/execsnoopd/config.toml";

/// A configuration file. It is kept until hosts and users are resolved, because errors name the
/// line of the key.
#[derive(Debug)]
pub struct File {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl File {
    /// Reads the file. Without a path, reads [`DEFAULT_PATH`] and returns `None` if it does not
    /// exist.
    pub fn read(path: Option<&Path>) -> Result<Option<Self>, Error> {
        let default = Path::new(DEFAULT_PATH);
        let is_optional = path.is_none();
        let path = path.unwrap_or(default).to_owned();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { path, text })),
            Err(error) if is_optional && error.kind() == io::ErrorKind::NotFound => Ok(None),
            // If the default file exists but cannot be read, the defaults must not silently take
            // effect instead.
            Err(error) => Err(Error::Read { path, error }),
        }
    }

    /// Returns the error for a fault of this file, with the line of its key.
    pub fn locate(&self, fault: &Fault) -> Error {
        let offset = DeTable::parse(&self.text).map_or(0, |document| {
            suggest::offset(document.get_ref(), &fault.key)
        });
        if fault.is_final {
            return self.invalid(offset, fault.to_string());
        }
        Error::Unknown {
            path: self.path.clone(),
            line: suggest::line_at(&self.text, offset),
            message: fault.to_string(),
        }
    }

    /// Returns the error for what is at `offset`, in bytes.
    pub(super) fn invalid(&self, offset: usize, message: String) -> Error {
        Error::Invalid {
            path: self.path.clone(),
            line: suggest::line_at(&self.text, offset),
            message,
        }
    }
}
