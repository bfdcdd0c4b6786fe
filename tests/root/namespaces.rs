//! A daemon in pid and time namespaces, and a program in a user namespace.

use std::process::Command;

use testkit::daemon::{Daemon, configured};
use testkit::http::Scrape;
use testkit::programs::{Programs, exec_times};

#[test]
fn a_daemon_in_a_pid_namespace_loads_the_same_programs_and_counts_exactly() {
    const TIMES: u32 = 50;
    let programs = Programs::new();
    let program = programs.named("pid-namespace");
    let outside = Daemon::start(&[]);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc"]);
    command.arg(env!("CARGO_BIN_EXE_execsnoopd"));
    let inside = Daemon::spawn(command);
    exec_times(&program, TIMES);
    let too_long = program.with_file_name("n".repeat(300));
    for _ in 0..TIMES {
        assert!(Command::new(&too_long).status().is_err());
    }
    let scrapes = [outside.scrape(), inside.scrape()];
    let programs = |scrape: &Scrape| scrape.family("execsnoop_program_missed_runs_total").count();
    assert_eq!(programs(&scrapes[0]), programs(&scrapes[1]));
    for scrape in scrapes {
        assert_eq!(scrape.execs_of("pid-namespace"), f64::from(TIMES));
        // Failures are counted only where the kernel supports fexit.
        let failures = "execsnoop_exec_failures_total{errno=\"ENAMETOOLONG\"}";
        let mut hooks = scrape.family("execsnoop_hook_info");
        if hooks.any(|(hook, _)| hook.contains("event=\"failure\"")) {
            assert_eq!(scrape.value(failures), f64::from(TIMES));
        }
        scrape.assert_ledger_closes();
    }
}

#[test]
fn root_of_a_user_namespace_is_counted_by_its_uid_outside() {
    let programs = Programs::new();
    let program = programs.named("namespaced");
    let (daemon, _config) = configured("[[view]]\nlabels = [\"uid\", \"user\", \"comm\"]\n");
    let status = Command::new("setpriv")
        .args(["--reuid=700600", "--regid=700600", "--clear-groups"])
        .args(["unshare", "--user", "--map-root-user"])
        .arg(&program)
        .status()
        .expect("setpriv (util-linux) runs");
    assert!(status.success());
    let scrape = daemon.scrape();
    let sample = "execsnoop_execs_by_uid_comm_total{uid=\"700600\",user=\"\",comm=\"namespaced\"}";
    assert_eq!(scrape.value(sample), 1.0);
    scrape.assert_ledger_closes();
}

#[test]
fn a_daemon_in_a_time_namespace_counts_exactly() {
    let programs = Programs::new();
    let program = programs.named("timeless");
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let (seconds, _) = uptime.split_once('.').unwrap();
    let behind = seconds.parse::<i64>().unwrap() / 2;
    for (n, offset) in (1..).zip([-behind, 1_000_000]) {
        let mut command = Command::new("unshare");
        command
            .args(["--time", "--fork"])
            .arg(format!("--monotonic={offset}"))
            .arg(env!("CARGO_BIN_EXE_execsnoopd"));
        let daemon = Daemon::spawn(command);
        exec_times(&program, 10 * n);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("timeless"), f64::from(10 * n));
        scrape.assert_ledger_closes();
    }
}
