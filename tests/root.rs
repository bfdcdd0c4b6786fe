//! Real executions, real BPF, the real daemon. Needs root, or it fails: a tier that did
//! not run must not look like one that passed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use execsnoopd::capture::hooks::{EXEC_RAW_TP, EXEC_TP_BTF};
use execsnoopd::capture::{Capture, Options};
use execsnoopd::config::Config;
use rustix::process::Signal;
use testkit::behind::always_skipping;
use testkit::confined::{public_copy, unit_capabilities};
use testkit::daemon::{Daemon, code, configured, field, over};
use testkit::fake::run_on;
use testkit::http::Scrape;
use testkit::programs::{Programs, exec, exec_as, exec_times, set_executable};

fn uid_sample(uid: u32) -> String {
    format!("execsnoop_execs_by_uid_total{{uid=\"{uid}\",user=\"\"}}")
}

testkit::over_both_roads! {
    storms_on_all_cpus_are_counted_exactly_by_program_and_user
    a_scrape_right_after_the_last_wait_sees_it
    a_full_buffer_costs_detail_and_no_count
    a_full_tally_costs_names_and_no_count
    a_termination_in_a_storm_still_accounts_for_all_that_was_seen
    names_of_any_bytes_are_counted_under_what_they_are
}

fn storms_on_all_cpus_are_counted_exactly_by_program_and_user(road: &str) {
    const EACH: u32 = 400;
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let storms: Vec<(PathBuf, u32)> = (0..8)
        .map(|i| (programs.named(format!("storm{i}")), 700_000 + i % 4))
        .collect();
    scope(|scope| {
        for (program, uid) in &storms {
            scope.spawn(|| (0..EACH).for_each(|_| exec_as(program, Some(*uid))));
        }
    });
    let scrape = daemon.scrape();
    for i in 0..8 {
        assert_eq!(scrape.execs_of(&format!("storm{i}")), f64::from(EACH));
    }
    for uid in 700_000..700_004 {
        assert_eq!(scrape.value(&uid_sample(uid)), f64::from(2 * EACH));
    }
    scrape.assert_ledger_closes();
    let last = daemon.stop();
    assert_eq!(field(&last, "ledger_difference"), "0");
}

fn a_scrape_right_after_the_last_wait_sees_it(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let program = programs.named("fresh");
    for n in 1..=200 {
        exec(&program);
        assert_eq!(daemon.scrape().execs_of("fresh"), f64::from(n));
    }
}

fn a_full_buffer_costs_detail_and_no_count(road: &str) {
    const EACH: u32 = 300;
    let programs = Programs::new();
    let (daemon, _config) = over(road, "buffer_pages = 1\n");
    let before = daemon.scrape();
    daemon.signal(Signal::STOP);
    let storms: Vec<PathBuf> = (0..4).map(|i| programs.named(format!("full{i}"))).collect();
    scope(|scope| {
        for program in &storms {
            scope.spawn(|| exec_times(program, EACH));
        }
    });
    daemon.signal(Signal::CONT);
    let scrape = daemon.scrape();
    for i in 0..4 {
        assert_eq!(scrape.execs_of(&format!("full{i}")), f64::from(EACH));
    }
    scrape.assert_ledger_closes();
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 0.0);
    // Each program makes two events, its exec and its exit. Of all that did not fit, most of
    // them, the detail is lost, and that is said.
    let full = "execsnoop_lost_events_total{reason=\"buffer_full\"}";
    let lost = scrape.value(full) - before.value(full);
    assert!(lost >= f64::from(4 * EACH), "{lost} lost");
    // And again, with the tally's maps having changed places.
    exec_times(&storms[0], 10);
    assert_eq!(daemon.scrape().execs_of("full0"), f64::from(EACH + 10));
}

