//! The tables `[[label]]` of the configuration file.

use serde::{Deserialize, Serialize};

use super::suggest;
use crate::names::own_label::{OwnLabel, OwnLabels};
use crate::pipeline::view::Label;

/// The largest number of labels. Each takes some memory for each cgroup.
const MAX_LABELS: usize = 32;

/// The names of labels that metrics have, and of keys beside which conditions on labels are written.
const TAKEN: [&str; 6] = ["outcome", "errno", "le", "quantile", "name", "log"];

/// `[[label]]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LabelConfig {
    /// The name of the Prometheus label.
    pub name: String,
    /// A regular expression over the path of a cgroup. Its first group is the label's value.
    pub cgroup: String,
}

impl LabelConfig {
    pub fn own(&self) -> OwnLabel {
        OwnLabel::new(&self.name, &self.cgroup)
    }

    /// Returns the first key with an invalid value, and what is wrong. `before` are the labels that the
    /// file defines before this one.
    pub(super) fn fault(&self, before: &[Self]) -> Option<(&'static str, String)> {
        let name = &self.name;
        if let Some(reason) = refused(name) {
            Some(("name", format!("{name:?} {reason}")))
        } else if before.iter().any(|label| label.name == *name) {
            let message = format!("an earlier [[label]] already has the name {name:?}");
            Some(("name", message))
        } else if before.len() == MAX_LABELS {
            Some(("name", format!("there are more than {MAX_LABELS} labels")))
        } else {
            let unfit = OwnLabels::compile([self.own()]).err()?;
            Some(("cgroup", format!("{:?} {unfit}", self.cgroup)))
        }
    }
}

/// Returns why a label cannot have this name.
fn refused(name: &str) -> Option<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.chars().all(is_of_name) || !name.starts_with(|c: char| !c.is_ascii_digit()) {
        Some(
            "is not the name of a Prometheus label: use letters, digits and _, and no digit first"
                .to_owned(),
        )
    } else if name.starts_with("__") {
        Some("is reserved by Prometheus: use a name that does not start with __".to_owned())
    } else if Label::named(name).is_some() {
        Some("is a label that always exists: use another name".to_owned())
    } else if TAKEN.contains(&name) || name.starts_with("not_") {
        Some(format!(
            "has another meaning here: use another name, such as my_{name}"
        ))
    } else {
        None
    }
}

/// Replaces the labels that are known by name only with those that `defined` defines. The error says
/// which one does not exist.
pub(super) fn define(labels: &mut [Label], defined: &[LabelConfig]) -> Result<(), String> {
    for label in labels {
        if let Label::Own(own) = label {
            *label = named(own.name(), defined, &[])?;
        }
    }
    Ok(())
}

/// Returns the label with this name. The error says that it does not exist, and suggests a label or one
/// of `keys`.
pub(super) fn named(name: &str, defined: &[LabelConfig], keys: &[&str]) -> Result<Label, String> {
    if let Some(label) = Label::named(name) {
        return Ok(label);
    }
    if let Some(found) = defined.iter().find(|label| label.name == name) {
        return Ok(Label::Own(found.own()));
    }
    let own = defined.iter().map(|label| label.name.as_str());
    let all: Vec<_> = Label::ALL.iter().map(Label::name).chain(own).collect();
    let nearest = suggest::nearest(name, all.iter().chain(keys).copied());
    let hint = nearest.map_or("; define".to_owned(), |nearest| {
        format!("; did you mean `{nearest}`? Define")
    });
    Err(format!(
        "there is no label `{name}`{hint} it in a [[label]], or use one of {}",
        all.join(", ")
    ))
}
