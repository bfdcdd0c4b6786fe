//! The daemon where `CLOCK_MONOTONIC` is not the clock of the kernel's events. Needs root.

use std::process::Command;

use testkit::daemon::Daemon;
use testkit::programs::{Programs, exec_times};

#[test]
fn in_a_time_namespace_of_its_own_the_daemon_counts_exactly() {
    let programs = Programs::new();
    let program = programs.named("timeless");
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let (seconds, _) = uptime.split_once('.').unwrap();
    let behind = seconds.parse::<i64>().unwrap() / 2;
    for (n, offset) in (1..).zip([-behind, 1_000_000]) {
        let mut command = Command::new("unshare");
        command
            .args(["--time", "--fork", "--kill-child"])
            .arg(format!("--monotonic={offset}"))
            .arg(env!("CARGO_BIN_EXE_execsnoopd"));
        let daemon = Daemon::spawn(command);
        exec_times(&program, 10 * n);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("timeless"), f64::from(10 * n));
        scrape.assert_ledger_closes();
    }
}
