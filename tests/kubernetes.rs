//! The manifests and the image agree with the program, and with each other. Needs promtool.

use std::path::{Path, PathBuf};
use std::process::Command;

use execsnoopd::config::Config;
use testkit::docs::{KUBERNETES, config_for_alerts, fenced};
use testkit::pod::manifest;
use testkit::prometheus::promtool;

const DOCKERFILE: &str = include_str!("../packaging/container/Dockerfile");
const KUSTOMIZATION: &str = include_str!("../packaging/kubernetes/base/kustomization.yaml");

fn packaged(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("packaging")
        .join(path)
}

fn config(path: &str) -> Config {
    let path = packaged(path);
    let text = std::fs::read_to_string(&path).unwrap();
    Config::parse(&text, &path).expect("the configuration is valid")
}

#[test]
fn the_rules_are_those_of_prometheus() {
    let directory = packaged("kubernetes/prometheus-operator");
    let made = Command::new(directory.join("make-prometheusrule")).output();
    let made = String::from_utf8(made.expect("bash can be executed").stdout).unwrap();
    let rules = std::fs::read_to_string(directory.join("prometheusrule.yaml")).unwrap();
    assert_eq!(rules, made, "make-prometheusrule writes it anew");
}

#[test]
fn prometheus_reads_the_rules_as_it_reads_its_own() {
    let directory = packaged("kubernetes/prometheus-operator");
    let rules = std::fs::read_to_string(directory.join("prometheusrule.yaml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let spec = rules.split("\nspec:\n").nth(1).expect("a specification");
    std::fs::write(dir.path().join("rules.yml"), spec).unwrap();
    promtool(dir.path(), &["check", "rules", "rules.yml"]);
}

#[test]
fn a_pod_listens_where_its_manifest_says_and_counts_what_the_alerts_ask_for() {
    let address = format!(":{}", manifest("containerPort"));
    let pod = config("kubernetes/base/config.toml");
    let image = config("container/config.toml");
    assert_eq!(
        [&pod.web.listen[..], &image.web.listen],
        [[&address[..]]; 2]
    );
    assert!(DOCKERFILE.contains(&format!("\nEXPOSE {}\n", manifest("containerPort"))));
    for view in config_for_alerts().view {
        assert!(pod.view.contains(&view), "{view:?}");
    }
}

#[test]
fn the_image_is_of_this_version_and_licence() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(KUSTOMIZATION.contains(&format!("newTag: {version}\n")));
    for (label, value) in [
        ("version", version),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
    ] {
        let label = format!("org.opencontainers.image.{label}=\"{value}\"");
        assert!(DOCKERFILE.contains(&label), "{label}");
    }
}

#[test]
fn execs_of_a_container_are_joined_to_its_pod() {
    let queries = fenced(KUBERNETES, "promql");
    assert_eq!(queries.len(), 1);
    let query = queries[0].trim().replace('\n', "\n          ");
    let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let short = &id[..12];
    let test = format!(
        r#"
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: execsnoop_execs_by_container_comm_total{{job="execsnoopd", instance="node-1", container="{short}", comm="sh"}}
        values: 0+120x10
      - series: execsnoop_execs_by_container_comm_total{{job="execsnoopd", instance="node-1", container="", comm="sh"}}
        values: 0+60x10
      - series: kube_pod_container_info{{namespace="shop", pod="cart-0", container="cart", container_id="containerd://{id}"}}
        values: 1x10
      - series: kube_pod_container_info{{namespace="shop", pod="cart-1", container="cart", container_id="containerd://ffff{id}"}}
        values: 1x10
    promql_expr_test:
      - eval_time: 10m
        expr: |
          {query}
        exp_samples:
          - labels: '{{container="{short}", comm="sh", namespace="shop", pod="cart-0", name="cart"}}'
            value: 2
"#
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("join.yml"), test).unwrap();
    promtool(dir.path(), &["test", "rules", "join.yml"]);
}
