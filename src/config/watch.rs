//! The tables `[[watch]]` of the configuration file.

use serde::{Deserialize, Serialize};

use super::conditions::{Conditions, Invalid, Users};
use super::label::LabelConfig;
use crate::pipeline::view::Label;
use crate::pipeline::watch::{MAX_WATCHES, Watch};

/// The longest name in bytes. It is the value of a label.
const MAX_NAME: usize = 100;

/// The keys that are not conditions.
const KEYS: [&str; 2] = ["name", "log"];

/// `[[watch]]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct WatchConfig {
    /// The value of the label `watch`.
    pub name: String,
    /// Whether execs that match are logged.
    pub log: bool,
    #[serde(flatten)]
    pub conditions: Conditions,
}

impl WatchConfig {
    /// Returns the first key with an invalid value, and what is wrong. `before` are the watches before
    /// this one, and `defined` the labels that the file defines. Looks up no users.
    pub(super) fn fault(&self, before: &[Self], defined: &[LabelConfig]) -> Option<Invalid> {
        let name = &self.name;
        // Checked first, because the unknown label may be another key that is misspelt.
        if let Err(invalid) = self.conditions.matcher(defined, &KEYS, Users::Ignore) {
            return Some(invalid);
        }
        let (key, message) = if name.is_empty() {
            let message = "a watch needs a name, which is the value of the label `watch`";
            ("name", message.to_owned())
        } else if name.len() > MAX_NAME {
            let message = format!("{name:?} is longer than {MAX_NAME} bytes");
            ("name", message)
        } else if name.chars().any(char::is_control) {
            let message = format!("{name:?} has control characters; use printable ones");
            ("name", message)
        } else if before.iter().any(|watch| watch.name == *name) {
            let message = format!("an earlier [[watch]] already has the name {name:?}");
            ("name", message)
        } else if before.len() == MAX_WATCHES {
            ("name", format!("there are more than {MAX_WATCHES} watches"))
        } else if self.conditions.is_empty() {
            let message = "needs a condition on a label, such as comm = [\"sh\", \"*sh\"]; \
                           execsnoop_execs_total counts all execs";
            ("name", format!("the watch {name:?} {message}"))
        } else {
            return None;
        };
        Some((key.to_owned(), message))
    }

    /// Returns the labels that have a condition. The watch must have no fault.
    pub(super) fn labels(&self, defined: &[LabelConfig]) -> Vec<Label> {
        self.conditions.labels(defined, &KEYS).unwrap_or_default()
    }

    /// Returns whether exits can match: no condition is on what is known only at an exec.
    pub(super) fn counts_exits(&self) -> bool {
        !self
            .conditions
            .built_in_labels()
            .any(|label| label.is_only_at_exec())
    }

    /// Returns a watch without counts, or the key with a user who was not found.
    pub(super) fn resolve(&self, defined: &[LabelConfig]) -> Result<Watch, Invalid> {
        let matcher = self.conditions.matcher(defined, &KEYS, Users::LookUp)?;
        let watch = Watch::new(&self.name, matcher, self.log);
        Ok(if self.counts_exits() {
            watch
        } else {
            watch.without_exits()
        })
    }
}