fn a_full_tally_costs_names_and_no_count(road: &str) {
    // Each program has two subjects, its exec and its exit: more than the tally has entries
    // (16384).
    const PROGRAMS: u32 = 9_000;
    let programs = Programs::new();
    let (daemon, _config) = over(
        road,
        "buffer_pages = 1\n[[view]]\nlabels = [\"comm\"]\nmax_series = 50000\n\
         [[view]]\nlabels = [\"uid\"]\n",
    );
    daemon.signal(Signal::STOP);
    scope(|scope| {
        for thread in 0..4 {
            let programs = &programs;
            scope.spawn(move || {
                for n in (thread..PROGRAMS).step_by(4) {
                    exec(&programs.named(format!("tally{n}")));
                }
            });
        }
    });
    daemon.signal(Signal::CONT);
    let scrape = daemon.scrape();
    scrape.assert_ledger_closes();
    let unattributed = scrape.value("execsnoop_unattributed_execs_total");
    assert!(unattributed > 0.0);
    let (mut named, mut others) = (0.0, 0.0);
    for (sample, execs) in scrape.family("execsnoop_execs_by_comm_total") {
        if sample.contains("comm=\"tally") {
            assert_eq!(execs, 1.0, "{sample}");
            named += execs;
        } else {
            others += execs;
        }
    }
    // Whatever else was executed on this host is among the others, named or not.
    assert!(named + others >= f64::from(PROGRAMS));
    assert!(
        named + unattributed >= f64::from(PROGRAMS),
        "{named} + {unattributed}"
    );
    assert_eq!(named + others, scrape.value("execsnoop_execs_total"));
    // The tally is empty again: the next storm is attributed.
    let again = programs.named("again");
    exec_times(&again, 20);
    assert_eq!(daemon.scrape().execs_of("again"), 20.0);
    let after = daemon.scrape().value("execsnoop_unattributed_execs_total");
    assert_eq!(after, unattributed);
}

fn a_termination_in_a_storm_still_accounts_for_all_that_was_seen(road: &str) {
    let programs = Programs::new();
    let program = programs.named("ending");
    for signal in [Signal::TERM, Signal::INT] {
        let (mut daemon, _config) = over(road, "");
        let stop = AtomicBool::new(false);
        scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        exec(&program);
                    }
                });
            }
            let counted = loop {
                let counted = daemon.scrape().execs_of("ending");
                if counted > 100.0 {
                    break counted;
                }
            };
            daemon.signal(signal);
            let last = daemon.await_log("\"message\":\"stopped\"");
            stop.store(true, Ordering::Relaxed);
            assert_eq!(code(daemon.wait()), 0);
            assert_eq!(field(&last, "ledger_difference"), "0");
            assert!(field(&last, "execs").parse::<f64>().unwrap() >= counted);
        });
    }
}

fn names_of_any_bytes_are_counted_under_what_they_are(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let names: [(&[u8], &str); 7] = [
        (b"new\nline", "new\\\\x0aline"),
        (b"quo\"te", "quo\\\"te"),
        (b"back\\slash", "back\\\\x5cslash"),
        (b"bell\x07\x1b[2J", "bell\\\\x07\\\\x1b[2J"),
        (b"broken\xff\xc3", "broken\\\\xff\\\\xc3"),
        (b"other", "\\\\x6fther"),
        ("日本語".as_bytes(), "日本語"),
    ];
    for (i, (name, _)) in (1..).zip(&names) {
        exec_times(&programs.named(OsStr::from_bytes(name)), i);
    }
    let scrape = daemon.scrape();
    for (i, (_, label)) in (1..).zip(&names) {
        assert_eq!(scrape.execs_of(label), f64::from(i), "{label}");
    }
    scrape.assert_ledger_closes();
}

#[test]
fn a_name_longer_than_the_kernel_keeps_is_cut_at_15_bytes() {
    let programs = Programs::new();
    let daemon = Daemon::start(&[]);
    exec(&programs.named("fifteen-bytes-and-more"));
    assert_eq!(daemon.scrape().execs_of("fifteen-bytes-a"), 1.0);
}

#[test]
fn a_failed_exec_is_not_counted() {
    let programs = Programs::new();
    let daemon = Daemon::start(&[]);
    let not_executable = programs.path().join("failing");
    std::fs::write(&not_executable, "").unwrap();
    for _ in 0..10 {
        assert!(Command::new(&not_executable).status().is_err());
        assert!(
            Command::new(programs.path().join("absent"))
                .status()
                .is_err()
        );
    }
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("failing") + scrape.execs_of("absent"), 0.0);
    scrape.assert_ledger_closes();
}

