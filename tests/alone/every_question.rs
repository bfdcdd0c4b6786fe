//! As many questions as a configuration can ask: ten views with every metric, and as many watches as
//! there can be, while names, users and cgroups come and go. It runs alone, because every daemon
//! observes the whole host.

use std::fmt::Write;
use std::os::unix::fs::symlink;
use std::thread::{ScopedJoinHandle, scope, sleep};
use std::time::{Duration, Instant};

use execsnoopd::pipeline::view::Metric;
use testkit::cgroups::Cgroup;
use testkit::compiled::ways;
use testkit::daemon::exec_names;
use testkit::http::{Scrape, get};
use testkit::mounts::with_tracefs;
use testkit::programs::{Programs, go};

/// The number of different programs by default, and the environment variable that overrides it. A
/// million programs take two minutes.
const PROGRAMS: u32 = 100_000;
const VARIABLE: &str = "EXECSNOOPD_QUESTION_PROGRAMS";
/// Cgroups that come and go. This takes about half a minute.
const CGROUPS: u32 = 10_000;
/// Like the names between two scrapes, the cgroups between two scrapes fit into the tally, and the names
/// that fail into that of failures.
const CGROUPS_BETWEEN_SCRAPES: u32 = 1_000;
const FAILURES_BETWEEN_SCRAPES: u32 = 10_000;
const THREADS: u32 = 2;
const USERS: u32 = 1000;
const WATCHES: u32 = 64;

const LABELS: [&str; 10] = [
    "comm",
    "uid",
    "unit",
    "container",
    "pod_uid",
    "job",
    "parent_comm, comm",
    "unit, comm",
    "job, uid",
    "slice, unit, container, pod_uid, job, tty, login_user, comm",
];

/// The first watch is of the programs in cgroups, and each of the others of a user.
fn config() -> String {
    let mut config = "[capture]\nfailures = \"tracepoint\"\n[[label]]\nname = \"job\"\ncgroup = \"/job_([0-9]+)(?:/|$)\"\n".to_owned();
    for labels in LABELS {
        let labels = labels.replace(", ", "\", \"");
        let metrics = Metric::ALL.map(Metric::name).join("\", \"");
        let view = format!("[[view]]\nlabels = [\"{labels}\"]\nmetrics = [\"{metrics}\"]\n");
        // Writing to a String does not fail.
        let _ = writeln!(config, "{view}max_series = 600");
    }
    let of_cgroups = "unit = [\"churn-*.service\"]\njob = [\"?*\"]\ncomm = [\"churning\"]";
    let _ = writeln!(config, "[[watch]]\nname = \"cgroups\"\n{of_cgroups}");
    for user in 1..WATCHES {
        let uid = 800_000 + user;
        let _ = writeln!(config, "[[watch]]\nname = \"{user}\"\nuid = [{uid}]");
    }
    config
}

fn watched(scrape: &Scrape, watch: &str) -> [f64; 2] {
    let execs = format!("execsnoop_watch_execs_total{{watch=\"{watch}\"}}");
    let exits = format!("execsnoop_watch_exits_total{{watch=\"{watch}\",outcome=\"success\"}}");
    [scrape.value(&execs), scrape.value(&exits)]
}

#[test]
fn every_question_is_answered_exactly_while_names_users_and_cgroups_come_and_go() {
    let programs_each = match std::env::var(VARIABLE) {
        Ok(number) => number.parse().expect("a number"),
        Err(_) => PROGRAMS,
    } / THREADS;
    let programs = Programs::new();
    let churning = &programs.named("churning");
    let endless = &programs.path().join("endless");
    symlink(endless, endless).unwrap();
    let (daemon, _config) = with_tracefs(&config());
    let address = daemon.address;
    Scrape::of(address);
    let peak_before = daemon.peak_kib();
    let mut slowest = Duration::ZERO;
    scope(|scope| {
        let mut storms: Vec<ScopedJoinHandle<'_, ()>> = Vec::new();
        for thread in 0..THREADS {
            let program = programs.path().join(format!("s{thread}"));
            storms.push(scope.spawn(move || exec_names(address, ways(), &program, programs_each)));
        }
        storms.push(scope.spawn(move || {
            for _ in 0..programs_each / FAILURES_BETWEEN_SCRAPES {
                assert!(go("names-that-fail", endless, FAILURES_BETWEEN_SCRAPES).success());
                Scrape::of(address);
            }
        }));
        storms.push(scope.spawn(move || {
            for n in 0..CGROUPS {
                let path = format!("churning.slice/churn-{n}.service/job_{n}");
                Cgroup::new(&path).exec_times(churning, 1);
                if n % CGROUPS_BETWEEN_SCRAPES == 0 {
                    Scrape::of(address);
                }
            }
        }));
        while !storms.iter().all(ScopedJoinHandle::is_finished) {
            let began = Instant::now();
            let answer = get(address, "/metrics");
            slowest = slowest.max(began.elapsed());
            Scrape::parse(&answer.text()).assert_ledger_closes();
            sleep(Duration::from_secs(1));
        }
    });
    let scrape = daemon.scrape();
    scrape.assert_ledger_closes();
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 0.0);
    assert_eq!(scrape.value("execsnoop_unattributed_exits_total"), 0.0);
    let failures = scrape.sum("execsnoop_unattributed_exec_failures_total");
    assert_eq!(failures, 0.0);
    let failed = scrape.value("execsnoop_exec_failures_total{errno=\"ELOOP\"}");
    let rounds = programs_each / FAILURES_BETWEEN_SCRAPES;
    assert_eq!(failed, f64::from(rounds * FAILURES_BETWEEN_SCRAPES));
    assert_eq!(watched(&scrape, "cgroups"), [f64::from(CGROUPS); 2]);
    let each = f64::from(programs_each / USERS * THREADS);
    for user in 1..WATCHES {
        assert_eq!(watched(&scrape, &user.to_string()), [each; 2], "{user}");
    }
    let grown = daemon.peak_kib() - peak_before;
    println!("{CGROUPS} cgroups: grew by {grown} KiB, a scrape took {slowest:?} at most");
    assert!(grown < 40 * 1024, "grew by {grown} KiB");
    daemon.stop();
}
