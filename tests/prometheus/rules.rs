//! Tests of the rules in the package: promtool accepts them, their unit tests pass, and every metric
//! in them exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use execsnoopd::config::Config;
use execsnoopd::pipeline::view;
use testkit::docs::{ALERTS, FLEET, METRICS, fenced, metric_types, packaged_config};
use testkit::prometheus::{packaging, promtool};

/// The files of a directory, by name.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("the directory is there");
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in {}", dir.display());
    files
}

fn rules() -> Vec<PathBuf> {
    files(&packaging().join("rules"))
}

fn unit_tests() -> Vec<PathBuf> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules"))
}

fn read(files: &[PathBuf]) -> String {
    let read = |file| std::fs::read_to_string(file).unwrap();
    files.iter().map(read).collect()
}

/// The name and the lines of each alert.
fn alerts() -> Vec<(String, String)> {
    let text = read(&rules());
    let alerts = text.split("- alert: ").skip(1);
    alerts
        .map(|alert| (alert.lines().next().unwrap().to_owned(), alert.to_owned()))
        .collect()
}

fn promtool_on(command: &str, files: &[PathBuf]) {
    let mut args = vec![command, "rules"];
    args.extend(files.iter().map(|file| file.to_str().unwrap()));
    promtool(&packaging(), &args);
}

#[test]
fn promtool_accepts_the_rules_of_the_package() {
    promtool_on("check", &rules());
}

#[test]
fn the_rules_pass_their_unit_tests() {
    promtool_on("test", &unit_tests());
}

#[test]
fn the_unit_tests_expect_every_alert_to_fire_and_to_stay_quiet() {
    let text = read(&unit_tests());
    for (name, _) in alerts() {
        let expected: Vec<_> = text
            .split("- alertname: ")
            .filter(|case| case.lines().next() == Some(&name))
            .filter_map(|case| case.lines().find(|line| line.contains("exp_alerts:")))
            .map(|line| line.trim_end().ends_with("[]"))
            .collect();
        assert!(expected.contains(&false), "{name} never fires");
        assert!(expected.contains(&true), "{name} is never quiet");
    }
}

#[test]
fn every_recording_rule_is_used_by_a_unit_test_or_an_alert() {
    let used = read(&unit_tests())
        + &alerts()
            .into_iter()
            .map(|(_, text)| text)
            .collect::<String>();
    let used = words(&used);
    for name in recorded() {
        assert!(used.contains(name.as_str()), "{name}");
    }
}

#[test]
fn every_alert_has_a_description_and_a_documented_response() {
    let mut names = Vec::new();
    for (name, text) in alerts() {
        for part in ["severity: ", "summary: ", "description: "] {
            assert!(
                text.contains(&format!("\n          {part}")),
                "{name}: {part}"
            );
        }
        let runbook = format!("runbook: docs/alerts.md#{}\n", name.to_lowercase());
        assert!(text.contains(&runbook), "{name}: {runbook}");
        let severity = text.split("severity: ").nth(1).unwrap();
        let row = format!("| {} | ", severity.lines().next().unwrap());
        let row = ALERTS.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("{name}: no such severity"));
        assert!(words(row).contains(name.as_str()), "{name} in {row}");
        names.push(name);
    }
    let sections: Vec<_> = ALERTS
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    assert_eq!(sections, names);
}

/// Returns the words of a text that may be names of metrics.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .collect()
}

/// The names of the recorded series.
fn recorded() -> BTreeSet<String> {
    let text = read(&rules());
    let names = text.split("- record: ").skip(1);
    names
        .map(|rule| rule.lines().next().unwrap().to_owned())
        .collect()
}

/// The documented metrics, and those of the views of the packages and of the manifests.
fn metrics() -> BTreeSet<String> {
    let manifest = packaging().with_file_name("kubernetes/base/config.toml");
    let text = std::fs::read_to_string(&manifest).expect("the configuration of the manifests");
    let on_kubernetes = Config::parse(&text, &manifest).expect("it is valid").view;
    let views = packaged_config().view.into_iter().chain(on_kubernetes);
    let views = views.flat_map(|view| {
        let name = view::name(&view.labels);
        ["execs", "cpu_seconds"].map(|what| format!("execsnoop_{what}_by_{name}_total"))
    });
    metric_types().into_keys().chain(views).collect()
}

