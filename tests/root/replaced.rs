//! Daemons that replace the BPF programs of an earlier one, because their configuration or their build
//! differs, with the test in the role of systemd.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use testkit::bpf_objects::Unheld;
use testkit::http::Scrape;
use testkit::paths;
use testkit::programs::{Programs, exec_times};
use testkit::store::Store;

use crate::survival::{COUNTING_SINCE, STORM, UNATTRIBUTED, handovers, storm, with_transport};

testkit::over_both_transports! {
    another_configuration_continues_the_counts
    a_kill_at_any_message_of_a_replacement_loses_nothing
    another_build_continues_the_counts
}

fn another_configuration_continues_the_counts(transport: &str) {
    const VIEW: &str = "[[view]]\nlabels = [\"comm\"]\n[[view]]\nlabels = ";
    let programs = Programs::new();
    let other = match transport {
        "perf" => "ringbuf",
        _ => "perf",
    };
    for (n, signal, before, after) in [
        (
            1,
            Signal::TERM,
            String::new(),
            format!("{VIEW}[\"parent_comm\"]\n"),
        ),
        (
            2,
            Signal::KILL,
            String::new(),
            format!("{VIEW}[\"unit\"]\n"),
        ),
        (
            3,
            Signal::TERM,
            "exits = false\n".to_owned(),
            "exits = true\n".to_owned(),
        ),
        (
            4,
            Signal::KILL,
            "exits = true\n".to_owned(),
            "exits = false\n".to_owned(),
        ),
    ] {
        let name = format!("replaced{n}");
        let program = programs.named(&name);
        let (config, _dir) = with_transport(transport, &before);
        let store = Store::new();
        let daemon = store.start(&config);
        exec_times(&program, 30);
        let first = daemon.scrape();
        assert_eq!(first.execs_of(&name), 30.0);
        match signal {
            Signal::TERM => drop(daemon.stop()),
            signal => daemon.kill(signal),
        }
        fs::write(
            &config,
            format!("[capture]\ntransport = \"{transport}\"\n{after}"),
        )
        .unwrap();
        let daemon = store.start(&config);
        exec_times(&program, 12);
        let scrape = daemon.scrape();
        assert_eq!(handovers(&scrape), [0.0, 1.0], "{after}");
        assert_eq!(scrape.execs_of(&name), 42.0, "{after}");
        assert_eq!(scrape.value(COUNTING_SINCE), first.value(COUNTING_SINCE));
        assert_gaps(&scrape, 1);
        scrape.assert_ledger_closes();
        // Nothing of the replaced programs is left in the store.
        let fresh = Store::new();
        let expected = fresh.start(&config);
        assert_eq!(names(&store), names(&fresh), "{after}");
        drop(expected);

        // The replacement is adopted like any other daemon.
        daemon.stop();
        let daemon = store.start(&config);
        exec_times(&program, 5);
        assert_eq!(handovers(&daemon.scrape()), [1.0, 1.0], "{after}");
        assert_eq!(daemon.scrape().execs_of(&name), 47.0, "{after}");
        daemon.stop();

        let (config, _dir) = with_transport(other, &after);
        let daemon = store.start(&config);
        exec_times(&program, 3);
        let scrape = daemon.scrape();
        assert_eq!(handovers(&scrape), [1.0, 2.0], "{after}, {other}");
        assert_eq!(scrape.execs_of(&name), 50.0, "{after}, {other}");
        scrape.assert_ledger_closes();
    }
}

/// How long a replacement may last at most, in seconds.
const LONGEST_GAP: f64 = 0.05;

/// Asserts that this number of replacements left a gap each, of at most [`LONGEST_GAP`].
#[track_caller]
fn assert_gaps(scrape: &Scrape, replacements: u32) {
    let unobserved = scrape.value("execsnoop_unobserved_seconds_total");
    let within = 0.0 < unobserved && unobserved < f64::from(replacements) * LONGEST_GAP;
    assert!(within, "{unobserved} s");
}

