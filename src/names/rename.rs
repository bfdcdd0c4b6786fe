//! New names by regular expressions, so that names that differ only in a number or a hash become one.

use std::borrow::Cow;
use std::cell::RefCell;
use std::hash::RandomState;
use std::num::NonZero;
use std::sync::Arc;

use lru::LruCache;
use regex::bytes::Regex;
use regex_automata::util::interpolate;

use super::expression::{self, Unfit};

/// The largest number of rules for a label.
const MAX_RULES: usize = 100;

/// The number of names whose new names are kept.
const KEPT: NonZero<usize> = NonZero::new(1024).expect("it is not zero");

/// Rules for the values of a label. The first rule whose expression matches applies, and replaces each
/// match.
#[derive(Debug, Clone)]
pub struct Rules {
    rules: Arc<[(Regex, Box<[u8]>)]>,
    longest: usize,
}

impl Rules {
    /// Compiles rules: expressions, and what replaces their matches. `$1` or `${1}` stands for what the
    /// first group has matched, and `$$` for a dollar sign. Of a new name with more than `longest`
    /// bytes, the first ones are used. The error says which rule is of no use, and why.
    pub fn compile<'a>(
        rules: impl IntoIterator<Item = (&'a str, &'a str)>,
        longest: usize,
    ) -> Result<Self, String> {
        let rules: Result<Vec<_>, _> = rules
            .into_iter()
            .map(|(pattern, new)| rule(pattern, new, longest))
            .collect();
        let rules = rules?;
        match rules.len() {
            0 => Err("needs at least one rule, such as [\"^python3.*$\", \"python3\"]".to_owned()),
            1..=MAX_RULES => Ok(Self {
                rules: rules.into(),
                longest,
            }),
            number => Err(format!("has {number} rules, but {MAX_RULES} at most")),
        }
    }

    /// Returns whether this is the text of a rule's new name.
    pub fn is_literal_result(&self, name: &[u8]) -> bool {
        self.rules.iter().any(|(_, new)| **new == *name)
    }

    /// Returns the new name, or the name itself if no rule applies to it.
    pub fn rename<'a>(&self, name: &'a [u8]) -> Cow<'a, [u8]> {
        let mut rules = self.rules.iter();
        let Some((pattern, new)) = rules.find(|(pattern, _)| pattern.is_match(name)) else {
            return Cow::Borrowed(name);
        };
        let mut new = pattern.replace_all(name, &**new).into_owned();
        new.truncate(self.longest);
        Cow::Owned(new)
    }
}

fn rule(pattern: &str, new: &str, longest: usize) -> Result<(Regex, Box<[u8]>), String> {
    let regex = expression::compile(pattern);
    let regex = regex.map_err(|Unfit(reason)| format!("{pattern:?} {reason}"))?;
    let unknown = RefCell::new(None);
    let mut literal = String::new();
    interpolate::string(
        new,
        |group, _| {
            if group >= regex.captures_len() {
                unknown.replace(Some(group.to_string()));
            }
        },
        |name| {
            let found = regex.capture_names().position(|group| group == Some(name));
            if found.is_none() {
                unknown.replace(Some(name.to_owned()));
            }
            found
        },
        &mut literal,
    );
    if let Some(group) = unknown.into_inner() {
        let digits = group.len() - group.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = group.split_at(digits);
        let hint = if number.is_empty() || rest.is_empty() {
            "$$ stands for a dollar sign".to_owned()
        } else {
            format!("write ${{{number}}}{rest} for the group {number}, followed by {rest}")
        };
        return Err(format!("{pattern:?} has no group `{group}`; {hint}"));
    }
    if literal.len() > longest {
        return Err(format!(
            "{new:?} is too long: a value of this label has at most {longest} bytes"
        ));
    }
    if literal.contains('\0') {
        return Err(format!("{new:?} contains a NUL byte, which no name does"));
    }
    Ok((regex, new.as_bytes().into()))
}

