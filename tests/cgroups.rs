//! Units, slices and containers, of real cgroups. Needs root and cgroup2.

use std::thread::scope;

use rustix::process::Signal;
use testkit::cgroups::Cgroup;
use testkit::daemon::over;
use testkit::http::Scrape;
use testkit::programs::Programs;

const VIEWS: &str = "\
    [[view]]\nlabels = [\"unit\"]\n\
    [[view]]\nlabels = [\"slice\"]\n\
    [[view]]\nlabels = [\"container\"]\n\
    [[view]]\nlabels = [\"unit\", \"comm\"]\n";

const ID: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// A guest has no compiler: `make test-vm` runs this one before, on the host.
#[test]
fn programs_are_compiled() {
    assert!(testkit::nop::nop().exists());
}

testkit::over_both_roads! {
    a_cgroup_that_is_gone_before_anybody_looks_still_has_its_name
    new_cgroups_on_all_cpus_are_each_counted_under_their_own_name
    what_does_not_fit_the_buffer_keeps_its_unit
}

/// Execs in a view by one label. A name that nobody else has may have none yet.
fn execs(scrape: &Scrape, label: &str, value: &str) -> f64 {
    let sample = format!("execsnoop_execs_by_{label}_total{{{label}=\"{value}\"}}");
    scrape.find(&sample).unwrap_or(0.0)
}

/// Names differ from road to road, which are tested side by side.
fn unit(road: &str, name: &str) -> String {
    format!("{name}-{road}.service")
}

fn a_cgroup_that_is_gone_before_anybody_looks_still_has_its_name(road: &str) {
    const TIMES: u32 = 7;
    let programs = Programs::new();
    let program = programs.named("in-a-cgroup");
    let (daemon, _config) = over(road, VIEWS);
    let unit = unit(road, "gone");
    let slice = format!("outer-{road}.slice");
    let in_unit = Cgroup::new(&format!("{slice}/{unit}/payload"));
    in_unit.exec_times(&program, TIMES);
    drop(in_unit);
    let in_container = Cgroup::new(&format!("docker-{road}/{ID}/init"));
    in_container.exec_times(&program, TIMES);
    drop(in_container);
    let scrape = daemon.scrape();
    let times = f64::from(TIMES);
    assert_eq!(execs(&scrape, "unit", &unit), times);
    assert_eq!(execs(&scrape, "slice", &slice), times);
    assert_eq!(execs(&scrape, "container", &ID[..12]), times);
    let both =
        format!("execsnoop_execs_by_unit_comm_total{{unit=\"{unit}\",comm=\"in-a-cgroup\"}}");
    assert_eq!(scrape.value(&both), times);
    let cpu = format!("execsnoop_cpu_seconds_by_unit_total{{unit=\"{unit}\"}}");
    assert!(scrape.value(&cpu) > 0.0);
    scrape.assert_ledger_closes();
}

fn new_cgroups_on_all_cpus_are_each_counted_under_their_own_name(road: &str) {
    const THREADS: u32 = 4;
    const EACH: u32 = 40;
    const TIMES: u32 = 3;
    let programs = Programs::new();
    let program = programs.named("churning");
    let (daemon, _config) = over(road, VIEWS);
    scope(|scope| {
        for thread in 0..THREADS {
            let program = &program;
            scope.spawn(move || {
                for n in 0..EACH {
                    let unit = unit(road, &format!("churn-{thread}-{n}"));
                    // Below the same new one as those of the other threads.
                    let path = format!("churning-{road}.slice/round-{n}.slice/{unit}");
                    Cgroup::new(&path).exec_times(program, TIMES);
                }
            });
        }
    });
    let scrape = daemon.scrape();
    for (thread, n) in (0..THREADS).flat_map(|t| (0..EACH).map(move |n| (t, n))) {
        let unit = unit(road, &format!("churn-{thread}-{n}"));
        assert_eq!(execs(&scrape, "unit", &unit), f64::from(TIMES), "{unit}");
    }
    scrape.assert_ledger_closes();
}

fn what_does_not_fit_the_buffer_keeps_its_unit(road: &str) {
    const TIMES: u32 = 400;
    let programs = Programs::new();
    let program = programs.named("tallied");
    let (daemon, _config) = over(road, &format!("buffer_pages = 1\n{VIEWS}"));
    let units = ["first", "second"].map(|name| unit(road, name));
    daemon.signal(Signal::STOP);
    for unit in &units {
        Cgroup::new(&format!("tallied-{road}.slice/{unit}")).exec_times(&program, TIMES);
    }
    daemon.signal(Signal::CONT);
    let scrape = daemon.scrape();
    for unit in &units {
        assert_eq!(execs(&scrape, "unit", unit), f64::from(TIMES));
    }
    assert!(scrape.value("execsnoop_lost_events_total{reason=\"buffer_full\"}") > 0.0);
    scrape.assert_ledger_closes();
}
