//! Counts that survive restarts and kills of the daemon, with the test in the role of systemd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{available_parallelism, scope, sleep};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use testkit::bpf_objects::Unheld;
use testkit::compiled::ways;
use testkit::daemon::{Daemon, field};
use testkit::http::{Scrape, get};
use testkit::paths::public_dir;
use testkit::programs::{Programs, exec, exec_as, exec_times};
use testkit::set_on_drop::SetOnDrop;
use testkit::store::Store;

use crate::privileges::assert_unprivileged;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest number of execs of a storm.
pub(crate) const STORM: u32 = 20_000;

pub(crate) const UNATTRIBUTED: &str = "execsnoop_unattributed_execs_total";

pub(crate) const COUNTING_SINCE: &str = "execsnoop_counting_since_timestamp_seconds";

testkit::over_both_transports! {
    a_restart_in_a_storm_counts_every_exec_under_its_name
    a_kill_in_a_storm_loses_names_but_no_counts
    no_counter_decreases_in_twenty_restarts_and_kills
}

/// A configuration file with this transport. The text of `config` follows in the section `[capture]`.
pub(crate) fn with_transport(transport: &str, config: &str) -> (PathBuf, TempDir) {
    file(&format!("[capture]\ntransport = \"{transport}\"\n{config}"))
}

pub(crate) fn file(config: &str) -> (PathBuf, TempDir) {
    let dir = public_dir();
    let path = dir.path().join("config.toml");
    fs::write(&path, config).unwrap();
    (path, dir)
}

/// Executes `program` on all CPUs at least [`STORM`] times, and until `disturb` has ended. `disturb`
/// learns how many execs have begun. Returns its result and the number of execs.
pub(crate) fn storm<T>(program: &Path, disturb: impl FnOnce(&Begun) -> T) -> (T, u32) {
    let begun = Begun(AtomicU32::new(0));
    let is_disturbed = AtomicBool::new(false);
    let storming = || !is_disturbed.load(Ordering::SeqCst) || begun.now() < STORM;
    let disturbed = scope(|scope| {
        for _ in 0..2 * available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while storming() {
                    begun.0.fetch_add(1, Ordering::SeqCst);
                    exec(program);
                }
            });
        }
        let _disturbed = SetOnDrop(&is_disturbed);
        disturb(&begun)
    });
    (disturbed, begun.now())
}

/// The number of execs of a storm that have begun.
pub(crate) struct Begun(AtomicU32);

impl Begun {
    pub(crate) fn now(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until this number of execs have begun.
    pub(crate) fn wait_for(&self, execs: u32) {
        while self.now() < execs {
            sleep(Duration::from_millis(1));
        }
    }
}

/// How many execs more `daemon` has counted than `other`. They are compared at a moment at which
/// nothing on this host executes a program.
#[track_caller]
fn ahead(daemon: &Daemon, other: &Daemon) -> f64 {
    let total = |daemon: &Daemon| daemon.scrape().value("execsnoop_execs_total");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = total(other);
        let here = total(daemon);
        if total(other) == before {
            return here - before;
        }
        assert!(Instant::now() < deadline, "the host is never idle");
    }
}

/// How often a daemon has continued the counts of an earlier one.
pub(crate) fn handovers(scrape: &Scrape) -> [f64; 2] {
    ["adopted", "replaced"]
        .map(|how| scrape.value(&format!("execsnoop_handovers_total{{how=\"{how}\"}}")))
}

fn a_restart_in_a_storm_counts_every_exec_under_its_name(transport: &str) {
    let programs = Programs::new();
    let program = programs.named("restarted");
    let (config, _dir) = with_transport(transport, "");
    let store = Store::new();
    let first = store.start(&config);
    let since = first.scrape().value(COUNTING_SINCE);
    let (daemon, executed) = storm(&program, |begun| {
        begun.wait_for(STORM / 4);
        assert_eq!(field(&first.stop(), "ledger_difference"), "0");
        store.start(&config)
    });
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("restarted"), f64::from(executed));
    assert_eq!(scrape.value(UNATTRIBUTED), 0.0);
    assert_eq!(handovers(&scrape), [1.0, 0.0]);
    assert_eq!(scrape.value(COUNTING_SINCE), since);
    assert_eq!(scrape.value("execsnoop_unobserved_seconds_total"), 0.0);
    scrape.assert_ledger_closes();
    assert_unprivileged(&daemon);
    assert_eq!(field(&daemon.stop(), "ledger_difference"), "0");
}

