//! How programs come into containers: in pods, in the pid namespace of the host, and with a shim.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use testkit::compiled::{nop, ways};
use testkit::daemon::configured;
use testkit::host;
use testkit::http::Scrape;

use super::{Container, ID, OTHER_ID, PidNamespace, bundle};

/// How often programs were executed in a container, by how each came into its pid namespace.
#[track_caller]
fn assert_entries(scrape: &Scrape, id: &str, expected: &[(&str, &str, f64)]) {
    let family = "execsnoop_execs_by_entry_container_comm_total";
    let of = format!("container=\"{}\"", &id[..12]);
    let samples = scrape.family(family);
    let samples: BTreeMap<_, _> = samples
        .filter(|(sample, _)| sample.contains(&of))
        .map(|(sample, count)| (sample.to_owned(), count))
        .collect();
    let expected = expected.iter().map(|(entry, comm, count)| {
        let labels = format!("entry=\"{entry}\",{of},comm=\"{comm}\"");
        (format!("{family}{{{labels}}}"), *count)
    });
    assert_eq!(samples, expected.collect());
}

const BY_CONTAINER: &str = "[[view]]\nlabels = [\"entry\", \"container\", \"comm\"]\n\
                            metrics = [\"execs\"]\nwhere = { comm = [\"contained\", \"probe\"] }\n";

/// As in a Kubernetes pod with `shareProcessNamespace`.
#[test]
fn in_a_pod_with_one_pid_namespace_all_containers_but_the_sandbox_are_injected() {
    let _exclusive = host::exclusive();
    let (daemon, _config) = configured(BY_CONTAINER);
    let sandbox = Container::sleeping();
    let member = Container::sleeping_in(OTHER_ID, &PidNamespace::Of(sandbox.pid()));
    member.exec(&["/probe"]);
    sandbox.exec(&["/probe"]);
    drop((member, sandbox));
    let scrape = daemon.scrape();
    let init = [("init", "contained", 1.0), ("injected", "probe", 1.0)];
    assert_entries(&scrape, ID, &init);
    let injected = [("injected", "contained", 1.0), ("injected", "probe", 1.0)];
    assert_entries(&scrape, OTHER_ID, &injected);
    scrape.assert_ledger_closes();
}

/// As in a Kubernetes pod with `hostPID`.
#[test]
fn in_the_pid_namespace_of_the_host_no_container_is_entered() {
    let _exclusive = host::exclusive();
    let (daemon, _config) = configured(BY_CONTAINER);
    let container = Container::sleeping_in(ID, &PidNamespace::OfHost);
    container.exec(&["/probe"]);
    drop(container);
    let scrape = daemon.scrape();
    assert_entries(&scrape, ID, &[("", "contained", 1.0), ("", "probe", 1.0)]);
    scrape.assert_ledger_closes();
}

/// Creates a container and starts it when its parent, runc, has exited. Returns who its parent is then.
fn create_and_start(wrapper: &[&str]) -> (u32, u32) {
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), nop(), &[], ID, &PidNamespace::Own);
    // The container ends on its own. Until then it cannot be deleted.
    let script = "runc --root state create --pid-file pid $0 </dev/null >log 2>&1
                  echo $(sed -n 's/^PPid:.//p' /proc/$(cat pid)/status) $PPID
                  runc --root state start $0
                  until runc --root state delete $0 2>>log; do sleep 0.1; done";
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .args(["/bin/sh", "-ec", script, ID])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(
        output.status.success() && !dir.path().join("state").join(ID).exists(),
        "{log}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace().map(|word| word.parse().unwrap());
    (words.next().unwrap(), words.next().unwrap())
}

/// containerd's shim and conmon are subreapers. Without one, the init process of the host adopts the
/// container.
#[test]
fn the_first_program_of_a_container_is_the_first_whoever_has_adopted_it() {
    let _exclusive = host::exclusive();
    let (daemon, _config) = configured(BY_CONTAINER);
    let (parent, shim) = create_and_start(&[ways().to_str().unwrap(), "measure", "-", "1"]);
    assert_eq!(parent, shim, "the subreaper has adopted the container");
    let (parent, outside) = create_and_start(&["env"]);
    assert_ne!(parent, outside);
    let scrape = daemon.scrape();
    assert_entries(&scrape, ID, &[("init", "contained", 2.0)]);
    scrape.assert_ledger_closes();
}