#[test]
fn a_view_by_parent_names_who_executed() {
    let programs = Programs::new();
    let (daemon, _config) = configured(
        "[[view]]\nlabels = [\"parent_comm\", \"comm\"]\n[[view]]\nlabels = [\"comm\"]\n\
         [[view]]\nlabels = [\"uid\"]\n",
    );
    let child = programs.named("child");
    let parent = programs.path().join("parent.sh");
    // Several commands, so that the shell does not execute the last one in its own place.
    let script = format!("#!/bin/sh\n{0}\n{0}\n:\n", child.display());
    std::fs::write(&parent, script).unwrap();
    set_executable(&parent);
    exec(&parent);
    let scrape = daemon.scrape();
    let sample =
        "execsnoop_execs_by_parent_comm_comm_total{parent_comm=\"parent.sh\",comm=\"child\"}";
    assert_eq!(scrape.value(sample), 2.0);
    scrape.assert_ledger_closes();
}

#[test]
fn the_raw_tracepoint_sees_the_same_when_the_typed_one_is_not_to_be_had() {
    const EACH: u32 = 200;
    let programs = Programs::new();
    let capture = Capture::start(&Options {
        buffer_pages: 1,
        with_parent_comm: true,
        exec_hooks: vec![vec![EXEC_RAW_TP]],
        ..Options::default()
    })
    .unwrap();
    let means = capture.means().clone();
    let service = run_on(capture, &means, &Config::default());
    let storms: Vec<PathBuf> = (0..4).map(|i| programs.named(format!("raw{i}"))).collect();
    scope(|scope| {
        for program in &storms {
            scope.spawn(|| (0..EACH).for_each(|_| exec_as(program, Some(700_100))));
        }
    });
    let scrape = service.scrape();
    for i in 0..4 {
        assert_eq!(scrape.execs_of(&format!("raw{i}")), f64::from(EACH));
    }
    assert_eq!(scrape.value(&uid_sample(700_100)), f64::from(4 * EACH));
    assert_eq!(
        scrape.value("execsnoop_hook_info{event=\"exec\",program=\"exec_raw_tp\",type=\"raw_tp\"}"),
        1.0
    );
    scrape.assert_ledger_closes();
    assert_eq!(service.stop().unwrap().differences, [0, 0, 0]);
}

#[test]
fn programs_that_stand_behind_others_count_nothing_twice() {
    const EACH: u32 = 200;
    let programs = Programs::new();
    let storms: Vec<PathBuf> = (0..4).map(|i| programs.named(format!("rank{i}"))).collect();
    for (hook, uid) in [(EXEC_TP_BTF, 700_200), (EXEC_RAW_TP, 700_201)] {
        let capture = Capture::start(&Options {
            exec_hooks: vec![vec![hook]],
            treatment: always_skipping,
            ..Options::default()
        })
        .unwrap();
        let means = capture.means().clone();
        let service = run_on(capture, &means, &Config::default());
        scope(|scope| {
            for program in &storms {
                scope.spawn(|| (0..EACH).for_each(|_| exec_as(program, Some(uid))));
            }
        });
        let scrape = service.scrape();
        for i in 0..4 {
            assert_eq!(scrape.execs_of(&format!("rank{i}")), f64::from(EACH));
        }
        assert_eq!(scrape.value(&uid_sample(uid)), f64::from(4 * EACH));
        for rank in ["", "_2", "_3", "_4"] {
            let program = format!("{}{rank}", hook.program);
            let missed = format!("execsnoop_program_missed_runs_total{{program=\"{program}\"}}");
            assert!(scrape.find(&missed).is_some(), "{program} is not there");
        }
        scrape.assert_ledger_closes();
        assert_eq!(service.stop().unwrap().differences, [0, 0, 0]);
    }
}

#[test]
fn in_a_pid_namespace_of_its_own_the_daemon_finds_the_same_and_counts_exactly() {
    const TIMES: u32 = 50;
    let programs = Programs::new();
    let program = programs.named("pid-namespace");
    let outside = Daemon::start(&[]);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
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
        // Where the kernel runs fexit programs: their order matters most.
        let failures = "execsnoop_exec_failures_total{errno=\"ENAMETOOLONG\"}";
        let mut hooks = scrape.family("execsnoop_hook_info");
        if hooks.any(|(hook, _)| hook.contains("event=\"failure\"")) {
            assert_eq!(scrape.value(failures), f64::from(TIMES));
        }
        scrape.assert_ledger_closes();
    }
}

