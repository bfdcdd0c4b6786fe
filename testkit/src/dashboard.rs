//! The Grafana dashboard of the packages, and the daemon's configuration that the dashboard needs.

use std::path::Path;

use execsnoopd::config::Config;
use serde_json::Value;

use crate::docs::{DASHBOARD, fenced};
use crate::paths::repository;

/// A query of a panel, as written in the dashboard.
#[derive(Debug)]
pub struct Query<'a> {
    pub panel: &'a str,
    pub expr: &'a str,
    /// Whether the query is evaluated over the time range shown, or only at its end.
    pub is_range: bool,
}

pub fn dashboard() -> Value {
    let file = repository().join("packaging/grafana/execsnoopd.json");
    let text = std::fs::read_to_string(file).expect("the dashboard is there");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

/// The string at a JSON pointer. Panics if there is none.
#[track_caller]
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no {pointer} in {value:#}"))
}

#[track_caller]
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no {pointer} in {value:#}"))
}

/// All panels, including rows.
pub fn panels(dashboard: &Value) -> &[Value] {
    list(dashboard, "/panels")
}

/// The panels that show data.
pub fn data_panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let shows_data = |panel: &&Value| !["row", "text"].contains(&text(panel, "/type"));
    panels(dashboard).iter().filter(shows_data)
}

pub fn queries(dashboard: &Value) -> Vec<Query<'_>> {
    data_panels(dashboard).flat_map(queries_of).collect()
}

pub fn queries_of(panel: &Value) -> impl Iterator<Item = Query<'_>> {
    list(panel, "/targets").iter().map(|target| Query {
        panel: text(panel, "/title"),
        expr: text(target, "/expr"),
        is_range: target["range"] == true,
    })
}

/// The text that a panel shows if it has no data.
pub fn no_value(panel: &Value) -> &str {
    text(panel, "/fieldConfig/defaults/noValue")
}

/// A query as Grafana sends it for a range in seconds, with every `job` and `instance` selected.
/// Rates are over the whole range.
pub fn substituted(expr: &str, range: u64) -> String {
    let all = expr.replace("$job", ".+").replace("$instance", ".+");
    all.replace("$__range_s", &range.to_string())
        .replace("$__rate_interval", &format!("{range}s"))
        .replace("$__range", &format!("{range}s"))
}

/// The daemon's configuration that the dashboard needs, as documented.
pub fn config_text() -> String {
    let blocks = fenced(DASHBOARD, "toml");
    assert_eq!(blocks.len(), 1);
    blocks.into_iter().next().unwrap()
}

pub fn config() -> Config {
    Config::parse(&config_text(), Path::new("docs/dashboard.md")).expect("it is valid")
}
