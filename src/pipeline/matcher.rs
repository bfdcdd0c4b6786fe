//! Conditions on the labels of an observation.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::RangeInclusive;

use crate::names::cgroup::Cgroup;
use crate::names::glob::Glob;
use crate::names::parse;
use crate::pipeline::view::key::{Label, MAX_COMM};
use crate::record::{Fact, FactValue, NO_LOGIN, Subject, loginuid, nul_terminated};

/// The value of a label from a cgroup whose name is not known.
const UNKNOWN: &str = "unknown";

/// The longest value of a label from a cgroup in bytes (`NAME_MAX`).
const MAX_CGROUP_LABEL: usize = 255;

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

    /// Returns whether all conditions hold. `cgroup` is the subject's cgroup, if it is known.
    pub fn matches(&self, subject: &Subject, cgroup: Option<&Cgroup>) -> bool {
        self.0.iter().all(|of| of.holds(subject, cgroup))
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

    fn holds(&self, subject: &Subject, cgroup: Option<&Cgroup>) -> bool {
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
                let name = value(&self.label, subject, cgroup);
                globs.iter().any(|glob| glob.matches(name))
            }
        };
        is_among != self.is_negated
    }
}

/// Returns the value of a label that is a name.
fn value<'a>(label: &Label, subject: &'a Subject, cgroup: Option<&'a Cgroup>) -> &'a [u8] {
    let of_cgroup = |value: fn(&Cgroup) -> &[u8]| cgroup.map_or(UNKNOWN.as_bytes(), value);
    match label {
        Label::Comm => nul_terminated(&subject.comm),
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
    if text.is_empty() || (label.is_of_cgroup() && text == UNKNOWN) {
        return Ok(Glob::literal(text.as_bytes()));
    }
    if !Glob::is_pattern(text) {
        return Ok(Glob::literal(&name(label, text)?));
    }
    // These refuse names of which no process has one, whatever the wildcards stand for.
    match label {
        Label::Unit => drop(parse::unit(text)?),
        Label::Slice => drop(parse::slice(text)?),
        _ => {}
    }
    let glob = Glob::parse(text);
    let longest = match label {
        Label::Comm | Label::ParentComm => MAX_COMM,
        _ => MAX_CGROUP_LABEL,
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
        Label::Slice => parse::slice(text),
        Label::Container => parse::container(text),
        Label::PodUid => parse::pod_uid(text),
        Label::Own(_) => parse::own(text),
        _ => Ok(nul_terminated(&parse::comm(text)?).to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(comm: &[u8], uid: u32) -> Subject {
        let mut subject = Subject {
            uid,
            ..Subject::default()
        };
        subject.comm[..comm.len()].copy_from_slice(comm);
        subject
    }

    fn of(label: Label, is_negated: bool, patterns: &[&str]) -> Condition {
        Condition::of_names(label, is_negated, patterns).unwrap()
    }

    #[test]
    fn all_conditions_have_to_hold() {
        let matcher = Matcher::new(vec![
            of(Label::Comm, false, &["*sh", "perl"]),
            of(Label::ParentComm, true, &["containerd-shim"]),
            Condition::of_uids(Label::Uid, false, vec![33..=33, 1000..=65535]),
        ]);
        let does_match = |comm: &str, uid| matcher.matches(&subject(comm.as_bytes(), uid), None);
        assert!(does_match("bash", 1000));
        assert!(does_match("perl", 33));
        assert!(!does_match("bash", 999));
        assert!(!does_match("shell", 1000));
        let mut probe = subject(b"sh", 33);
        probe.parent_comm[..15].copy_from_slice(b"containerd-shim");
        assert!(!matcher.matches(&probe, None));
    }

    #[test]
    fn facts_and_logins_are_compared_as_the_kernel_side_has_them() {
        let mut memfd = subject(b"sh", 0);
        memfd.origin = 1;
        memfd.facts = 0x40 | 0x08; // injected, with a terminal
        memfd.login = 1001;
        let fact = |fact: Fact, text: &str| {
            let value = parse::fact(fact, text).unwrap();
            Matcher::new(vec![Condition::of_fact(fact, false, vec![value])])
        };
        let login = |uid| {
            let condition = Condition::of_uids(Label::Loginuid, false, vec![uid..=uid]);
            Matcher::new(vec![condition])
        };
        let nobody = subject(b"sh", 0);
        for (matcher, of_memfd, of_nobody) in [
            (fact(Fact::Origin, "unlinked"), true, false),
            (fact(Fact::Origin, ""), false, true),
            (fact(Fact::Entry, "injected"), true, false),
            (fact(Fact::Tty, "true"), true, false),
            (fact(Fact::Elevated, "false"), true, true),
            (login(1000), true, false),
            (login(0), false, false),
            (login(NO_LOGIN), false, true),
        ] {
            let matches = [&memfd, &nobody].map(|subject| matcher.matches(subject, None));
            assert_eq!(matches, [of_memfd, of_nobody], "{matcher:?}");
        }
        assert!(fact(Fact::Origin, "tmpfs").excludes(&Label::Fact(Fact::Origin), b"unlinked"));
        assert!(!fact(Fact::Origin, "tmpfs").excludes(&Label::Fact(Fact::Origin), b"tmpfs"));
        assert!(login(1000).excludes(&Label::Loginuid, b""));
    }

    #[test]
    fn a_label_of_a_cgroup_can_be_empty_or_unknown() {
        let unit = |pattern| Matcher::new(vec![of(Label::Unit, false, &[pattern])]);
        let ssh = Cgroup::of_path(b"/system.slice/ssh.service");
        let none = Cgroup::of_path(b"/");
        let any = subject(b"sh", 0);
        for (pattern, cgroup, is_match) in [
            ("ssh", Some(&ssh), true),
            ("ssh", None, false),
            ("s*", Some(&ssh), true),
            ("", Some(&none), true),
            ("", Some(&ssh), false),
            ("", None, false),
            ("unknown", None, true),
            ("unknown", Some(&none), false),
            ("*", None, true),
        ] {
            let matches = unit(pattern).matches(&any, cgroup);
            assert_eq!(matches, is_match, "{pattern} {cgroup:?}");
        }
    }

    #[test]
    fn a_pattern_that_can_never_match_is_refused() {
        for (label, pattern, says) in [
            (Label::Comm, "/bin/sh", "use the program's name, \"sh\""),
            (
                Label::Comm,
                "containerd-shim-*",
                "no value has more than 15 bytes",
            ),
            (
                Label::ParentComm,
                "containerd-shim-runc-v2",
                "use \"containerd-shim\"",
            ),
            (Label::Unit, "backup-*.timer", "not with .timer"),
            (Label::Unit, "a[bc].service", "the wildcards are * and ?"),
            (Label::Unit, "getty@", "only its instances have processes"),
            (Label::Slice, "*.service", "a slice ends with .slice"),
            (Label::Container, "web", "is not a container ID"),
        ] {
            let error = Condition::of_names(label, false, &[pattern]).expect_err(pattern);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn only_equal_matchers_have_equal_definitions() {
        let sh = || of(Label::Comm, false, &["sh", "a*"]);
        let uids = |uids| Condition::of_uids(Label::Uid, false, vec![uids]);
        let reordered = of(Label::Comm, false, &["a*", "sh", "a*"]);
        let same = [
            vec![sh(), uids(0..=9)],
            vec![uids(0..=9), sh()],
            vec![reordered, uids(0..=9)],
        ];
        let [a, b, c] = same.map(|conditions| Matcher::new(conditions).definition());
        assert_eq!([&a, &a], [&b, &c]);
        let others = [
            vec![sh()],
            vec![of(Label::Comm, true, &["sh", "a*"]), uids(0..=9)],
            vec![of(Label::Comm, false, &["sh", "a\\x2a"]), uids(0..=9)],
            vec![of(Label::Comm, false, &["sh\", \"a*"]), uids(0..=9)],
            vec![of(Label::ParentComm, false, &["sh", "a*"]), uids(0..=9)],
            vec![sh(), uids(0..=8)],
        ];
        for other in others {
            assert_ne!(Matcher::new(other).definition(), a);
        }
    }
}
