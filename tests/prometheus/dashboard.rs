//! The Grafana dashboard of the package satisfies the rules of grafana/dashboard-linter, queries only
//! metrics that exist, and is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use execsnoopd::config::Config;
use execsnoopd::pipeline::view;
use serde_json::{Value, json};
use testkit::dashboard::{
    config, dashboard, data_panels, list, no_value, panels, queries, queries_of, substituted, text,
};
use testkit::docs::{DASHBOARD, fenced, metric_types};
use testkit::prometheus::promtool;
use testkit::promql::{Selector, selectors};

/// The units of Grafana that the dashboard uses.
const UNITS: [&str; 6] = ["bytes", "cps", "locale", "percentunit", "s", "short"];

/// The selectors of all queries, each with its query.
fn all_selectors(dashboard: &Value) -> Vec<(&str, Selector<'_>)> {
    let queries = queries(dashboard).into_iter();
    let all: Vec<_> = queries
        .flat_map(|query| {
            selectors(query.expr)
                .into_iter()
                .map(move |s| (query.expr, s))
        })
        .collect();
    assert!(all.len() > 50, "only {} selectors found", all.len());
    all
}

fn variable<'a>(dashboard: &'a Value, name: &str) -> &'a Value {
    let variables = list(dashboard, "/templating/list");
    variables
        .iter()
        .find(|variable| variable["name"] == name)
        .unwrap_or_else(|| panic!("no variable {name}"))
}

/// dashboard-linter: template-datasource-rule
#[test]
fn the_data_source_is_a_variable() {
    let dashboard = dashboard();
    let datasource = variable(&dashboard, "datasource");
    assert_eq!(datasource["type"], "datasource");
    assert_eq!(datasource["query"], "prometheus");
    assert_eq!(datasource["label"], "Data source");
}

/// dashboard-linter: template-job-rule, template-instance-rule, template-label-promql-rule,
/// template-on-time-change-reload-rule
#[test]
fn jobs_and_instances_are_variables() {
    let dashboard = dashboard();
    for (name, label, query) in [
        ("job", "Job", "label_values(execsnoop_build_info, job)"),
        (
            "instance",
            "Instance",
            "label_values(execsnoop_build_info{job=~\"$job\"}, instance)",
        ),
    ] {
        let variable = variable(&dashboard, name);
        assert_eq!(variable["type"], "query");
        assert_eq!(variable["label"], label);
        assert_eq!(variable["query"], query);
        assert_eq!(variable["definition"], query);
        assert_eq!(variable["multi"], true);
        assert_eq!(variable["includeAll"], true);
        assert_eq!(variable["allValue"], ".+");
        assert_eq!(variable["refresh"], 2, "when the range changes");
    }
}

/// dashboard-linter: panel-datasource-rule
#[test]
fn every_data_source_is_the_variable() {
    let dashboard = dashboard();
    let expected = json!({"type": "prometheus", "uid": "${datasource}"});
    for panel in data_panels(&dashboard) {
        assert_eq!(panel["datasource"], expected, "{panel:#}");
        for target in list(panel, "/targets") {
            assert_eq!(target["datasource"], expected, "{target:#}");
        }
    }
    for name in ["job", "instance"] {
        assert_eq!(variable(&dashboard, name)["datasource"], expected);
    }
    let mut uids = BTreeSet::new();
    each_object(&dashboard, &mut |object| {
        let uid = object.get("uid").filter(|_| object.contains_key("type"));
        uids.extend(uid.map(Value::to_string));
    });
    assert_eq!(uids, BTreeSet::from([expected["uid"].to_string()]));
}

fn each_object(value: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            look(object);
            object.values().for_each(|value| each_object(value, look));
        }
        Value::Array(values) => values.iter().for_each(|value| each_object(value, look)),
        _ => (),
    }
}

/// dashboard-linter: panel-title-description-rule
#[test]
fn every_panel_has_a_title_and_a_description() {
    for panel in panels(&dashboard()) {
        assert!(!text(panel, "/title").is_empty(), "{panel:#}");
        if panel["type"] != "row" {
            assert!(text(panel, "/description").len() > 30, "{panel:#}");
        }
    }
}

/// dashboard-linter: panel-units-rule
#[test]
fn every_panel_has_a_unit_that_grafana_knows() {
    for panel in data_panels(&dashboard()) {
        let title = text(panel, "/title");
        assert!(
            UNITS.contains(&text(panel, "/fieldConfig/defaults/unit")),
            "{title}"
        );
        let overrides = list(panel, "/fieldConfig/overrides").iter();
        let properties = overrides.flat_map(|other| list(other, "/properties"));
        for unit in properties.filter(|property| property["id"] == "unit") {
            assert!(UNITS.contains(&text(unit, "/value")), "{title}: {unit}");
        }
    }
}

/// dashboard-linter: panel-no-targets-rule
#[test]
fn every_panel_has_queries() {
    for panel in data_panels(&dashboard()) {
        let refs = list(panel, "/targets").iter().map(|t| text(t, "/refId"));
        let distinct: BTreeSet<_> = refs.clone().collect();
        assert!(!distinct.is_empty(), "{panel:#}");
        assert_eq!(distinct.len(), refs.count(), "{panel:#}");
    }
}

