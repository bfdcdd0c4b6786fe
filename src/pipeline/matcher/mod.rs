//! Conditions on the labels of an observation.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::RangeInclusive;

use crate::names::cgroup::Cgroup;
use crate::names::glob::Glob;
use crate::names::parse;
use crate::pipeline::name_cache::Named;
use crate::pipeline::view::key::{Label, MAX_COMM};
use crate::record::{Fact, FactValue, NO_LOGIN, Subject, loginuid, nul_terminated};

/// The value of a label from a cgroup whose name is not known.
const UNKNOWN: &str = "unknown";

/// The longest name of a file, and the longest value of a label from a cgroup, in bytes (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// Conditions, all of which have to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher(Vec<Condition>);

/// A condition on a label: that its value is one of these, or that it is none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    label: Label,
    is_negated: bool,
    values: Values,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Values {
    /// Of a loginuid, the one that stands for no login is among the numbers.
    Uids(Vec<RangeInclusive<u32>>),
    Names(Vec<Glob>),
    Facts(Vec<FactValue>),
}

impl Matcher {
    pub fn new(mut conditions: Vec<Condition>) -> Self {
        // Numbers are compared first, because that is fastest.
        conditions.sort_by_cached_key(|condition| {
            let is_of_names = matches!(condition.values, Values::Names(_));
            (is_of_names, condition.key())
        });
        Self(conditions)
    }

    /// Returns whether all conditions hold. `names` are what the ids in the subject stand
    /// for.
    pub fn matches(&self, subject: &Subject, names: Named<'_>) -> bool {
        self.0.iter().all(|of| of.holds(subject, names))
    }

    /// Returns the labels that have a condition.
    pub fn labels(&self) -> impl Iterator<Item = &Label> {
        self.0.iter().map(|condition| &condition.label)
    }

    /// Returns whether what has this value of a label never matches. Users are given by number.
    pub fn excludes(&self, label: &Label, value: &[u8]) -> bool {
        let mut conditions = self.0.iter().filter(|of| of.label == *label);
        conditions.any(|condition| {
            let is_among = match &condition.values {
                Values::Names(globs) => globs.iter().any(|glob| glob.matches(value)),
                Values::Facts(values) => {
                    let Label::Fact(fact) = label else {
                        return false;
                    };
                    let value = std::str::from_utf8(value)
                        .ok()
                        .and_then(|text| fact.value(text));
                    value.is_some_and(|value| values.contains(&value))
                }
                Values::Uids(uids) => {
                    let uid = match value {
                        b"" => Ok(Ok(NO_LOGIN)),
                        value => std::str::from_utf8(value).map(str::parse),
                    };
                    let Ok(Ok(uid)) = uid else { return false };
                    uids.iter().any(|uids| uids.contains(&uid))
                }
            };
            is_among == condition.is_negated
        })
    }

    /// Returns a text that is equal for equal matchers only.
    pub fn definition(&self) -> String {
        let mut text = String::new();
        for condition in &self.0 {
            // Neither their order nor duplicates matter.
            let values: BTreeSet<_> = match &condition.values {
                Values::Uids(uids) => uids.iter().map(|uids| format!("{uids:?}")).collect(),
                Values::Names(globs) => globs.iter().map(Glob::to_string).collect(),
                Values::Facts(values) => values.iter().map(u8::to_string).collect(),
            };
            // Writing to a String does not fail.
            let _ = writeln!(text, "{}: {values:?}", condition.key());
        }
        text
    }
}

impl Condition {
    /// Returns a condition on a user ID: that it is in one of these ranges, or, if `is_negated`, in none.
    /// `label` is that of the user ID or of its name.
    pub fn of_uids(label: Label, is_negated: bool, uids: Vec<RangeInclusive<u32>>) -> Self {
        Self {
            label,
            is_negated,
            values: Values::Uids(uids),
        }
    }

    /// Returns a condition on a fact: that it has one of these values, or, if `is_negated`, none.
    pub fn of_fact(fact: Fact, is_negated: bool, values: Vec<FactValue>) -> Self {
        Self {
            label: Label::Fact(fact),
            is_negated,
            values: Values::Facts(values),
        }
    }

    /// Returns a condition on any other label: that one of these patterns matches its value, or, if
    /// `is_negated`, none. The error says why a pattern can never match.
    pub fn of_names(label: Label, is_negated: bool, patterns: &[&str]) -> Result<Self, String> {
        let globs = patterns.iter().map(|text| glob(&label, text));
        Ok(Self {
            values: Values::Names(globs.collect::<Result<_, _>>()?),
            label,
            is_negated,
        })
    }