/// The names in a store without their generation.
fn names(store: &Store) -> Vec<String> {
    let names = store.names().into_iter();
    names
        .map(|name| name.split('@').next().unwrap().to_owned())
        .collect()
}

fn a_kill_at_any_message_of_a_replacement_loses_nothing(transport: &str) {
    let programs = Programs::new();
    let objects = Unheld::now();
    let mut outcomes = BTreeSet::new();
    for handled in (0..36).step_by(4) {
        let name = format!("step{handled}");
        let program = programs.named(&name);
        let (config, _dir) = with_transport(transport, "");
        let store = Store::new();
        let daemon = store.start(&config);
        exec_times(&program, 30);
        let before = daemon.scrape();
        daemon.stop();
        let (other, _dir) = with_transport(
            transport,
            "[[view]]\nlabels = [\"comm\", \"unit\"]\n[[view]]\nlabels = [\"comm\"]\n",
        );
        store.start_and_kill(&other, handled);
        exec_times(&program, 7);
        let daemon = store.start(&other);
        exec_times(&program, 12);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of(&name), 49.0, "{handled}");
        assert_eq!(scrape.value(COUNTING_SINCE), before.value(COUNTING_SINCE));
        assert_gaps(&scrape, 1);
        scrape.assert_ledger_closes();
        outcomes.insert(format!("{:?}", handovers(&scrape)));
        // Each name is used once, so the next daemon knows what to continue with.
        let different: BTreeSet<_> = store.names().into_iter().collect();
        assert_eq!(different.len(), names(&store).len());
        daemon.stop();
        let daemon = store.start(&other);
        assert_eq!(daemon.scrape().execs_of(&name), 49.0, "{handled}");
        daemon.stop();
        drop(store);
        objects.await_no_others();
    }
    // Some daemons were killed before the state named the new programs, and some afterwards.
    let expected = ["[0.0, 1.0]", "[1.0, 1.0]"];
    assert_eq!(outcomes, expected.map(str::to_owned).into());
}

/// A copy of the daemon whose BPF object differs: it is under another license that the kernel accepts
/// (`license_is_gpl_compatible()`).
fn another_build(dir: &Path) -> PathBuf {
    let mut bytes = fs::read(paths::daemon()).unwrap();
    let hash = env!("EXECSNOOP_OBJECT");
    for (from, to) in [("Dual BSD/GPL", "Dual MIT/GPL"), (hash, "0123456789abcdef")] {
        let parts = bytes.windows(from.len());
        let found = parts
            .enumerate()
            .filter(|(_, part)| *part == from.as_bytes());
        let found: Vec<_> = found.map(|(at, _)| at).collect();
        assert!(!found.is_empty(), "{from}");
        for at in found {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    let path = dir.join("execsnoopd");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn another_build_continues_the_counts(transport: &str) {
    let programs = Programs::new();
    let program = programs.named("upgraded");
    let (config, dir) = with_transport(transport, "");
    let mut upgraded = Command::new(another_build(dir.path()));
    upgraded.arg("--config").arg(&config);
    let store = Store::new();
    let daemon = store.start(&config);
    let before = daemon.scrape();
    let (daemon, executed) = storm(&program, |begun| {
        // An upgrade and a downgrade.
        begun.wait_for(STORM / 4);
        daemon.stop();
        let daemon = store.spawn(&upgraded);
        begun.wait_for(STORM / 2);
        daemon.stop();
        store.start(&config)
    });
    let scrape = daemon.scrape();
    assert_eq!(handovers(&scrape), [0.0, 2.0]);
    assert_eq!(scrape.value(COUNTING_SINCE), before.value(COUNTING_SINCE));
    scrape.assert_ledger_closes();
    assert_gaps(&scrape, 2);
    // What the host executed while nothing was observed is not counted.
    let counted = scrape.execs_of("upgraded") + scrape.value(UNATTRIBUTED);
    println!("{transport}: {counted} of {executed}");
    let executed = f64::from(executed);
    assert!(counted <= executed && counted > 0.9 * executed);
    daemon.stop();
}
