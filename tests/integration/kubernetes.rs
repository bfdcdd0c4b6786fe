//! The manifests and the image agree with the program and with each other.

use std::path::{Path, PathBuf};
use std::process::Command;

use execsnoopd::config::Config;
use testkit::docs::packaged_config;
use testkit::pod::manifest;

const DOCKERFILE: &str = include_str!("../../packaging/container/Dockerfile");
const DAEMON_SET: &str = include_str!("../../packaging/kubernetes/base/daemonset.yaml");
const KUSTOMIZATION: &str = include_str!("../../packaging/kubernetes/base/kustomization.yaml");

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
fn the_prometheusrule_contains_the_packaged_rules() {
    let directory = packaged("kubernetes/prometheus-operator");
    let made = Command::new(directory.join("make-prometheusrule")).output();
    let made = String::from_utf8(made.expect("bash can be executed").stdout).unwrap();
    let rules = std::fs::read_to_string(directory.join("prometheusrule.yaml")).unwrap();
    assert_eq!(
        rules, made,
        "prometheusrule.yaml is out of date: run make-prometheusrule"
    );
}

#[test]
fn a_pod_listens_on_the_port_of_its_manifest_and_has_the_views_and_watches_of_the_packages() {
    let address = format!(":{}", manifest("containerPort"));
    let pod = config("kubernetes/base/config.toml");
    let image = config("container/config.toml");
    assert_eq!(
        [&pod.web.listen[..], &image.web.listen],
        [[&address[..]]; 2]
    );
    let [probes] = &pod.web.probe_listen[..] else {
        panic!("one address for probes");
    };
    let port = format!("\n              port: {}\n", probes.trim_start_matches(':'));
    assert_eq!(DAEMON_SET.matches(&port).count(), 2, "both probes");
    assert!(DOCKERFILE.contains(&format!("\nEXPOSE {}\n", manifest("containerPort"))));
    let packaged = packaged_config();
    for view in packaged.view {
        assert!(pod.view.contains(&view), "{view:?}");
    }
    assert_eq!([pod.watch, image.watch], [&packaged.watch[..]; 2]);
}

#[test]
fn the_image_has_this_version_and_licence() {
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