/// dashboard-linter: target-promql-rule
#[test]
fn promtool_accepts_every_query() {
    let dashboard = dashboard();
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    let queries = queries(&dashboard);
    for (n, query) in queries.iter().enumerate() {
        let expr = json!(substituted(query.expr, 300)); // a JSON string is a YAML string
        writeln!(rules, "  - record: query_{n}\n    expr: {expr}").unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
    let printed = promtool(dir.path(), &["check", "rules", "rules.yml"]);
    assert!(
        printed.contains(&format!("{} rules found", queries.len())),
        "{printed}"
    );
}

/// dashboard-linter: target-rate-interval-rule
#[test]
fn rates_are_over_the_interval_that_grafana_computes() {
    for (query, selector) in all_selectors(&dashboard()) {
        let expected = match selector.function {
            Some("rate" | "irate") => Some("$__rate_interval"),
            Some("increase" | "last_over_time") => Some("$__range"),
            _ => None,
        };
        assert_eq!(selector.range, expected, "{selector:?} in {query}");
    }
}

/// dashboard-linter: target-job-rule, target-instance-rule
#[test]
fn every_selector_matches_the_chosen_jobs_and_instances() {
    for (query, selector) in all_selectors(&dashboard()) {
        for matcher in ["job=~\"$job\"", "instance=~\"$instance\""] {
            assert!(
                selector.matchers.contains(&matcher),
                "{selector:?} in {query}"
            );
        }
    }
}

/// dashboard-linter: target-counter-agg-rule
#[test]
fn counters_are_queried_by_rate_or_increase() {
    let types = metric_types();
    for (query, selector) in all_selectors(&dashboard()) {
        let is_counter = selector.metric.ends_with("_total")
            || selector.metric.ends_with("_bucket")
            || types
                .get(selector.metric)
                .is_some_and(|kind| kind == "counter");
        let is_rate = matches!(selector.function, Some("rate" | "irate" | "increase"));
        assert_eq!(is_rate, is_counter, "{selector:?} in {query}");
    }
}

/// dashboard-linter: uneditable-dashboard-rule
#[test]
fn the_dashboard_cannot_be_edited() {
    assert_eq!(dashboard()["editable"], false);
}

/// Returns the `labels` line of each view of a configuration, by the suffix of the view's metrics.
fn views(config: &Config) -> BTreeMap<String, String> {
    let views = config.view.iter();
    views
        .map(|view| {
            let labels: Vec<_> = view
                .labels
                .iter()
                .map(|label| json!(label.name()).to_string())
                .collect();
            (
                view::name(&view.labels),
                format!("labels = [{}]", labels.join(", ")),
            )
        })
        .collect()
}

/// Returns the view that a metric belongs to.
fn view_of(metric: &str) -> Option<&str> {
    let metric = metric.strip_prefix("execsnoop_")?.strip_suffix("_total")?;
    Some(metric.split_once("_by_")?.1)
}

#[test]
fn every_metric_exists() {
    let (types, views) = (metric_types(), views(&config()));
    for (query, selector) in all_selectors(&dashboard()) {
        let metric = selector
            .metric
            .strip_suffix("_bucket")
            .unwrap_or(selector.metric);
        match view_of(metric) {
            Some(view) => assert!(views.contains_key(view), "no view {view}: {query}"),
            // `up` is a metric of Prometheus itself.
            None => assert!(
                metric == "up" || types.contains_key(metric),
                "{metric} in {query}"
            ),
        }
    }
}

#[test]
fn a_panel_of_a_view_says_which_one_it_needs() {
    let views = views(&config());
    for panel in data_panels(&dashboard()) {
        let metrics: BTreeSet<_> = queries_of(panel)
            .flat_map(|query| selectors(query.expr))
            .filter_map(|selector| view_of(selector.metric))
            .collect();
        // A panel of CPU time names `capture.exits` instead of a view.
        let is_of_execs = queries_of(panel).next().unwrap().expr.contains("execs_by_");
        for view in metrics.into_iter().filter(|_| is_of_execs) {
            assert!(no_value(panel).contains(&views[view]), "{panel:#}");
        }
    }
}

#[test]
fn the_text_in_the_dashboard_is_a_part_of_the_documented_configuration() {
    let dashboard = dashboard();
    let texts = panels(&dashboard)
        .iter()
        .filter(|panel| panel["type"] == "text");
    let mut asked_for = Vec::new();
    for panel in texts {
        for block in fenced(text(panel, "/options/content"), "toml") {
            asked_for.extend(
                Config::parse(&block, "the dashboard".as_ref())
                    .unwrap()
                    .view,
            );
        }
    }
    let default = Config::default().view;
    let documented = config().view;
    assert_eq!(documented, [default, asked_for].concat());
}

#[test]
fn panels_have_unique_ids_and_do_not_overlap() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeMap::new();
    for panel in panels(&dashboard) {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel:#}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|of| panel["gridPos"][of].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{panel:#}");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            let other = taken.insert(place, text(panel, "/title"));
            assert_eq!(other, None, "at {place:?}: {panel:#}");
        }
    }
}

#[test]
fn every_row_is_in_the_documentation() {
    let dashboard = dashboard();
    let rows = panels(&dashboard)
        .iter()
        .filter(|panel| panel["type"] == "row");
    let rows: Vec<_> = rows.map(|row| text(row, "/title")).collect();
    let documented = DASHBOARD
        .lines()
        .filter_map(|line| line.strip_prefix("### "));
    assert_eq!(rows, documented.collect::<Vec<_>>());
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    assert!(!dashboard().to_string().contains("://"));
}