    fn key(&self) -> String {
        let not = if self.is_negated { "not_" } else { "" };
        format!("{not}{}", self.label.saved())
    }

    fn holds(&self, subject: &Subject, names: Named<'_>) -> bool {
        let is_among = match &self.values {
            Values::Uids(uids) => {
                let uid = match self.label {
                    Label::Loginuid | Label::LoginUser => loginuid(subject),
                    _ => subject.uid,
                };
                uids.iter().any(|uids| uids.contains(&uid))
            }
            Values::Facts(values) => {
                matches!(self.label, Label::Fact(fact) if values.contains(&fact.of(subject)))
            }
            Values::Names(globs) => {
                let name = value(&self.label, subject, names);
                globs.iter().any(|glob| glob.matches(name))
            }
        };
        is_among != self.is_negated
    }
}

/// Returns the value of a label that is a name.
fn value<'a>(label: &Label, subject: &'a Subject, names: Named<'a>) -> &'a [u8] {
    let cgroup = names.cgroup;
    let of_cgroup = |value: fn(&Cgroup) -> &[u8]| cgroup.map_or(UNKNOWN.as_bytes(), value);
    match label {
        Label::Comm => nul_terminated(&subject.comm),
        Label::Exe => names.exe.map_or(&[], |exe| exe),
        Label::ParentComm => nul_terminated(&subject.parent_comm),
        Label::Unit => of_cgroup(|cgroup| &cgroup.unit),
        Label::Slice => of_cgroup(|cgroup| &cgroup.slice),
        Label::Container => of_cgroup(|cgroup| &cgroup.container),
        Label::PodUid => of_cgroup(|cgroup| &cgroup.pod_uid),
        Label::Own(own) => {
            let value = cgroup.and_then(|cgroup| cgroup.own(own));
            value.map_or(UNKNOWN.as_bytes(), |value| value)
        }
        // These are compared as numbers.
        Label::Uid | Label::User | Label::Loginuid | Label::LoginUser | Label::Fact(_) => b"",
    }
}

/// Parses a pattern for the values of a label. Names without wildcards are completed as in other
/// places, such as `ssh` to `ssh.service`.
fn glob(label: &Label, text: &str) -> Result<Glob, String> {
    if let Label::Comm | Label::ParentComm = label
        && let Some(name) = parse::program_of_path(text)
    {
        return Err(format!(
            "{text:?} is a path; use the program's name, {name:?}"
        ));
    }
    if label.is_exe() && text == UNKNOWN {
        return Ok(Glob::literal(&[]));
    }
    if (text.is_empty() && !label.is_exe()) || (label.is_of_cgroup() && text == UNKNOWN) {
        return Ok(Glob::literal(text.as_bytes()));
    }
    if !Glob::is_pattern(text) {
        return Ok(Glob::literal(&name(label, text)?));
    }
    // These refuse names of which no process has one, whatever the wildcards stand for.
    match label {
        Label::Exe => drop(parse::exe(text)?),
        Label::Unit => drop(parse::unit(text)?),
        Label::Slice => drop(parse::slice(text)?),
        _ => {}
    }
    let glob = Glob::parse(text);
    let longest = match label {
        Label::Comm | Label::ParentComm => MAX_COMM,
        _ => MAX_NAME,
    };
    if glob.min_len() > longest {
        return Err(format!(
            "{text:?} matches nothing: no value has more than {longest} bytes"
        ));
    }
    Ok(glob)
}

/// Parses a name without wildcards.
fn name(label: &Label, text: &str) -> Result<Vec<u8>, String> {
    match label {
        Label::Unit => {
            let name = parse::unit(text)?;
            match parse::doubt_unit(&name) {
                Some(_) if text.contains('[') => Err(format!(
                    "{text:?} is not a unit with processes: the wildcards are * and ?"
                )),
                Some(doubt) => Err(format!("{text:?} is not a unit with processes: {doubt}")),
                None => Ok(name),
            }
        }
        Label::Exe => parse::exe(text),
        Label::Slice => parse::slice(text),
        Label::Container => parse::container(text),
        Label::PodUid => parse::pod_uid(text),
        Label::Own(_) => parse::own(text),
        _ => Ok(nul_terminated(&parse::comm(text)?).to_vec()),
    }
}

#[cfg(test)]
mod tests;
