//! The pages of the documentation that tests verify.

use std::collections::BTreeMap;
use std::path::Path;

use execsnoopd::config::Config;

pub const ALERTS: &str = include_str!("../../docs/alerts.md");
pub const COOKBOOK: &str = include_str!("../../docs/cookbook.md");
pub const DASHBOARD: &str = include_str!("../../docs/dashboard.md");
pub const FLEET: &str = include_str!("../../docs/fleet.md");
pub const KUBERNETES: &str = include_str!("../../docs/kubernetes.md");
pub const METRICS: &str = include_str!("../../docs/metrics.md");

/// The fenced blocks of a page that are marked as this language.
pub fn fenced(page: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    page.split(&opening)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The configuration of the packages, which has the watches of the alerts.
pub fn packaged_config() -> Config {
    let text = include_str!("../../config.example.toml");
    Config::parse(text, Path::new("config.example.toml")).expect("the configuration is valid")
}

/// The watches of the packages on facts.
pub fn packaged_watches() -> Config {
    let text = include_str!("../../packaging/watches/facts.toml");
    Config::parse(text, Path::new("facts.toml")).expect("the watches are valid")
}

/// The watches of the packages on what a service may execute, and on jobs.
pub fn packaged_jobs() -> Config {
    let text = include_str!("../../packaging/watches/jobs.toml");
    Config::parse(text, Path::new("jobs.toml")).expect("the watches are valid")
}

/// The types of the metrics in docs/metrics.md, by metric name. Rows without a type are ignored:
/// they belong to other tables.
pub fn metric_types() -> BTreeMap<String, String> {
    METRICS
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(name, rest)| Some((name, rest.split_once(" |")?.0)))
        .filter(|(_, kind)| ["counter", "gauge", "histogram"].contains(kind))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}
