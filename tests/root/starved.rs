//! A storm of execs while the daemon lacks CPU time or memory: the daemon is repeatedly stopped, other
//! processes occupy the CPUs, or its cgroup has a limit. Its answers are exact or 503, and afterwards
//! no count is missing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{ScopedJoinHandle, available_parallelism, scope, sleep};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use testkit::compiled::ways;
use testkit::daemon::{Daemon, configured, exec_names, field};
use testkit::http::{Scrape, request};
use testkit::limits::Limited;
use testkit::programs::{Programs, exec, exec_as, exec_times};
use testkit::set_on_drop::SetOnDrop;

/// A buffer so small that it overflows at once.
const SMALL: &str = "[capture]\nbuffer_pages = 1\n";
const THREADS: u32 = 4;
const EACH: u32 = 1000;
const ALL: u32 = THREADS * EACH;

/// Executes programs as fast as possible. Meanwhile, calls `disturb` again and again, and scrapes the
/// daemon. Prints how many scrapes were answered with counts, and how many with 503.
fn storm(daemon: &Daemon, programs: &[PathBuf], mut disturb: impl FnMut() + Send) {
    let (begun, ended) = (AtomicU32::new(0), AtomicU32::new(0));
    let (mut fresh, mut refused) = (0, 0);
    let over = AtomicBool::new(false);
    scope(|scope| {
        let storms: Vec<_> = programs
            .iter()
            .map(|program| {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        begun.fetch_add(1, Ordering::SeqCst);
                        exec(program);
                        ended.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let storming = || !storms.iter().all(ScopedJoinHandle::is_finished);
        let _over = SetOnDrop(&over);
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                disturb();
            }
        });
        while storming() {
            let at_least = ended.load(Ordering::SeqCst);
            let timeout = "X-Prometheus-Scrape-Timeout-Seconds: 0.5\r\n";
            let answer = request(daemon.address, "GET", "/metrics", timeout);
            let at_most = begun.load(Ordering::SeqCst);
            if answer.status == 503 {
                refused += 1;
                continue;
            }
            assert_eq!(answer.status, 200, "{}", answer.text());
            let scrape = Scrape::parse(&answer.text());
            let counted = of_storm(&scrape);
            let exact = f64::from(at_least)..=f64::from(at_most);
            assert!(exact.contains(&counted), "{counted} not in {exact:?}");
            scrape.assert_ledger_closes();
            fresh += 1;
        }
    });
    println!("{fresh} scrapes were answered, {refused} with 503");
}

fn of_storm(scrape: &Scrape) -> f64 {
    (0..THREADS)
        .map(|i| scrape.execs_of(&format!("starve{i}")))
        .sum()
}

fn programs(programs: &Programs) -> Vec<PathBuf> {
    (0..THREADS)
        .map(|i| programs.named(format!("starve{i}")))
        .collect()
}

/// Asserts that every exec of the storm has been counted once.
fn assert_exact(daemon: Daemon) {
    let scrape = daemon.scrape();
    assert_eq!(of_storm(&scrape), f64::from(ALL));
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 0.0);
    scrape.assert_ledger_closes();
    println!(
        "details lost: {}",
        scrape.sum("execsnoop_lost_events_total")
    );
    assert_eq!(field(&daemon.stop(), "ledger_difference"), "0");
}

#[test]
fn a_daemon_that_is_repeatedly_stopped_gives_no_stale_answer() {
    let directory = Programs::new();
    let programs = programs(&directory);
    let (daemon, _config) = configured(SMALL);
    let pid = Pid::from_raw(daemon.pid().cast_signed()).unwrap();
    let signal = |signal| kill_process(pid, signal).expect("the daemon can be signalled");
    storm(&daemon, &programs, || {
        signal(Signal::STOP);
        sleep(Duration::from_millis(50));
        signal(Signal::CONT);
        sleep(Duration::from_millis(10));
    });
    assert_exact(daemon);
}

#[test]
fn a_daemon_with_a_hundredth_of_a_cpu_gives_no_stale_answer() {
    let directory = Programs::new();
    let programs = programs(&directory);
    let (daemon, _config) = configured(SMALL);
    let limited = Limited::cpu(10);
    limited.add(daemon.pid());
    storm(&daemon, &programs, || sleep(Duration::from_millis(10)));
    limited.release(daemon.pid());
    assert_exact(daemon);
}

#[test]
fn no_count_is_lost_if_the_reader_has_idle_priority() {
    let directory = Programs::new();
    let programs = programs(&directory);
    let (daemon, _config) = configured(SMALL);
    daemon.scrape(); // when it returns, the reader thread runs and has its name
    let status = Command::new("chrt")
        .args(["--idle", "--pid", "0", &thread_of(&daemon, "reader")])
        .status();
    assert!(status.expect("chrt (util-linux) runs").success());
    let over = AtomicBool::new(false);
    scope(|scope| {
        for cpu in 0..available_parallelism().unwrap().get() {
            let over = &over;
            scope.spawn(move || {
                let mut set = CpuSet::new();
                set.set(cpu);
                sched_setaffinity(None, &set).expect("a thread can be pinned");
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let _over = SetOnDrop(&over);
        storm(&daemon, &programs, || sleep(Duration::from_millis(10)));
    });
    assert_exact(daemon);
}

fn thread_of(daemon: &Daemon, name: &str) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    tasks
        .map(|task| task.unwrap())
        .find(|task| fs::read_to_string(task.path().join("comm")).unwrap().trim() == name)
        .map(|task| task.file_name().into_string().unwrap())
        .expect("a thread of this name")
}

#[test]
fn many_names_of_a_thousand_users_fit_in_a_memory_cgroup_of_24_mib() {
    // The daemon needs 16 MB of resident memory after a million names, and 5 MB of BPF maps, which
    // are charged to the cgroup of their creator.
    const BYTES: u64 = 24 << 20;
    const EACH: u32 = 10_000;
    let programs = Programs::new();
    let known = programs.named("in-24-mib");
    let storm = programs.copied(ways(), "storm-24-mib");
    let limited = Limited::memory(BYTES);
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    // However many names the other tests use meanwhile, they evict neither of the two series.
    let views = "[[view]]\nlabels = [\"comm\"]\nalways = [\"in-24-mib\"]\n\
         [[view]]\nlabels = [\"uid\"]\n\
         [[view]]\nlabels = [\"parent_comm\"]\nalways = [\"storm-24-mib\"]\n";
    fs::write(&config, views).unwrap();
    let mut command = limited.command(env!("CARGO_BIN_EXE_execsnoopd"));
    command.arg("--config").arg(&config);
    let daemon = Daemon::spawn(command);
    exec_times(&known, 5);
    scope(|scope| {
        for i in 0..2 {
            let names = programs.path().join(format!("m{i}"));
            let (address, storm) = (daemon.address, &storm);
            scope.spawn(move || exec_names(address, storm, &names, EACH));
        }
    });
    exec_as(&known, Some(700_800));
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("in-24-mib"), 6.0);
    let by_storm = "execsnoop_execs_by_parent_comm_total{parent_comm=\"storm-24-mib\"}";
    assert_eq!(scrape.value(by_storm), f64::from(2 * EACH));
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 0.0);
    scrape.assert_ledger_closes();
    assert_eq!(limited.oom_kills(), 0);
    daemon.stop();
}
