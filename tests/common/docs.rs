//! What the documentation says, for tests to hold it to that.

use std::path::Path;

use execsnoopd::config::Config;

pub(crate) const ALERTS: &str = include_str!("../../docs/alerts.md");
pub(crate) const FLEET: &str = include_str!("../../docs/fleet.md");
pub(crate) const METRICS: &str = include_str!("../../docs/metrics.md");

/// The blocks of a page that are fenced as this language.
pub(crate) fn fenced(page: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    page.split(&opening)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The configuration of execsnoopd that the alerts ask for.
pub(crate) fn config_for_alerts() -> Config {
    let blocks = fenced(ALERTS, "toml");
    assert_eq!(blocks.len(), 1);
    Config::parse(&blocks[0], Path::new("docs/alerts.md")).expect("the configuration is valid")
}