#[test]
fn every_metric_in_rules_and_documentation_exists() {
    let (recorded, metrics) = (recorded(), metrics());
    // Leave out regular expressions, which are not names of metrics.
    let fleet = FLEET.lines().filter(|line| !line.contains("regex:"));
    let fleet = fleet.filter(|line| !line.contains("__name__=~"));
    let text =
        read(&rules()) + &read(&unit_tests()) + ALERTS + &fleet.collect::<Vec<_>>().join("\n");
    let mut found = 0;
    for word in words(&text) {
        if word.contains(":execsnoop_") {
            assert!(recorded.contains(word), "{word} is not recorded");
        } else if word.starts_with("execsnoop_") {
            // The series of a histogram have names with suffixes.
            let metric = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(metrics.contains(metric), "{word} is no metric");
            found += 1;
        }
    }
    assert!(found > 10, "only {found} metrics found");
}

/// In the code blocks, blank lines separate the queries.
#[test]
fn promtool_accepts_the_queries_of_the_documentation() {
    let blocks = fenced(METRICS, "promql").join("\n");
    let queries: Vec<_> = blocks.split("\n\n").collect();
    assert!(queries.len() > 20, "only {} found", queries.len());
    let rules: Vec<String> = queries
        .iter()
        .enumerate()
        .map(|(number, query)| {
            let query = query.replace('\n', "\n          ");
            format!("      - record: query_{number}\n        expr: |\n          {query}\n")
        })
        .collect();
    let text = format!("groups:\n  - name: queries\n    rules:\n{}", rules.concat());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("queries.yml"), text).unwrap();
    let printed = promtool(dir.path(), &["check", "rules", "queries.yml"]);
    assert!(
        printed.contains(&format!("{} rules found", queries.len())),
        "{printed}"
    );

    let metrics: BTreeSet<_> = metrics()
        .into_iter()
        .chain(views_of_the_queries())
        .collect();
    for word in queries.iter().flat_map(|query| words(query)) {
        let metric = word.trim_end_matches("_bucket").trim_end_matches("_count");
        if word.starts_with("execsnoop_") || word.starts_with("process_") {
            assert!(metrics.contains(metric), "{word} is no metric");
        }
    }
}

/// Returns the metrics of the views that the queries of docs/metrics.md need. That page writes the
/// labels of these views as a configuration does.
fn views_of_the_queries() -> Vec<String> {
    let lists = METRICS.split("`[\"").skip(1);
    let views = lists.map(|rest| {
        let labels = rest.split('`').next().unwrap();
        let text = format!("[[view]]\nlabels = [\"{labels}");
        let config = Config::parse(&text, Path::new("docs/metrics.md")).expect("the view is valid");
        format!(
            "execsnoop_execs_by_{}_total",
            view::name(&config.view[0].labels)
        )
    });
    views.collect()
}

/// In docs/fleet.md, the first line of each code block is a comment with the name of its file.
#[test]
fn promtool_accepts_the_configurations_for_many_hosts() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(packaging().join("rules"), dir.path().join("rules")).unwrap();
    std::fs::create_dir(dir.path().join("targets")).unwrap();
    let mut configurations = Vec::new();
    for block in fenced(FLEET, "yaml") {
        let name = block
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "));
        let name = name.expect("the name of a file").to_owned();
        std::fs::write(dir.path().join(&name), block).unwrap();
        if name.starts_with("prometheus") {
            configurations.push(name);
        }
    }
    assert_eq!(configurations.len(), 3);
    for name in configurations {
        let mut args = vec!["check", "config", &name];
        if name.contains("agent") {
            args.push("--agent");
        }
        let printed = promtool(dir.path(), &args);
        assert!(!printed.contains("WARNING"), "{printed}");
        assert_eq!(
            printed.contains("2 rule files found"),
            name == "prometheus.yml",
            "{printed}"
        );
    }
}
