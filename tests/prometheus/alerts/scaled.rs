//! The rules of the package at 60 times the speed: one of their minutes is a second.
//!
//! Each duration is divided by [`FACTOR`]: `for`, ranges, offsets, steps of subqueries and intervals of
//! groups, also in comments. Thresholds, labels, expressions and names (including `rate5m`) do not
//! change. [`site`](super::site) divides the durations of Prometheus itself: the intervals of scrapes and
//! evaluations, and how long a sample counts as current.

use std::path::{Path, PathBuf};

use testkit::prometheus::packaging;

/// How much faster time passes.
const FACTOR: u128 = 60;

/// Writes the scaled rules of the package to a directory.
pub(crate) fn write_rules(dir: &Path) {
    for file in shipped() {
        let rules = std::fs::read_to_string(&file).unwrap();
        std::fs::write(dir.join(file.file_name().unwrap()), scaled(&rules)).unwrap();
    }
}

fn shipped() -> Vec<PathBuf> {
    let files = std::fs::read_dir(packaging().join("rules")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

/// Divides every duration in a text by [`FACTOR`].
pub(crate) fn scaled(text: &str) -> String {
    let mut scaled = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(is_between).unwrap_or(rest.len()));
        match duration_ms(word) {
            Some(ms) => {
                scaled += &(ms / FACTOR).to_string();
                scaled += "ms";
            }
            None => scaled += word,
        }
        let between = after.find(|c| !is_between(c)).unwrap_or(after.len());
        scaled += &after[..between];
        rest = &after[between..];
    }
    scaled
}

/// Returns whether a character separates words. The name of a metric is one word, unless it contains
/// colons.
fn is_between(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || c == '_')
}

/// Returns the duration that a word such as `23h30m` stands for, in milliseconds.
fn duration_ms(word: &str) -> Option<u128> {
    let has_a_unit = word.ends_with(|c: char| c.is_ascii_alphabetic());
    let duration = humantime::parse_duration(word).ok()?;
    has_a_unit.then_some(duration.as_millis())
}

mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use testkit::prometheus::promtool;

    fn words(text: &str) -> Vec<&str> {
        let words = text.split(is_between);
        words.filter(|word| !word.is_empty()).collect()
    }

    fn without_words(text: &str) -> Vec<&str> {
        let between = text.split(|c| !is_between(c));
        between.filter(|between| !between.is_empty()).collect()
    }

    #[test]
    fn only_durations_are_scaled() {
        for (shipped, expected) in [
            ("for: 10m # as long", "for: 10000ms # as long"),
            ("interval: 2m", "interval: 2000ms"),
            (
                "instance:a:p90_1w_rate5m",
                "instance:a:p90_1w_rate5m", // a name
            ),
            (
                "quantile_over_time(0.9, instance:a:rate5m[1w:5m])",
                "quantile_over_time(0.9, instance:a:rate5m[10080000ms:5000ms])",
            ),
            (
                "> 2 * max_over_time(instance:a:rate5m[1h] offset 23h30m)",
                "> 2 * max_over_time(instance:a:rate5m[60000ms] offset 1410000ms)",
            ),
            (
                "rate(a_total{uid=~\"[1-9][0-9]{0,2}|65534\"}[5m]) > 0.5",
                "rate(a_total{uid=~\"[1-9][0-9]{0,2}|65534\"}[5000ms]) > 0.5",
            ),
            (
                "within 10 minutes, 0 0.01 1e3 50",
                "within 10 minutes, 0 0.01 1e3 50",
            ),
        ] {
            assert_eq!(scaled(shipped), expected);
        }
    }

    #[test]
    fn every_duration_of_the_shipped_rules_is_scaled_and_nothing_else() {
        let mut changed = BTreeSet::new();
        for file in shipped() {
            let rules = std::fs::read_to_string(file).unwrap();
            let scaled = scaled(&rules);
            assert_eq!(without_words(&scaled), without_words(&rules));
            let (before, after) = (words(&rules), words(&scaled));
            assert_eq!(before.len(), after.len());
            let pairs = before.into_iter().zip(after);
            changed.extend(
                pairs
                    .filter(|(before, after)| before != after)
                    .map(|(before, after)| (before.to_owned(), after.to_owned())),
            );
        }
        let expected = [
            ("10m", "10000ms"),
            ("15m", "15000ms"),
            ("1d", "1440000ms"),
            ("1h", "60000ms"),
            ("1m", "1000ms"),
            ("1w", "10080000ms"),
            ("23h30m", "1410000ms"),
            ("26h", "1560000ms"),
            ("2m", "2000ms"),
            ("5m", "5000ms"),
        ];
        let expected = expected.map(|(before, after)| (before.to_owned(), after.to_owned()));
        assert_eq!(changed, BTreeSet::from(expected));
    }

    #[test]
    fn promtool_accepts_the_scaled_rules() {
        let dir = tempfile::tempdir().unwrap();
        write_rules(dir.path());
        for file in shipped() {
            let name = file.file_name().unwrap().to_str().unwrap();
            promtool(dir.path(), &["check", "rules", name]);
        }
    }
}
