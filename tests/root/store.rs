//! Descriptor stores that are full or hold something else, with the test in the role of systemd.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libbpf_rs::{MapHandle, MapType};
use rustix::fs::MemfdFlags;
use testkit::bpf_objects::Unheld;
use testkit::daemon::{Daemon, field};
use testkit::programs::{Programs, exec_times};
use testkit::store::{Store, Stored};

use crate::survival::{file, handovers};

/// The number of warnings before a daemon listened.
fn warnings(daemon: &Daemon) -> usize {
    let warnings = daemon.start_log().iter();
    warnings
        .filter(|line| field(line, "level") == "WARN")
        .count()
}

/// Something that may happen to the descriptors of a store.
type Tampering = (&'static str, fn(&mut Vec<Stored>));

const TAMPERINGS: [Tampering; 12] = [
    ("no state", |stored| {
        stored.retain(|kept| kept.name != STATE);
    }),
    ("only the state", |stored| {
        stored.retain(|kept| kept.name == STATE);
    }),
    ("every second one", |stored| {
        let mut number = 0;
        stored.retain(|_| {
            number += 1;
            number % 2 == 0
        });
    }),
    ("a pipe as the state", |stored| {
        replace(stored, STATE, || std::io::pipe().unwrap().0.into());
    }),
    ("an empty state", |stored| {
        replace(stored, STATE, || memfd(&[]));
    }),
    ("a truncated state", |stored| {
        let bytes = contents(stored);
        // The second slot is missing, and the first one ends in its header or soon afterwards.
        replace(stored, STATE, || memfd(&bytes[..40]));
    }),
    ("a corrupted state", |stored| {
        let mut bytes = contents(stored);
        bytes.iter_mut().step_by(37).for_each(|byte| *byte ^= 0x10);
        replace(stored, STATE, || memfd(&bytes));
    }),
    ("/dev/null as every program", |stored| {
        replace(stored, "execsnoop.program.", null);
    }),
    ("/dev/null as every link", |stored| {
        replace(stored, "execsnoop.link.", null);
    }),
    ("a pipe as every map", |stored| {
        replace(stored, "execsnoop.map.", || {
            std::io::pipe().unwrap().1.into()
        });
    }),
    ("other maps", |stored| {
        replace(stored, "execsnoop.map.", foreign_map);
    }),
    ("links and programs with each other's names", |stored| {
        for kept in stored {
            let swapped = kept
                .name
                .strip_prefix("execsnoop.link.")
                .map(|name| format!("execsnoop.program.{name}"))
                .or_else(|| {
                    let name = kept.name.strip_prefix("execsnoop.program.")?;
                    Some(format!("execsnoop.link.{name}"))
                });
            kept.name = swapped.unwrap_or_else(|| kept.name.clone());
        }
    }),
];

const STATE: &str = "execsnoop.state";

/// Replaces each descriptor whose name begins with `start`.
fn replace(stored: &mut [Stored], start: &str, with: impl Fn() -> OwnedFd) {
    let mut replaced = 0;
    for kept in stored {
        if kept.name.starts_with(start) {
            kept.descriptor = with();
            replaced += 1;
        }
    }
    assert!(replaced > 0, "{start} is stored");
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

fn memfd(bytes: &[u8]) -> OwnedFd {
    let descriptor = rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC).unwrap();
    fs::write(format!("/proc/self/fd/{}", descriptor.as_raw_fd()), bytes).unwrap();
    descriptor
}

/// The bytes of the state.
fn contents(stored: &[Stored]) -> Vec<u8> {
    let state = stored.iter().find(|kept| kept.name == STATE).unwrap();
    let mut file = File::from(state.descriptor.try_clone().unwrap());
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert!(!bytes.is_empty());
    bytes
}

fn foreign_map() -> OwnedFd {
    let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
        ..Default::default()
    };
    let map = MapHandle::create(MapType::Hash, Some("foreign"), 4, 4, 8, &options).unwrap();
    map.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn a_store_that_holds_something_else_ends_in_a_fresh_start_and_one_warning() {
    let programs = Programs::new();
    let program = programs.named("tampered");
    let (config, _dir) = file("");
    let before = Unheld::now();
    for (what, tamper) in TAMPERINGS {
        let store = Store::new();
        let daemon = store.start(&config);
        let (normal, names) = (warnings(&daemon), store.names());
        exec_times(&program, 10);
        assert_eq!(daemon.scrape().execs_of("tampered"), 10.0);
        daemon.stop();
        store.tamper(tamper);

        let daemon = store.start(&config);
        let log = daemon.start_log();
        assert_eq!(warnings(&daemon), normal + 1, "{what}: {log:#?}");
        exec_times(&program, 7);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("tampered"), 7.0, "{what}");
        assert_eq!(handovers(&scrape), [0.0, 0.0], "{what}");
        scrape.assert_ledger_closes();
        assert_eq!(store.names(), names, "{what}");
        daemon.stop();

        // The store is as good as new.
        let daemon = store.start(&config);
        assert_eq!(warnings(&daemon), normal, "{what}");
        exec_times(&program, 5);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("tampered"), 12.0, "{what}");
        assert_eq!(handovers(&scrape), [1.0, 0.0], "{what}");
        scrape.assert_ledger_closes();
        daemon.stop();
        drop(store);
        before.await_no_others();
    }
}

#[test]
fn with_a_full_store_counts_are_exact_but_begin_at_0_after_a_restart() {
    let programs = Programs::new();
    let program = programs.named("full-store");
    let (config, _dir) = file("");
    let normal = warnings(&Store::new().start(&config));
    let store = Store::with_limit(3);
    for expected in [normal, normal + 1, normal + 1] {
        let daemon = store.start(&config);
        let log = daemon.start_log();
        assert_eq!(warnings(&daemon), expected, "{log:#?}");
        assert_eq!(store.names().len(), 3);
        exec_times(&program, 25);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("full-store"), 25.0);
        assert_eq!(handovers(&scrape), [0.0, 0.0]);
        scrape.assert_ledger_closes();
        assert_eq!(field(&daemon.stop(), "ledger_difference"), "0");
    }
}

#[test]
fn every_name_in_the_store_is_used_once_and_none_contains_a_colon() {
    let (config, _dir) = file("");
    let store = Store::new();
    let daemon = store.start(&config);
    let names = store.names();
    let different: BTreeSet<_> = names.iter().collect();
    assert_eq!(different.len(), names.len(), "{names:?}");
    assert!(
        names.iter().all(|name| name.starts_with("execsnoop.")),
        "{names:?}"
    );
    assert!(!names.iter().any(|name| name.contains(':')), "{names:?}");
    daemon.stop();
}
