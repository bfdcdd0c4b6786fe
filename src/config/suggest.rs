//! Finds the unknown keys of a document and their lines, and suggests the nearest known key.

use std::fmt;

use serde_path_to_error::{Path, Segment};
use toml::de::{DeTable, DeValue};

/// A key that does not exist.
#[derive(Debug)]
pub(super) struct Unknown {
    path: String,
    nearest: Option<String>,
    /// The position of the key in the text, in bytes.
    pub(super) offset: usize,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&unknown_key(&self.path, self.nearest.as_deref()))
    }
}

pub(super) fn unknown_key(path: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("unknown key `{path}`; did you mean `{nearest}`?"),
        None => format!("unknown key `{path}`"),
    }
}

/// Returns the first unknown key of the document. A table that is empty in `known` can have any keys.
pub(super) fn unknown(document: &DeTable<'_>, known: &toml::Table) -> Option<Unknown> {
    unknown_in(document, known, "")
}

fn unknown_in(table: &DeTable<'_>, known: &toml::Table, path: &str) -> Option<Unknown> {
    let mut keys: Vec<_> = table.iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in keys {
        let name = key.get_ref().as_ref();
        let path = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        let Some(expected) = known.get(name) else {
            return Some(Unknown {
                path,
                nearest: nearest(name, known.keys().map(String::as_str)),
                offset: key.span().start,
            });
        };
        let unknown = match (value.get_ref(), expected) {
            (DeValue::Table(table), toml::Value::Table(known)) if !known.is_empty() => {
                unknown_in(table, known, &path)
            }
            (DeValue::Array(tables), toml::Value::Array(known)) => {
                let known = known.first().and_then(toml::Value::as_table);
                tables
                    .iter()
                    .find_map(|item| match (item.get_ref(), known) {
                        (DeValue::Table(table), Some(known)) => unknown_in(table, known, &path),
                        _ => None,
                    })
            }
            _ => None,
        };
        if unknown.is_some() {
            return unknown;
        }
    }
    None
}

/// Returns the most similar known key, if one is similar enough.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|key| (strsim::jaro_winkler(name, key), key))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key.to_owned())
}

/// Returns the offset of a key's value in bytes. For a key that the document does not have,
/// returns the offset of the innermost table on its path.
pub(super) fn offset(document: &DeTable<'_>, path: &[String]) -> usize {
    let mut at = 0;
    let Some((first, mut rest)) = path.split_first() else {
        return at;
    };
    let Some(mut value) = document.get(first.as_str()) else {
        return at;
    };
    loop {
        at = value.span().start;
        let Some((next, further)) = rest.split_first() else {
            return at;
        };
        let inner = match value.get_ref() {
            DeValue::Table(table) => table.get(next.as_str()),
            DeValue::Array(items) => next.parse().ok().and_then(|i: usize| items.get(i)),
            _ => None,
        };
        match inner {
            Some(inner) => (value, rest) = (inner, further),
            None => return at,
        }
    }
}

/// Returns the key at a path, as errors name it: with the index of a table in its array, but
/// without the index of a value in its list.
pub(super) fn key_at(path: &Path) -> String {
    let mut keys = keys(path);
    if matches!(path.iter().next_back(), Some(Segment::Seq { .. })) {
        keys.pop();
    }
    keys.join(".")
}

/// Returns the keys and the indexes of a path.
pub(super) fn keys(path: &Path) -> Vec<String> {
    let keys = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    keys.collect()
}

/// Returns the number of the line at an offset, counted from 1. The end of the text is on the last
/// line, even after a final line break.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    let line = text.get(..offset).unwrap_or(text).matches('\n').count() + 1;
    line.min(text.lines().count().max(1))
}
