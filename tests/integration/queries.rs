//! The queries of the packages and of the documentation.

use std::path::{Path, PathBuf};

use testkit::docs::fenced;
use testkit::paths::repository;

/// Adds all files below a directory.
fn find(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("the directory is there") {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The files with rules, alerts and panels, and the queries in the documentation.
fn queries() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for dir in ["prometheus", "grafana", "kubernetes"] {
        find(&repository().join("packaging").join(dir), &mut files);
    }
    find(&repository().join("docs"), &mut files);
    files.push(repository().join("README.md"));
    let mut queries = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue; // a picture
        };
        if file.extension().is_some_and(|extension| extension == "md") {
            let blocks = fenced(&text, "promql").into_iter();
            queries.extend(blocks.map(|block| (file.clone(), block)));
        } else {
            queries.push((file, text));
        }
    }
    queries
}

/// The execs in a yielded counter were in the rates of other series before. A rate that contains
/// both counts them twice.
#[test]
fn no_rule_panel_or_documented_query_uses_a_yielded_counter() {
    let queries = queries();
    let uses = |metric| {
        queries
            .iter()
            .filter(move |(_, text)| text.contains(metric))
    };
    // It would find one.
    assert!(uses("execsnoop_series_overflow_total").count() >= 4);
    let found: Vec<_> = uses("_yielded_").map(|(file, _)| file).collect();
    assert_eq!(found, [""; 0].map(PathBuf::from).iter().collect::<Vec<_>>());
}