/// Rules with the new names of the last names, so that they are evaluated once for each distinct name
/// as long as there are not too many.
#[derive(Debug)]
pub struct Renamer {
    rules: Rules,
    /// The seed is random, because users choose the names.
    known: LruCache<Box<[u8]>, Arc<[u8]>, RandomState>,
}

impl Renamer {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            known: LruCache::with_hasher(KEPT, RandomState::new()),
        }
    }

    /// Returns the new name, or the name itself if no rule applies to it.
    pub fn rename(&mut self, name: &[u8]) -> Arc<[u8]> {
        if let Some(known) = self.known.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<[u8]> = self.rules.rename(name).into();
        self.known.put(name.into(), Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rules: &[(&'static str, &'static str)]) -> Result<Rules, String> {
        Rules::compile(rules.iter().copied(), 15)
    }

    #[test]
    fn the_first_rule_that_matches_replaces_each_match() {
        let rules = rules(&[
            (r"^python3\.[0-9]+$", "python3"),
            ("^(.*)-[0-9a-f]{8,}$", "$1-*"),
            ("^(?<first>[a-z]+)_(?<second>[a-z]+)$", "${second}_$first"),
            ("[0-9]+", "N"),
            (r"^\(.*\)$", "$$$$"),
        ]);
        let mut renamer = Renamer::new(rules.unwrap());
        for (name, new) in [
            ("python3.11", "python3"),
            ("job-deadbeef01", "job-*"),
            ("left_right", "right_left"),
            ("worker/12:34", "worker/N:N"),
            ("(sd-pam)", "$$"),
            ("bash", "bash"),
            ("", ""),
        ] {
            for _again in 0..2 {
                assert_eq!(&*renamer.rename(name.as_bytes()), new.as_bytes());
            }
        }
    }

    #[test]
    fn names_are_bytes() {
        let rules = rules(&[("^(?s)(.)x+$", "$1")]).unwrap();
        assert_eq!(&*rules.rename(b"\xffxxx"), b"\xff");
    }

    #[test]
    fn the_end_of_a_new_name_that_is_too_long_is_left_out() {
        let rules = rules(&[("^(.*)$", "prefix-$1")]).unwrap();
        assert_eq!(&*rules.rename(b"0123456789"), b"prefix-01234567");
    }

    #[test]
    fn more_names_than_are_kept_have_their_new_names() {
        let rules = rules(&[("^n[0-9]*(.)$", "$1")]).unwrap();
        let mut renamer = Renamer::new(rules);
        for _again in 0..2 {
            for number in 0..3 * KEPT.get() {
                let name = format!("n{number}x");
                assert_eq!(&*renamer.rename(name.as_bytes()), b"x");
            }
        }
        assert_eq!(renamer.known.len(), KEPT.get());
    }

    #[test]
    fn a_rule_of_no_use_is_refused() {
        for (pattern, new, says) in [
            ("(", "", "\"(\" is not a regular expression: unclosed group"),
            ("(a{999}){999}", "", "is too large"),
            ("^(a)$", "$2", "\"^(a)$\" has no group `2`"),
            (
                "^(a)$",
                "$1b",
                "\"^(a)$\" has no group `1b`; write ${1}b for the group 1, followed by b",
            ),
            ("^a$", "$x", "has no group `x`; $$ stands for a dollar sign"),
            (
                "^(a)$",
                "$1-0123456789abcdef",
                "is too long: a value of this label has at most 15 bytes",
            ),
            ("^a$", "b\0c", "contains a NUL byte"),
        ] {
            let error = rules(&[(pattern, new)]).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(rules(&[]).unwrap_err().contains("at least one rule"));
        let many = [("a", "b"); MAX_RULES + 1];
        let error = rules(&many).unwrap_err();
        assert_eq!(error, "has 101 rules, but 100 at most");
        assert!(rules(&many[1..]).is_ok());
    }
}
