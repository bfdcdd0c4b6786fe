//! Labels that the configuration defines by a regular expression over the path of a cgroup.
//!
//! The reader evaluates the expressions once for each cgroup.

use std::sync::Arc;

use regex::bytes::Regex;
use regex_automata::nfa::thompson::{Config, NFA};
use regex_automata::util::syntax;

use super::expression::{self, Unfit};

mod fill;

/// The longest value in bytes: `NAME_MAX` of `limits.h`, as for the name of a cgroup. A path can be
/// longer.
pub const MAX_VALUE: usize = 255;

/// The definition of a label. Two labels are equal only if they give the same values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnLabel(Arc<Definition>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Definition {
    name: String,
    pattern: String,
}

impl OwnLabel {
    pub fn new(name: impl Into<String>, pattern: impl Into<String>) -> Self {
        Self(Arc::new(Definition {
            name: name.into(),
            pattern: pattern.into(),
        }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the expression. Its first group is the value.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }
}

/// Labels with their compiled expressions.
#[derive(Debug, Clone, Default)]
pub struct OwnLabels(Arc<[(OwnLabel, Regex)]>);

impl OwnLabels {
    /// Compiles the expressions. The error is that of the first label with an unfit one.
    pub fn compile(labels: impl IntoIterator<Item = OwnLabel>) -> Result<Self, Unfit> {
        let compiled = labels.into_iter().map(|label| {
            let regex = compile(label.pattern())?;
            Ok((label, regex))
        });
        Ok(Self(compiled.collect::<Result<_, _>>()?))
    }

    /// Returns the values of all labels for the path of a cgroup. The value of a label is what the
    /// first group of its expression matches, up to [`MAX_VALUE`] bytes, and empty without a match.
    pub(super) fn values(&self, path: &[u8]) -> Box<[(OwnLabel, Arc<[u8]>)]> {
        let labels = self.0.iter();
        labels
            .map(|(label, regex)| (label.clone(), value(regex, path).into()))
            .collect()
    }
}

fn value<'a>(regex: &Regex, path: &'a [u8]) -> &'a [u8] {
    let group = regex.captures(path).and_then(|groups| groups.get(1));
    let value = group.map_or(&b""[..], |group| group.as_bytes());
    &value[..value.len().min(MAX_VALUE)]
}

