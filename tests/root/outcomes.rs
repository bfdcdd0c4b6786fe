//! Exits by outcome, and lifetimes, in a view that asks for them. The reader is stopped meanwhile, so
//! that everything is counted in the kernel.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Instant;

use execsnoopd::capture::hook::{EXIT_LIVE, EXIT_TP_BTF};
use execsnoopd::capture::{Capture, Options};
use execsnoopd::config::{Config, ViewConfig};
use execsnoopd::pipeline::view::{Label, Metric};
use execsnoopd::record::Kind;
use rustix::process::Signal;
use testkit::compiled::ways;
use testkit::daemon::{Daemon, with_transport};
use testkit::http::Scrape;
use testkit::limits::Limited;
use testkit::programs::Programs;
use testkit::service::run_on;

testkit::over_both_transports! {
    every_outcome_is_counted_exactly_while_the_reader_is_stopped
    a_core_dump_makes_any_signal_a_crash
    only_the_process_that_the_oom_killer_chooses_has_the_outcome_oom
}

const VIEW: &str = "[[view]]\nlabels = [\"comm\"]\nmetrics = [\"exits\", \"lifetime_seconds\"]\n";

/// The exits of a program, in the order of the outcomes: success, error, signal, crash, oom.
fn exits(scrape: &Scrape, comm: &str) -> [f64; 5] {
    ["success", "error", "signal", "crash", "oom"].map(|outcome| {
        let labels = format!("{{comm=\"{comm}\",outcome=\"{outcome}\"}}");
        scrape.value(&format!("execsnoop_exits_by_comm_total{labels}"))
    })
}

fn lifetime(scrape: &Scrape, comm: &str) -> f64 {
    let labels = format!("{{comm=\"{comm}\"}}");
    scrape.value(&format!("execsnoop_lifetime_seconds_by_comm_total{labels}"))
}

fn ended(program: &Path, way: &str, n: i32) -> ExitStatus {
    let mut command = Command::new(program);
    let status = command.args([way, "-", &n.to_string()]).status();
    status.expect("the program can be executed")
}

/// Runs `cause` while the reader of the daemon is stopped.
fn unread(daemon: &Daemon, cause: impl FnOnce()) {
    daemon.signal(Signal::STOP);
    cause();
    daemon.signal(Signal::CONT);
}

/// Ends a program once with each outcome but `oom`, twice with the next, and so on.
fn end_in_every_way(program: &Path) {
    for (times, way, n) in [
        (1, "exit", 0),
        (2, "exit", 201),
        (3, "signal", 15),
        (4, "signal", 11),
        (4, "signal", 31),
    ] {
        for _ in 0..times {
            ended(program, way, n);
        }
    }
}

fn every_outcome_is_counted_exactly_while_the_reader_is_stopped(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, &format!("buffer_pages = 1\n{VIEW}"));
    let comm = format!("ends-{transport}");
    let program = programs.copied(ways(), &comm);
    let mut lived = 0.0;
    unread(&daemon, || {
        let began = Instant::now();
        end_in_every_way(&program);
        (0..100).for_each(|_| assert!(ended(&program, "exit", 0).success()));
        assert!(ended(&program, "sleep", 300).success());
        lived = began.elapsed().as_secs_f64();
    });
    let scrape = daemon.scrape();
    assert_eq!(exits(&scrape, &comm), [102.0, 2.0, 3.0, 8.0, 0.0]);
    let lifetime = lifetime(&scrape, &comm);
    assert!((0.3..=lived).contains(&lifetime), "{lifetime} of {lived} s");
    assert_eq!(scrape.value("execsnoop_unattributed_exits_total"), 0.0);
    assert_eq!(scrape.value("execsnoop_exits_without_outcome_total"), 0.0);
    scrape.assert_ledger_closes();
}

fn a_core_dump_makes_any_signal_a_crash(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, VIEW);
    let comm = format!("core-{transport}");
    let program = programs.copied(ways(), &comm);
    let directory = tempfile::tempdir().unwrap();
    let quit = |core_limit: &str| {
        // SIGQUIT dumps a core, but is none of the signals of a crash.
        let script = format!("ulimit -c {core_limit} && exec \"$0\" signal - 3");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(&program);
        let status = command.current_dir(directory.path()).status().unwrap();
        assert_eq!(status.signal(), Some(3));
        assert_eq!(status.core_dumped(), core_limit != "0");
    };
    let before = daemon.scrape().value("execsnoop_core_dumps_total");
    unread(&daemon, || {
        quit("0");
        (0..2).for_each(|_| quit("unlimited"));
    });
    let scrape = daemon.scrape();
    assert_eq!(exits(&scrape, &comm), [0.0, 0.0, 1.0, 2.0, 0.0]);
    assert_eq!(scrape.value("execsnoop_core_dumps_total") - before, 2.0);
    scrape.assert_ledger_closes();
}

fn only_the_process_that_the_oom_killer_chooses_has_the_outcome_oom(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, VIEW);
    let [hog, beside] = ["hog", "near"].map(|name| format!("{name}-{transport}"));
    let program = programs.copied(ways(), &hog);
    let sleeper = programs.copied(ways(), &beside);
    let limited = Limited::memory(16 << 20);
    let before = daemon.scrape().value("execsnoop_oom_kills_total");
    unread(&daemon, || {
        // SIGKILL by somebody else is not an OOM kill.
        assert_eq!(ended(&program, "signal", 9).signal(), Some(9));
        let script = "\"$1\" sleep - 1000 & \"$0\" hog - 0; killed=$?; wait; exit $killed";
        let mut command = limited.command("sh");
        command.args(["-c", script]).arg(&program).arg(&sleeper);
        assert_eq!(command.status().unwrap().code(), Some(128 + 9));
    });
    assert_eq!(limited.oom_kills(), 1);
    let scrape = daemon.scrape();
    assert_eq!(exits(&scrape, &hog), [0.0, 0.0, 1.0, 0.0, 1.0]);
    assert_eq!(exits(&scrape, &beside), [1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(scrape.value("execsnoop_oom_kills_total") - before, 1.0);
    scrape.assert_ledger_closes();
}

#[test]
fn every_hook_finds_the_same_outcomes() {
    let programs = Programs::new();
    for (n, hook) in [EXIT_TP_BTF, EXIT_LIVE[0], EXIT_LIVE[1]]
        .into_iter()
        .enumerate()
    {
        let capture = Capture::start(&Options {
            exit_hooks: vec![vec![hook]],
            with_exits: true,
            cpu_time: false,
            ..Options::default()
        });
        let capture = capture.unwrap();
        let info = capture.info().clone();
        assert!(!info.observes(Kind::CpuTime));
        if !info.observes(Kind::Exit) {
            // Only the first hook needs Linux 6.16.
            assert_eq!(hook, EXIT_TP_BTF);
            continue;
        }
        let mut by_comm = ViewConfig::by(&[Label::Comm]);
        by_comm.metrics = Some(vec![Metric::Exits]);
        let config = Config {
            view: vec![by_comm],
            ..Config::default()
        };
        let service = run_on(capture, &info, &config);
        let comm = format!("by-hook-{n}");
        let program = programs.copied(ways(), &comm);
        end_in_every_way(&program);
        fs::remove_file(&program).unwrap();
        let scrape = service.scrape();
        assert_eq!(exits(&scrape, &comm), [1.0, 2.0, 3.0, 8.0, 0.0], "{hook}");
        scrape.assert_ledger_closes();
        service.stop().unwrap();
    }
}