fn a_kill_in_a_storm_loses_names_but_no_counts(transport: &str) {
    const SAVED: u32 = 500;
    let programs = Programs::new();
    let program = programs.named("killed");
    let (config, _dir) = with_transport(
        transport,
        "[[view]]\nlabels = [\"comm\"]\nmax_series = 20000\n",
    );
    let reference = Daemon::start(&[]);
    let store = Store::new();
    let mut daemon = store.start(&config);
    let ahead_before = ahead(&daemon, &reference);
    exec_times(&program, SAVED);
    // The counts are saved at most a second later.
    sleep(Duration::from_secs(3));
    // The signals of the OOM killer and of systemd's watchdog.
    let (daemon, executed) = storm(&program, |begun| {
        for (signal, execs) in [(Signal::KILL, STORM / 4), (Signal::ABORT, STORM / 2)] {
            begun.wait_for(execs);
            daemon.kill(signal);
            daemon = store.start(&config);
        }
        daemon
    });
    let executed = f64::from(SAVED + executed);
    assert_eq!(reference.scrape().execs_of("killed"), executed);
    assert_eq!(ahead(&daemon, &reference), ahead_before);
    let scrape = daemon.scrape();
    scrape.assert_ledger_closes();
    assert_eq!(handovers(&scrape), [2.0, 0.0]);
    let (named, unattributed) = (scrape.execs_of("killed"), scrape.value(UNATTRIBUTED));
    assert!(named >= f64::from(SAVED), "{named}");
    assert!(named <= executed, "{named}");
    // Other programs on this host may have lost their names, too.
    assert!(named + unattributed >= executed, "{named}, {unattributed}");
    let overflow = "execsnoop_series_overflow_total{view=\"comm\"}";
    assert_eq!(scrape.value(overflow), 0.0);
    assert_eq!(scrape.execs_of("other"), unattributed);
    // From here on, everything has its name again.
    exec_times(&program, 20);
    let after = daemon.scrape();
    assert_eq!(after.execs_of("killed"), named + 20.0);
    assert_eq!(after.value(UNATTRIBUTED), unattributed);
}

/// Asserts that no counter in `before` is lower in `after`, apart from those of the process.
#[track_caller]
fn assert_rising(before: &Scrape, after: &Scrape) {
    const OF_THE_PROCESS: [&str; 4] = [
        "process_",
        "execsnoop_reader_",
        "execsnoop_scrape_",
        "execsnoop_log_",
    ];
    for (sample, value) in before.all() {
        let name = sample.split('{').next().unwrap();
        let is_counter = ["_total", "_bucket", "_sum", "_count"]
            .iter()
            .any(|end| name.ends_with(end));
        let is_of_process = OF_THE_PROCESS.iter().any(|start| name.starts_with(start));
        if is_counter && !is_of_process {
            let now = after.value(sample);
            assert!(now >= value, "{sample}: {value}, then {now}");
        }
    }
}

fn no_counter_decreases_in_twenty_restarts_and_kills(transport: &str) {
    const RESTARTS: u32 = 20;
    const EACH: u32 = 50;
    let programs = Programs::new();
    let program = programs.named("in-a-row");
    let (config, _dir) = with_transport(transport, "");
    let reference = Daemon::start(&[]);
    let store = Store::new();
    let mut daemon = store.start(&config);
    let ahead_before = ahead(&daemon, &reference);
    let (names, since) = (store.names(), daemon.scrape().value(COUNTING_SINCE));
    let mut before = daemon.scrape();
    let mut descriptors = None;
    for n in 1..=RESTARTS {
        exec_times(&program, EACH);
        let scrape = daemon.scrape();
        assert_rising(&before, &scrape);
        if n % 2 == 0 {
            daemon.stop();
        } else {
            // A scrape has shown these counts, so they must have been saved.
            daemon.kill(Signal::KILL);
        }
        daemon = store.start(&config);
        before = daemon.scrape();
        assert_rising(&scrape, &before);
        assert_eq!(before.execs_of("in-a-row"), f64::from(n * EACH));
        assert_eq!(handovers(&before), [f64::from(n), 0.0]);
        assert_eq!(before.value(COUNTING_SINCE), since);
        before.assert_ledger_closes();
        assert_eq!(store.names(), names);
        daemon.await_descriptors(*descriptors.get_or_insert_with(|| settled_descriptors(&daemon)));
    }
    assert_eq!(ahead(&daemon, &reference), ahead_before);
}

/// The number of open descriptors when no connection is open any more.
fn settled_descriptors(daemon: &Daemon) -> usize {
    let mut lowest = daemon.descriptors();
    for _ in 0..50 {
        sleep(Duration::from_millis(10));
        lowest = lowest.min(daemon.descriptors());
    }
    lowest
}

