//! Why the daemon could not start, or why it exited.

use crate::capture;
use crate::config::web_file;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Capture(#[from] capture::Error),
    /// The process lacks capabilities that it needs for something other than capturing.
    #[error("{0}")]
    NotPermitted(String),
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Error {
    /// Returns whether the error is a web configuration that can never work.
    pub fn is_invalid_config(&self) -> bool {
        match self {
            Self::Other(error) => error
                .downcast_ref::<web_file::Error>()
                .is_some_and(web_file::Error::is_final),
            Self::Capture(_) | Self::NotPermitted(_) => false,
        }
    }
}
