//! Counts of failed execs that survive restarts and kills, also in a flood.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::scope;

use rustix::process::Signal;
use testkit::compiled::ways;
use testkit::mounts::in_mount_namespace;
use testkit::programs::{Programs, exec_times, go};
use testkit::set_on_drop::SetOnDrop;
use testkit::store::Store;

use crate::survival::handovers;

#[test]
fn failures_continue() {
    const FAILURES: &str = "execsnoop_exec_failures_total{errno=\"ENAMETOOLONG\"}";
    const OF_VIEW: &str =
        "execsnoop_exec_failures_by_comm_total{comm=\"fails-on\",errno=\"ENAMETOOLONG\"}";
    const TRACEPOINT: &str = "[capture]\nfailures = \"tracepoint\"\n";
    const VIEW: &str = "[[view]]\nlabels = [\"comm\"]\nmetrics = [\"execs\", \"failures\"]\n";
    let programs = Programs::new();
    let program = programs.copied(ways(), "fails-on");
    let mount = "mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null";
    let [without, with] = [TRACEPOINT.to_owned(), format!("{TRACEPOINT}{VIEW}")]
        .map(|config| in_mount_namespace(mount, &config));
    let store = Store::new();
    // Failures that were counted before the view asked for them are in the total only.
    for (command, times, of_view, handover) in [
        (&without.0, 17, None, [0.0, 0.0]),
        (&with.0, 5, Some(5.0), [0.0, 1.0]),
        (&with.0, 3, Some(8.0), [1.0, 1.0]),
        (&without.0, 2, None, [1.0, 2.0]),
        (&with.0, 1, Some(1.0), [1.0, 3.0]),
    ] {
        let daemon = store.spawn(command);
        let before = daemon.scrape().find(FAILURES).unwrap_or(0.0);
        let mut failing = Command::new(&program);
        failing.args(["ENAMETOOLONG", "-", &times.to_string()]);
        assert!(failing.status().unwrap().success());
        let scrape = daemon.scrape();
        assert_eq!(scrape.value(FAILURES), before + f64::from(times));
        assert_eq!(scrape.find(OF_VIEW), of_view);
        assert_eq!(handovers(&scrape), handover);
        scrape.assert_ledger_closes();
        daemon.stop();
    }
    let daemon = store.spawn(&with.0);
    let scrape = daemon.scrape();
    assert_eq!(scrape.value(FAILURES), 28.0);
    assert_eq!(scrape.value(OF_VIEW), 1.0);
    scrape.assert_ledger_closes();
}

#[test]
fn a_flood_of_failures_does_not_keep_the_next_daemon_from_answering() {
    let programs = Programs::new();
    let program = programs.named("after-restart");
    let mount = "mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null";
    let (command, _dir) = in_mount_namespace(
        mount,
        "[capture]\nfailures = \"tracepoint\"\n\
         [[view]]\nlabels = [\"comm\"]\nmetrics = [\"execs\", \"failures\"]\n",
    );
    let store = Store::new();
    let is_over = AtomicBool::new(false);
    let endless = programs.path().join("endless");
    symlink(&endless, &endless).unwrap();
    // One name that fails as fast as possible, and ever new names.
    let floods = [
        ("ENAMETOOLONG", "ENAMETOOLONG", 1_000_000),
        ("names-that-fail", "ELOOP", 100_000),
    ];
    let failed = floods.map(|_| AtomicU32::new(0));
    let first = store.spawn(&command);
    let last = scope(|scope| {
        for ((way, _, times), failed) in floods.iter().zip(&failed) {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert!(go(way, &endless, *times).success());
                    failed.fetch_add(*times, Ordering::Relaxed);
                }
            });
        }
        let _over = SetOnDrop(&is_over);
        let mut daemon = first;
        for handover in 0..3_u32 {
            exec_times(&program, 3);
            let scrape = daemon.scrape();
            let executed = 3 * (handover + 1);
            assert_eq!(scrape.execs_of("after-restart"), f64::from(executed));
            assert_eq!(handovers(&scrape), [f64::from(handover), 0.0]);
            scrape.assert_ledger_closes();
            daemon.kill(Signal::KILL);
            daemon = store.spawn(&command);
        }
        daemon
    });
    let scrape = last.scrape();
    for ((_, errno, _), failed) in floods.iter().zip(&failed) {
        let total = scrape.value(&format!(
            "execsnoop_exec_failures_total{{errno=\"{errno}\"}}"
        ));
        assert_eq!(total, f64::from(failed.load(Ordering::Relaxed)), "{errno}");
    }
    scrape.assert_ledger_closes();
}