/// Compiles an expression that defines a label.
fn compile(pattern: &str) -> Result<Regex, Unfit> {
    let regex = expression::compile(pattern)?;
    if regex.captures_len() < 2 {
        return Err(Unfit(
            "has no group: put the part of the path that is the label's value in parentheses"
                .to_owned(),
        ));
    }
    // The same options as those of the expression.
    let syntax = syntax::Config::new().unicode(false).utf8(false);
    let automaton = NFA::compiler()
        .syntax(syntax)
        .configure(Config::new().utf8(false))
        .build(pattern);
    if automaton.is_ok_and(|automaton| !fill::can_be_filled(&automaton)) {
        return Err(Unfit(
            "can never fill its first group: a path is / or, for each cgroup from the root, a / and \
             a name that is not empty, as in /system.slice/ssh.service"
                .to_owned(),
        ));
    }
    Ok(regex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::cgroup::Cgroup;

    fn value_of(pattern: &str, path: &[u8]) -> Vec<u8> {
        let label = OwnLabel::new("name", pattern);
        let labels = OwnLabels::compile([label.clone()]).unwrap();
        Cgroup::labelled(path, &labels)
            .own(&label)
            .unwrap()
            .to_vec()
    }

    #[test]
    fn the_value_is_the_first_group_of_the_first_match() {
        for (pattern, path, expected) in [
            ("/job_([0-9]+)(/|$)", "/slurm/uid_7/job_42/step_0", "42"),
            ("/job_([0-9]+)(/|$)", "/slurm/uid_7/job_42", "42"),
            ("/job_([0-9]+)(/|$)", "/slurm/uid_7/job_42x/job_43", "43"),
            ("/job_([0-9]+)(/|$)", "/slurm/uid_7", ""),
            ("/a(?:/(b))?", "/a", ""),
            ("^/([^/]*)", "/", ""),
            (r"/(\d+)", "/x/1/2", "1"),
            ("(?i)/LXC/([a-z]+)", "/lxc/web", "web"),
        ] {
            let value = value_of(pattern, path.as_bytes());
            assert_eq!(
                String::from_utf8(value).unwrap(),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn paths_are_bytes() {
        assert_eq!(value_of("/a-(.*)$", b"/a-\xff\xc3\n\x00\xa9"), b"");
        assert_eq!(
            value_of("(?s)/a-(.*)$", b"/a-\xff\xc3\n\xa9"),
            b"\xff\xc3\n\xa9"
        );
        assert_eq!(value_of("/é-([0-9])", "/é-7".as_bytes()), b"7");
    }

    #[test]
    fn a_value_is_limited_to_the_length_of_a_name() {
        let path = [b"/", "x".repeat(300).as_bytes(), b"/y"].concat();
        assert_eq!(value_of("(.*)", &path), path[..MAX_VALUE]);
    }

    #[test]
    fn a_cgroup_has_only_the_labels_with_which_it_was_read() {
        let label = |pattern| OwnLabel::new("name", pattern);
        let labels = OwnLabels::compile([label("(a)")]).unwrap();
        let cgroup = Cgroup::labelled(b"/a", &labels);
        assert_eq!(
            cgroup.own(&label("(a)")).map(|value| &**value),
            Some(&b"a"[..])
        );
        assert_eq!(cgroup.own(&label("(b)")), None);
    }

    #[test]
    fn an_unfit_expression_is_refused_in_one_line() {
        for (pattern, says) in [
            ("", "has no group"),
            ("/job_[0-9]+", "has no group"),
            ("/job_(?:[0-9]+)", "has no group"),
            (
                "/job_([0-9]+",
                "is not a regular expression: unclosed group",
            ),
            (
                r"/(a)\1",
                "is not a regular expression: backreferences are not supported",
            ),
            ("/(a)(?=b)", "is not a regular expression: look-around"),
            ("/(([a-z]{100}){100})", "is too large"),
        ] {
            let unfit = OwnLabels::compile([OwnLabel::new("name", pattern)]).unwrap_err();
            let text = unfit.to_string();
            assert!(
                text.starts_with(says) && !text.contains('\n'),
                "{pattern}: {text}"
            );
        }
    }

    #[test]
    fn an_expression_that_can_never_fill_its_group_is_refused() {
        let compile = |pattern: &str| OwnLabels::compile([OwnLabel::new("name", pattern)]);
        for pattern in [
            "^job_([0-9]+)",
            "^([^/]+)",
            "//([a-z]+)",
            "^/(/)",
            "/a()",
            "/a(b{0})",
            "(b){0}/(a)",
            "/a(\\z)",
            "/a\\z(b)",
            "/a$(b)",
            "(a/)$",
            "/a(\\x00)",
            "/a^(b)",
            "/a([b&&c])",
            "x(?:^a|^b)(c)",
        ] {
            let unfit = compile(pattern).map(|_| ()).expect_err(pattern).to_string();
            assert!(
                unfit.starts_with("can never fill its first group"),
                "{unfit}"
            );
        }
        for pattern in [
            "^/job_([0-9]+)",
            "job_([0-9]+)",
            "(.*)",
            "^(.*)$",
            "^(/)$",
            "/(?:a|b(c))",
            "/a(b)?",
            "(?:(a)|b){2}",
            "(?m)/a(?:\\n)^(b)",
            "/a\\b(-x)",
            "/([^/]*)/?$",
            "(a/)",
        ] {
            assert!(compile(pattern).is_ok(), "{pattern}");
        }
    }

    proptest! {
        /// If a group is filled by a path, the expression is not refused.
        #[test]
        fn no_expression_that_some_path_fills_is_refused(
            pattern in "[/a^$.|?*+()\\[\\]-]{1,14}",
            path in "(/[ab]{1,3}){1,4}",
        ) {
            if let Ok(regex) = expression::compile(&pattern) && !value(&regex, path.as_bytes()).is_empty() {
                prop_assert!(compile(&pattern).is_ok(), "{pattern} {path}");
            }
        }
    }
}