#[test]
fn root_of_a_user_namespace_is_counted_as_who_it_is_outside() {
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
fn several_daemons_count_the_same_execs_each() {
    let programs = Programs::new();
    let daemons: Vec<Daemon> = (0..3).map(|_| Daemon::start(&[])).collect();
    exec_times(&programs.named("shared"), 50);
    for daemon in &daemons {
        assert_eq!(daemon.scrape().execs_of("shared"), 50.0);
    }
}

#[test]
fn no_thread_has_a_capability_left_but_what_the_kernel_asks_for_at_each_use_of_a_map() {
    let daemon = Daemon::start(&[]);
    daemon.scrape();
    let kept = if asks_for_cap_bpf_at_each_use_of_a_map() {
        "\t0000008000000000" // CAP_BPF, which is 39
    } else {
        "\t0000000000000000"
    };
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let mut threads = 0;
    for task in tasks {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for (set, left) in [
            ("CapInh", "\t0000000000000000"),
            ("CapPrm", kept),
            ("CapEff", kept),
            ("CapAmb", "\t0000000000000000"),
        ] {
            let line = status.lines().find(|line| line.starts_with(set)).unwrap();
            assert!(line.ends_with(left), "{line}");
        }
        assert!(status.contains("NoNewPrivs:\t1"));
        threads += 1;
    }
    assert!(threads >= 3, "reader, aggregator and server");
}

/// Kernels before 5.19 do, where unprivileged users may not call bpf(2).
fn asks_for_cap_bpf_at_each_use_of_a_map() -> bool {
    let kernel = |name| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let release = kernel("osrelease").unwrap();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().flatten(), numbers.next().flatten());
    version < (Some(5), Some(19)) && kernel("unprivileged_bpf_disabled").unwrap().trim() != "0"
}

#[test]
fn the_two_capabilities_of_the_unit_suffice() {
    let programs = Programs::new();
    let (program, _dir) = public_copy();
    let daemon = Daemon::spawn(unit_capabilities(&program));
    exec_times(&programs.named("by-nobody"), 30);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("by-nobody"), 30.0);
    scrape.assert_ledger_closes();
    // Where Debian and Ubuntu refuse perf_event_open(2) to these two, by a patch of theirs,
    // it takes the other road.
    let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap();
    let road = match paranoid.trim().parse().unwrap() {
        ..=2 => "perf",
        3.. => "ringbuf",
    };
    let transport = format!("execsnoop_transport_info{{transport=\"{road}\"}}");
    assert_eq!(scrape.value(&transport), 1.0);
}

#[test]
fn one_capability_alone_is_refused_and_the_other_named() {
    let (program, _dir) = public_copy();
    for (has, lacks) in [("bpf", "CAP_PERFMON"), ("perfmon", "CAP_BPF")] {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(format!("--inh-caps=-all,+{has}"))
            .arg(format!("--ambient-caps=-all,+{has}"))
            .arg(&program)
            .output()
            .expect("setpriv (util-linux) runs");
        assert_eq!(code(output.status), 77);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            message.contains(&format!("needs {lacks}, which")),
            "{message}"
        );
    }
}

#[test]
fn an_address_in_use_ends_with_1_and_says_what_to_do() {
    let daemon = Daemon::start(&[]);
    let output = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
        .arg(format!("--web.listen-address={}", daemon.address))
        .output()
        .unwrap();
    assert_eq!(code(output.status), 1);
    let message = String::from_utf8(output.stderr).unwrap();
    let last = message.lines().last().unwrap();
    assert!(
        last.contains(&format!("cannot listen on {}", daemon.address)),
        "{last}"
    );
    assert!(last.contains("Address already in use"), "{last}");
    assert!(last.contains("--web.listen-address"), "{last}");
}

#[test]
fn a_buffer_that_the_kernel_refuses_ends_with_its_reason() {
    // 64 MiB a CPU are beyond kernel.perf_event_mlock_kb without CAP_IPC_LOCK.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(
        &file,
        "[capture]\ntransport = \"perf\"\nbuffer_pages = 16384\n",
    )
    .unwrap();
    let output = Command::new("setpriv")
        .args(["--bounding-set=-ipc_lock,-sys_admin", "--inh-caps=-all"])
        .args([
            env!("CARGO_BIN_EXE_execsnoopd"),
            "--web.listen-address=127.0.0.1:0",
            "--config",
        ])
        .arg(&file)
        .output()
        .expect("setpriv (util-linux) runs");
    assert_eq!(code(output.status), 77);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("16384 pages per CPU"), "{message}");
    assert!(message.contains("perf_event_mlock_kb"), "{message}");
}
