//! The key `rename` of a view in the configuration file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::conditions::Invalid;
use super::label::{self, LabelConfig};
use crate::names::own_label::MAX_VALUE;
use crate::names::rename::Rules;
use crate::pipeline::view::{Label, MAX_COMM};

/// What a view shows for that which has no series.
const OTHER: &str = "other";

/// What a view shows for the labels of an unknown cgroup and for an unknown file.
const UNKNOWN: &str = "unknown";

/// Rules by label: pairs of an expression and what replaces its matches. All of them are checked
/// later, because labels can be defined in the same file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct RenameConfig(BTreeMap<String, Vec<Vec<String>>>);

impl RenameConfig {
    /// Returns the rules of each label, or the first invalid key. `labels` are those of the view, and
    /// `defined` those that the file defines.
    pub(super) fn compile(
        &self,
        labels: &[Label],
        defined: &[LabelConfig],
    ) -> Result<Vec<(Label, Rules)>, Invalid> {
        let rules = self.0.iter().map(|(key, rules)| {
            of_label(key, rules, labels, defined).map_err(|message| (key.clone(), message))
        });
        rules.collect()
    }
}

fn of_label(
    key: &str,
    rules: &[Vec<String>],
    labels: &[Label],
    defined: &[LabelConfig],
) -> Result<(Label, Rules), String> {
    let label = label::named(key, defined, &[])?;
    if !labels.contains(&label) {
        return Err(format!("`{key}` is not a label of this view"));
    }
    if label.is_of_user() {
        return Err(format!(
            "`{key}` cannot be renamed, because users are counted by their numbers"
        ));
    }
    if let Label::Fact(fact) = label {
        let values = fact.values().join(", ");
        return Err(format!(
            "`{key}` cannot be renamed, because it has only the values {}",
            values.trim_start_matches(", ")
        ));
    }
    let has_unknown = label.is_of_cgroup() || label.is_exe();
    let pairs = rules.iter().map(|rule| match rule.as_slice() {
        [pattern, new] if new == OTHER || (new == UNKNOWN && has_unknown) => Err(format!(
            "{pattern:?} cannot become {new:?}, which has a meaning of its own; `where` moves execs \
             to `other`"
        )),
        [pattern, new] if new.is_empty() && label.is_exe() => {
            Err(format!("{pattern:?} cannot become empty: no file has an empty name"))
        }
        [pattern, new] => Ok((pattern.as_str(), new.as_str())),
        _ => Err(
            "a rule consists of an expression and the new name, such as [\"^python3.*$\", \
             \"python3\"]"
                .to_owned(),
        ),
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let longest = match label {
        Label::Comm | Label::ParentComm => MAX_COMM,
        _ => MAX_VALUE,
    };
    Ok((label, Rules::compile(pairs, longest)?))
}
