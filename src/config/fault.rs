//! What is wrong with a configuration.

/// The path of an invalid key in the document, and why it is invalid.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) key: Vec<String>,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(key: &str, message: impl Into<String>) -> Self {
        Self {
            key: key.split('.').map(str::to_owned).collect(),
            message: message.into(),
        }
    }
}
