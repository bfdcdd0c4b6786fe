//! Tests of the rules and of the query for Kubernetes, with promtool.

use testkit::docs::{KUBERNETES, fenced};
use testkit::paths::repository;
use testkit::prometheus::promtool;

#[test]
fn promtool_accepts_the_rules_of_the_operator() {
    let directory = repository().join("packaging/kubernetes/prometheus-operator");
    let rules = std::fs::read_to_string(directory.join("prometheusrule.yaml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let spec = rules.split("\nspec:\n").nth(1).expect("a specification");
    std::fs::write(dir.path().join("rules.yml"), spec).unwrap();
    promtool(dir.path(), &["check", "rules", "rules.yml"]);
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
