//! The parser of the configuration file.

use std::path::Path;

use execsnoopd::config::{Config, Error, LabelConfig};

use crate::hint;

/// For any text: it is rejected with a message that names one of its lines, or it is a configuration
/// that stays the same when it is written out and parsed again.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let file = Path::new("x.toml");
    match Config::parse(text, file) {
        Ok(config) => {
            config.validate().expect("what was parsed is valid");
            let again = toml::to_string(&config).expect("it can be written out");
            let again = Config::parse(&again, file).unwrap_or_else(|e| panic!("{again}: {e}"));
            assert_eq!(again, config);
        }
        Err(Error::Invalid {
            path,
            line,
            message,
        }) => {
            assert_eq!(path, file);
            assert!(!message.is_empty());
            check_line(text, line, &message);
        }
        Err(error) => panic!("{error}"),
    }
}

/// Checks that the line exists and contains the unknown key that the message names. A key that is
/// written with escapes is not searched for.
fn check_line(text: &str, line: usize, message: &str) {
    let mut lines = text.lines().chain(text.is_empty().then_some(""));
    let found = lines.nth(line.wrapping_sub(1));
    let found = found.unwrap_or_else(|| panic!("there is no line {line}: {message}"));
    let Some((key, nearest)) = hint::of(message) else {
        return;
    };
    if let Some(nearest) = nearest {
        assert!(has_key(&known_keys(), nearest), "there is no key {nearest}");
    }
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if key.chars().all(is_bare) && !text.contains('\\') {
        let last = key.rsplit('.').next().unwrap_or(key);
        assert!(found.contains(last), "{last} is not on line {line}");
    }
}

/// A table with every key. The defaults have no label, whose keys are required.
fn known_keys() -> toml::Table {
    let config = Config {
        label: vec![LabelConfig {
            name: String::new(),
            cgroup: String::new(),
        }],
        ..Config::default()
    };
    toml::Table::try_from(config).expect("a table")
}

fn has_key(table: &toml::Table, name: &str) -> bool {
    table.contains_key(name)
        || table.values().any(|value| match value {
            toml::Value::Table(table) => has_key(table, name),
            toml::Value::Array(items) => items
                .iter()
                .filter_map(toml::Value::as_table)
                .any(|table| has_key(table, name)),
            _ => false,
        })
}
