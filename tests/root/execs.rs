//! Storms of execs, full buffers, full tallies, and the names of programs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use rustix::process::Signal;
use testkit::daemon::{Daemon, code, configured, field, with_transport};
use testkit::programs::{Programs, exec, exec_as, exec_times, set_executable};
use testkit::set_on_drop::SetOnDrop;

fn uid_sample(uid: u32) -> String {
    format!("execsnoop_execs_by_uid_total{{uid=\"{uid}\",user=\"\"}}")
}

testkit::over_both_transports! {
    storms_on_all_cpus_are_counted_exactly_by_program_and_user
    a_scrape_after_an_exec_includes_it
    with_a_full_buffer_details_are_lost_but_no_counts
    with_a_full_tally_names_are_lost_but_no_counts
    a_stop_in_a_storm_accounts_for_every_exec_seen
    names_of_any_bytes_are_counted_under_their_escaped_form
}

fn storms_on_all_cpus_are_counted_exactly_by_program_and_user(transport: &str) {
    const EACH: u32 = 400;
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
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

fn a_scrape_after_an_exec_includes_it(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let program = programs.named("fresh");
    for n in 1..=200 {
        exec(&program);
        assert_eq!(daemon.scrape().execs_of("fresh"), f64::from(n));
    }
}

fn with_a_full_buffer_details_are_lost_but_no_counts(transport: &str) {
    const EACH: u32 = 300;
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "buffer_pages = 1\n");
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
    // Most events do not fit, and the loss of their detail is counted.
    let full = "execsnoop_lost_events_total{reason=\"buffer_full\"}";
    let lost = scrape.value(full) - before.value(full);
    assert!(lost >= f64::from(4 * EACH) / 2.0, "{lost} lost");
    // The two maps of the tally have been swapped. Check that the other map works, too.
    exec_times(&storms[0], 10);
    assert_eq!(daemon.scrape().execs_of("full0"), f64::from(EACH + 10));
}

fn with_a_full_tally_names_are_lost_but_no_counts(transport: &str) {
    // Each program has two subjects, its exec and its CPU time. The tally has 16384 entries.
    const PROGRAMS: u32 = 9_000;
    let programs = Programs::new();
    let (daemon, _config) = with_transport(
        transport,
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
            // 0 if the tally had room for the CPU time, but not for the exec.
            assert!([0.0, 1.0].contains(&execs), "{sample} {execs}");
            named += execs;
        } else {
            others += execs;
        }
    }
    // `others` and `unattributed` may include execs of other programs on this host.
    assert!(named + others >= f64::from(PROGRAMS));
    assert!(
        named + unattributed >= f64::from(PROGRAMS),
        "{named} + {unattributed}"
    );
    assert_eq!(named + others, scrape.value("execsnoop_execs_total"));
    // So is CPU time: every view has all of it.
    assert!(scrape.value("execsnoop_unattributed_cpu_seconds_total") > 0.0);
    let cpu_of_all = |view| -> f64 {
        let family = format!("execsnoop_cpu_seconds_by_{view}_total");
        scrape.family(&family).map(|(_, seconds)| seconds).sum()
    };
    let (by_comm, by_uid) = (cpu_of_all("comm"), cpu_of_all("uid"));
    assert!((by_comm - by_uid).abs() < 1e-6, "{by_comm} s, {by_uid} s");
    // The tally is empty again, so the next storm is attributed.
    let again = programs.named("again");
    exec_times(&again, 20);
    assert_eq!(daemon.scrape().execs_of("again"), 20.0);
    let after = daemon.scrape().value("execsnoop_unattributed_execs_total");
    assert_eq!(after, unattributed);
}

fn a_stop_in_a_storm_accounts_for_every_exec_seen(transport: &str) {
    let programs = Programs::new();
    let program = programs.named("ending");
    for signal in [Signal::TERM, Signal::INT] {
        let (mut daemon, _config) = with_transport(transport, "");
        let stop = AtomicBool::new(false);
        scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        exec(&program);
                    }
                });
            }
            let stop_storm = SetOnDrop(&stop);
            let counted = loop {
                let counted = daemon.scrape().execs_of("ending");
                if counted > 100.0 {
                    break counted;
                }
            };
            daemon.signal(signal);
            let last = daemon.await_log("\"message\":\"stopped\"");
            drop(stop_storm);
            assert_eq!(code(daemon.wait()), 0);
            assert_eq!(field(&last, "ledger_difference"), "0");
            assert!(field(&last, "execs").parse::<f64>().unwrap() >= counted);
        });
    }
}

fn names_of_any_bytes_are_counted_under_their_escaped_form(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
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
fn long_names_are_truncated_to_15_bytes() {
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
fn a_view_by_parent_has_the_name_of_the_parent() {
    let programs = Programs::new();
    let (daemon, _config) = configured(
        "[[view]]\nlabels = [\"parent_comm\", \"comm\"]\n[[view]]\nlabels = [\"comm\"]\n\
         [[view]]\nlabels = [\"uid\"]\n",
    );
    let child = programs.named("child");
    let parent = programs.path().join("parent.sh");
    // The last command, `:`, makes the shell fork for each program instead of becoming the last one.
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
fn several_daemons_each_count_all_execs() {
    let programs = Programs::new();
    let daemons: Vec<Daemon> = (0..3).map(|_| Daemon::start(&[])).collect();
    exec_times(&programs.named("shared"), 50);
    for daemon in &daemons {
        assert_eq!(daemon.scrape().execs_of("shared"), 50.0);
    }
}
