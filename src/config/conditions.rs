//! Conditions on labels in the configuration file, and the matchers that they describe.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::label::{self, LabelConfig};
use crate::names::parse;
use crate::pipeline::matcher::{Condition, Matcher};
use crate::pipeline::view::Label;
use crate::record::NO_LOGIN;

/// What a key begins with if its condition is that no value matches.
const NOT: &str = "not_";

/// Values by label, or by label after `not_`. All keys and values are checked later, because labels can
/// be defined in the same file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Conditions(BTreeMap<String, Value>);

/// How the names of users are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    /// They are looked up (NSS), which can block.
    LookUp,
    /// They are not looked up, so the matcher is of no use.
    Ignore,
}

/// The key of an invalid condition, and what is wrong.
pub(super) type Invalid = (String, String);

impl Conditions {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the built-in labels that have a condition.
    pub(super) fn built_in_labels(&self) -> impl Iterator<Item = Label> {
        let names = self.0.keys();
        names.filter_map(|key| Label::named(key.strip_prefix(NOT).unwrap_or(key)))
    }

    /// Returns the labels that have a condition. `defined` are those that the file defines. `keys` are
    /// the other keys of the same table, which an error may suggest.
    pub(super) fn labels(
        &self,
        defined: &[LabelConfig],
        keys: &[&str],
    ) -> Result<Vec<Label>, Invalid> {
        let labels = self.0.keys().map(|key| {
            let name = key.strip_prefix(NOT).unwrap_or(key);
            label::named(name, defined, keys).map_err(|message| (key.clone(), message))
        });
        labels.collect()
    }

    /// Returns what matches if all conditions hold, or the first invalid condition.
    pub(super) fn matcher(
        &self,
        defined: &[LabelConfig],
        keys: &[&str],
        users: Users,
    ) -> Result<Matcher, Invalid> {
        let labels = self.labels(defined, keys)?;
        let conditions = self.0.iter().zip(labels).map(|((key, values), label)| {
            let condition = condition(label, key.starts_with(NOT), values, users);
            condition.map_err(|message| (key.clone(), message))
        });
        Ok(Matcher::new(conditions.collect::<Result<_, _>>()?))
    }
}

fn condition(
    label: Label,
    is_negated: bool,
    values: &Value,
    users: Users,
) -> Result<Condition, String> {
    let values = match values {
        Value::Array(values) if values.is_empty() => {
            return Err("needs at least one value".to_owned());
        }
        Value::Array(values) => values,
        value => return Err(format!("`{value}` is not a list; write [{value}]")),
    };
    match label {
        Label::Uid | Label::Loginuid => {
            let has_none = label == Label::Loginuid;
            let uids = values.iter().map(|value| uids(value, has_none));
            let uids = uids.collect::<Result<_, _>>()?;
            Ok(Condition::of_uids(label, is_negated, uids))
        }
        Label::Fact(fact) => {
            let value = |value| parse::fact(fact, text(value)?);
            let values = values.iter().map(value).collect::<Result<_, _>>()?;
            Ok(Condition::of_fact(fact, is_negated, values))
        }
        Label::User | Label::LoginUser => {
            let uids = values.iter().map(|value| user(value, &label, users));
            let uids = uids.collect::<Result<Vec<_>, _>>()?;
            let uids = uids.into_iter().flatten().map(|uid| uid..=uid);
            Ok(Condition::of_uids(label, is_negated, uids.collect()))
        }
        label => {
            let patterns = values.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            Condition::of_names(label, is_negated, &patterns)
        }
    }
}

fn text(value: &Value) -> Result<&str, String> {
    let text = value.as_str();
    text.ok_or_else(|| format!("`{value}` is not a string; write \"{value}\""))
}

/// Parses a uid, or a range of uids that contains both ends. If `has_none`, the empty string stands for
/// no user.
fn uids(value: &Value, has_none: bool) -> Result<RangeInclusive<u32>, String> {
    let invalid = || {
        format!(
            "{value} is neither a uid nor a range; write a number, such as 33, or \"1000-65535\""
        )
    };
    let uid = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        // setuid(2) refuses -1, so no process has it.
        let uid = text.parse().ok().filter(|uid| *uid != u32::MAX);
        uid.filter(|_| is_number).ok_or_else(invalid)
    };
    let text = match value {
        Value::Integer(number) => &number.to_string(),
        Value::String(text) => text,
        _ => return Err(invalid()),
    };
    if has_none && text.is_empty() {
        return Ok(NO_LOGIN..=NO_LOGIN);
    }
    let Some((first, last)) = text.split_once('-') else {
        return uid(text).map(|uid| uid..=uid);
    };
    let (first, last) = (uid(first.trim())?, uid(last.trim())?);
    if first > last {
        return Err(format!(
            "the range {value} is empty; write \"{last}-{first}\""
        ));
    }
    Ok(first..=last)
}

/// Returns the uid of a user that is given by uid or by name, or None if the name is not looked up. For
/// the label of a login, the empty string stands for no login.
fn user(value: &Value, label: &Label, users: Users) -> Result<Option<u32>, String> {
    let name = text(value)?;
    if label.is_of_login() && name.is_empty() {
        return Ok(Some(NO_LOGIN));
    }
    if name.contains(['*', '?']) {
        let ids = if label.is_of_login() {
            "loginuid"
        } else {
            "uid"
        };
        return Err(format!(
            "{name:?} is not the name of a user: users have no wildcards; use ranges of `{ids}`"
        ));
    }
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || users == Users::LookUp {
        return parse::uid(name).map(Some);
    }
    Ok(None)
}