#[test]
fn every_counter_and_the_history_of_the_page_continue() {
    const CPU: &str = "execsnoop_cpu_seconds_by_comm_total{comm=\"continued\"}";
    const EXITED: &str = "execsnoop_exits_total{reason=\"exited\",code=\"211\"}";
    const ALWAYS: &str = "execsnoop_execs_by_comm_total{comm=\"never-executed\"}";
    const OF_USER: &str = "execsnoop_execs_by_uid_total{uid=\"700123\"}";
    const LIFETIMES: &str = "execsnoop_process_lifetime_seconds_count";
    let programs = Programs::new();
    let program = programs.copied(ways(), "continued");
    let (config, _dir) = file(
        "[[view]]\nlabels = [\"comm\"]\nalways = [\"never-executed\"]\n\
         [[view]]\nlabels = [\"uid\"]\n",
    );
    let run = |times| {
        for _ in 0..times {
            let status = Command::new(&program).args(["exit", "-", "211"]).status();
            assert_eq!(status.unwrap().code(), Some(211));
        }
        exec_as(&programs.path().join("nop"), Some(700_123));
    };
    let store = Store::new();
    let daemon = store.start(&config);
    run(30);
    // The spans of the history last 5 s.
    sleep(Duration::from_secs(6));
    let (before, history) = (daemon.scrape(), history_of(&daemon));
    assert_eq!(before.value(EXITED), 30.0);
    assert!(before.value(CPU) > 0.0);
    assert!(!history.is_empty());
    daemon.stop();

    let daemon = store.start(&config);
    let after = daemon.scrape();
    assert_rising(&before, &after);
    assert_eq!(after.execs_of("continued"), 30.0);
    for sample in [CPU, EXITED, ALWAYS, OF_USER] {
        assert_eq!(after.value(sample), before.value(sample), "{sample}");
    }
    let continued = history_of(&daemon);
    let is_continued = continued.windows(history.len()).any(|w| w == history);
    assert!(is_continued, "{history:?}, then {continued:?}");
    run(12);
    let after = daemon.await_above(CPU, before.value(CPU));
    assert_eq!(after.execs_of("continued"), 42.0);
    assert_eq!(after.value(EXITED), 42.0);
    assert_eq!(after.value(ALWAYS), 0.0);
    assert_eq!(after.value(OF_USER), 2.0);
    assert!(after.value(LIFETIMES) >= before.value(LIFETIMES) + 12.0);
    after.assert_ledger_closes();
}

/// The execs per second of each span on the page that has ended, the oldest first.
fn history_of(daemon: &Daemon) -> Vec<String> {
    let page = get(daemon.address, "/").text();
    let titles = page.split("<title>").skip(1);
    let rates = titles.filter_map(|title| title.split('<').next()?.split_once(" per second, "));
    rates
        .filter(|(_, age)| age.ends_with(" ago"))
        .map(|(rate, _)| rate.to_owned())
        .collect()
}

#[test]
fn a_view_with_other_labels_begins_as_after_a_reload_and_the_others_continue() {
    let programs = Programs::new();
    let program = programs.named("relabelled");
    let (config, _dir) = file("[[view]]\nlabels = [\"comm\"]\n[[view]]\nlabels = [\"uid\"]\n");
    let store = Store::new();
    let daemon = store.start(&config);
    exec_times(&program, 30);
    let before = daemon.scrape().value("execsnoop_execs_total");
    daemon.stop();
    fs::write(
        &config,
        "[[view]]\nlabels = [\"comm\"]\nmax_series = 500\n[[view]]\nlabels = [\"uid\", \"comm\"]\n",
    )
    .unwrap();
    let daemon = store.start(&config);
    exec_times(&program, 12);
    let scrape = daemon.scrape();
    assert_eq!(handovers(&scrape), [1.0, 0.0]);
    assert_eq!(scrape.execs_of("relabelled"), 42.0);
    let sample = "execsnoop_execs_by_uid_comm_total{uid=\"0\",comm=\"relabelled\"}";
    assert_eq!(scrape.value(sample), 12.0);
    assert!(scrape.yielded("uid_comm") >= before);
    assert_eq!(scrape.family("execsnoop_execs_by_uid_total").count(), 0);
    scrape.assert_ledger_closes();
}

#[test]
fn nothing_of_a_stopped_daemon_is_left_in_the_kernel_when_its_store_is_dropped() {
    let programs = Programs::new();
    let program = programs.named("dropped");
    let (config, _dir) = file("");
    let store = Store::new();
    let before = Unheld::now();
    for kill in [false, true] {
        let daemon = store.start(&config);
        exec_times(&program, 30);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("dropped"), 30.0);
        assert_eq!(handovers(&scrape), [0.0, 0.0]);
        if kill {
            daemon.kill(Signal::KILL);
        } else {
            daemon.stop();
        }
        assert_ne!(store.names(), [""; 0]);
        store.clear();
        before.await_no_others();
        let daemon = store.start(&config);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("dropped"), 0.0);
        assert_eq!(handovers(&scrape), [0.0, 0.0]);
        daemon.stop();
        store.clear();
        before.await_no_others();
    }
}
