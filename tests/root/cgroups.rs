//! Execs by unit, slice, container, pod and a label of the configuration, in real cgroups.

use std::thread::scope;

use rustix::process::Signal;
use testkit::cgroups::Cgroup;
use testkit::daemon::with_transport;
use testkit::http::Scrape;
use testkit::programs::Programs;

const VIEWS: &str = "\
    [[view]]\nlabels = [\"unit\"]\n\
    [[view]]\nlabels = [\"slice\"]\n\
    [[view]]\nlabels = [\"container\"]\n\
    [[view]]\nlabels = [\"unit\", \"comm\"]\n\
    [[view]]\nlabels = [\"container\", \"comm\"]\n\
    [[view]]\nlabels = [\"pod_uid\", \"job\"]\n\
    [[label]]\nname = \"job\"\ncgroup = \"/job-([0-9]+)(?:/|$)\"\n";

const ID: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

testkit::over_both_transports! {
    a_cgroup_that_is_removed_at_once_keeps_its_name
    new_cgroups_on_all_cpus_are_each_counted_under_their_own_name
    tallied_execs_keep_their_unit
    a_cgroup_at_any_depth_keeps_unit_container_and_comm
}

/// The execs of a series in a view by one label, or 0 if there is no such series.
fn execs(scrape: &Scrape, label: &str, value: &str) -> f64 {
    let sample = format!("execsnoop_execs_by_{label}_total{{{label}=\"{value}\"}}");
    scrape.find(&sample).unwrap_or(0.0)
}

/// The name of a unit. It contains the transport, so that the tests of the transports do not share it.
fn unit(transport: &str, name: &str) -> String {
    format!("{name}-{transport}.service")
}

fn a_cgroup_that_is_removed_at_once_keeps_its_name(transport: &str) {
    const TIMES: u32 = 7;
    let programs = Programs::new();
    let program = programs.named("in-a-cgroup");
    let (daemon, _config) = with_transport(transport, VIEWS);
    let unit = unit(transport, "gone");
    let slice = format!("outer-{transport}.slice");
    let in_unit = Cgroup::new(&format!("{slice}/{unit}/payload"));
    in_unit.exec_times(&program, TIMES);
    drop(in_unit);
    let in_container = Cgroup::new(&format!("docker-{transport}/{ID}/init"));
    in_container.exec_times(&program, TIMES);
    drop(in_container);
    let uid = format!("{transport}-1c4d-4b2b-8a2f-3a1d8b7d0c11");
    let in_pod = Cgroup::new(&format!("kubepods/burstable/pod{uid}/job-42"));
    in_pod.exec_times(&program, TIMES);
    drop(in_pod);
    let scrape = daemon.scrape();
    let times = f64::from(TIMES);
    let of_job = format!("execsnoop_execs_by_pod_uid_job_total{{pod_uid=\"{uid}\",job=\"42\"}}");
    assert_eq!(scrape.value(&of_job), times);
    assert_eq!(execs(&scrape, "unit", &unit), times);
    assert_eq!(execs(&scrape, "slice", &slice), times);
    assert_eq!(execs(&scrape, "container", &ID[..12]), times);
    let both =
        format!("execsnoop_execs_by_unit_comm_total{{unit=\"{unit}\",comm=\"in-a-cgroup\"}}");
    assert_eq!(scrape.value(&both), times);
    let cpu = format!("execsnoop_cpu_seconds_by_unit_total{{unit=\"{unit}\"}}");
    daemon.await_above(&cpu, 0.0).assert_ledger_closes();
}

fn new_cgroups_on_all_cpus_are_each_counted_under_their_own_name(transport: &str) {
    const THREADS: u32 = 4;
    const EACH: u32 = 40;
    const TIMES: u32 = 3;
    let programs = Programs::new();
    let program = programs.named("churning");
    let (daemon, _config) = with_transport(transport, VIEWS);
    scope(|scope| {
        for thread in 0..THREADS {
            let program = &program;
            scope.spawn(move || {
                for n in 0..EACH {
                    let unit = unit(transport, &format!("churn-{thread}-{n}"));
                    // The threads share a new parent in each round.
                    let path = format!("churning-{transport}.slice/round-{n}.slice/{unit}");
                    Cgroup::new(&path).exec_times(program, TIMES);
                }
            });
        }
    });
    let scrape = daemon.scrape();
    for (thread, n) in (0..THREADS).flat_map(|t| (0..EACH).map(move |n| (t, n))) {
        let unit = unit(transport, &format!("churn-{thread}-{n}"));
        assert_eq!(execs(&scrape, "unit", &unit), f64::from(TIMES), "{unit}");
    }
    scrape.assert_ledger_closes();
}

fn tallied_execs_keep_their_unit(transport: &str) {
    const TIMES: u32 = 400;
    let programs = Programs::new();
    let program = programs.named("tallied");
    let (daemon, _config) = with_transport(transport, &format!("buffer_pages = 1\n{VIEWS}"));
    let units = ["first", "second"].map(|name| unit(transport, name));
    daemon.signal(Signal::STOP);
    for unit in &units {
        Cgroup::new(&format!("tallied-{transport}.slice/{unit}")).exec_times(&program, TIMES);
    }
    daemon.signal(Signal::CONT);
    let scrape = daemon.scrape();
    for unit in &units {
        assert_eq!(execs(&scrape, "unit", unit), f64::from(TIMES));
    }
    assert!(scrape.value("execsnoop_lost_events_total{reason=\"buffer_full\"}") > 0.0);
    scrape.assert_ledger_closes();
}

/// Extends a path to `depth` components.
fn nested(outer: &str, depth: usize) -> String {
    let levels = outer.split('/').count();
    format!("{outer}{}", "/d".repeat(depth - levels))
}

fn a_cgroup_at_any_depth_keeps_unit_container_and_comm(transport: &str) {
    const TIMES: u32 = 5;
    let programs = Programs::new();
    let program = programs.named("deep");
    let (daemon, _config) = with_transport(transport, VIEWS);
    for depth in [16, 17, 18, 63, 64, 65, 300, 1000] {
        let unit = unit(transport, &format!("deep-{depth}"));
        let id = format!("{depth:012}{}", &ID[12..]);
        let container = format!("outer.slice/{unit}/docker-{id}.scope");
        // In the first round the programs have no name of an ancestor yet, in the second they have all.
        for round in 1..=2 {
            let cgroup = Cgroup::new(&nested(&container, depth));
            cgroup.exec_times(&program, TIMES);
            drop(cgroup);
            let scrape = daemon.scrape();
            let execs = |labels: &str, value: &str| {
                let name = labels.replace(',', "_");
                let label = labels.split(',').next().unwrap();
                let sample =
                    format!("execsnoop_execs_by_{name}_total{{{label}=\"{value}\",comm=\"deep\"}}");
                scrape.find(&sample).unwrap_or(0.0)
            };
            let times = f64::from(round * TIMES);
            assert_eq!(execs("unit,comm", &unit), times, "{depth} levels");
            assert_eq!(execs("container,comm", &id[..12]), times, "{depth} levels");
            assert_eq!(scrape.value("execsnoop_unknown_cgroup_execs_total"), 0.0);
            scrape.assert_ledger_closes();
        }
    }
}
