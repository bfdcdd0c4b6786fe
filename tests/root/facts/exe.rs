//! The name of the file that runs.

use std::ffi::OsStr;
use std::fs::{self, hard_link, rename};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::statfs;
use rustix::process::Signal;
use testkit::compiled::{nop, ways};
use testkit::daemon::with_transport;
use testkit::guest::in_a_guest;
use testkit::http::Scrape;
use testkit::programs::{Programs, exec, exec_times, set_executable};
use testkit::store::Store;

use super::{copy, on_disk, sh};
use crate::survival::{file, handovers};

testkit::over_both_transports! {
    the_whole_name_of_the_file_that_runs_is_counted
    names_of_files_survive_the_daemon
}

const VIEW: &str = "[[view]]\nlabels = [\"exe\", \"comm\"]\n";
const UNKNOWN: &str = "execsnoop_unknown_exe_execs_total";

/// `include/uapi/linux/magic.h`. This file system gives the inode of a deleted file to a new one.
const EXT4: u64 = 0xef53;

/// The label values `exe` and `comm`, and how often they are executed.
pub(super) type Expected = Vec<(String, String, f64)>;

fn of(exe: &str, comm: &str) -> String {
    format!("execsnoop_execs_by_exe_comm_total{{exe=\"{exe}\",comm=\"{comm}\"}}")
}

#[track_caller]
pub(super) fn assert_counted(scrape: &Scrape, expected: &Expected) {
    for (exe, comm, times) in expected {
        assert_eq!(scrape.find(&of(exe, comm)), Some(*times), "{exe} {comm}");
    }
    assert_eq!(scrape.value(UNKNOWN), 0.0);
    scrape.assert_ledger_closes();
}

/// Executes files with all kinds of names. Each has another one.
pub(super) fn execute_all_kinds(dir: &Path) -> Expected {
    let mut expected = Expected::new();
    let mut run = |name: &[u8], exe: &str, comm: &str| {
        let path = dir.join(OsStr::from_bytes(name));
        copy(nop(), &path, 0);
        exec(&path);
        expected.push((exe.to_owned(), comm.to_owned(), 1.0));
    };
    let longest = "x".repeat(255);
    for name in [
        "longer-than-15-bytes-a",
        "longer-than-15-bytes-b",
        &longest,
        &longest[1..],
    ] {
        run(name.as_bytes(), name, &name[..15]);
    }
    let (bytes, quotes) = (r"\\xffx\\x0a", r#"a\"b\\x5cc"#);
    run(b"\xffx\n", bytes, bytes);
    run(b"a\"b\\c", quotes, quotes);
    // Words with a meaning of their own.
    run(b"other", r"\\x6fther", r"\\x6fther");
    run(b"unknown", r"\\x75nknown", "unknown");
    expected
}

/// Executes files that have other names than the program, or several.
fn execute_under_other_names(dir: &Path) -> Expected {
    let path = |name: &str| dir.join(name);
    copy(nop(), &path("ex-first"), 0);
    hard_link(path("ex-first"), path("ex-second")).unwrap();
    symlink("ex-first", path("ex-symlink")).unwrap();
    for name in ["ex-first", "ex-second", "ex-symlink"] {
        exec(&path(name));
    }
    rename(path("ex-second"), path("ex-third")).unwrap();
    exec(&path("ex-third"));
    let script = format!("#!{}\n", path("ex-third").display());
    fs::write(path("ex-script"), script).unwrap();
    set_executable(&path("ex-script"));
    exec(&path("ex-script"));
    for (way, number) in [("memfd", "41"), ("deleted", "42")] {
        let mut command = Command::new(ways());
        command.arg(way).arg(nop()).arg(number).current_dir(dir);
        assert!(command.status().unwrap().success(), "{way}");
    }
    let expected = [
        ("ex-first", "ex-first"),
        ("ex-second", "ex-second"),
        ("ex-first", "ex-symlink"),
        ("ex-third", "ex-third"),
        ("ex-third", "ex-script"),
    ];
    let expected = expected.map(|(exe, comm)| (exe.to_owned(), comm.to_owned(), 1.0));
    expected.into()
}

/// Executes two files with the same inode number on two file systems.
fn execute_on_two_file_systems(dir: &Path) -> Expected {
    sh(
        dir,
        "mkdir here there; mount -t tmpfs none here; mount -t tmpfs none there
         cp \"$0\" here/ex-here; cp \"$0\" there/ex-there
         test \"$(stat -c %i here/ex-here)\" = \"$(stat -c %i there/ex-there)\"
         here/ex-here; there/ex-there",
    );
    let names = ["ex-here", "ex-there"].map(str::to_owned);
    names.map(|name| (name.clone(), name, 1.0)).into()
}

/// Executes files one after the other that have the same inode, on a file system that reuses them.
fn execute_in_a_reused_inode(dir: &Path) -> Expected {
    let mut expected = Expected::new();
    let mut inodes = Vec::new();
    for n in 0..10 {
        let name = format!("ex-reused-{n}");
        let path = dir.join(&name);
        copy(nop(), &path, 0);
        inodes.push(fs::metadata(&path).unwrap().ino());
        exec(&path);
        fs::remove_file(&path).unwrap();
        expected.push((name.clone(), name, 1.0));
    }
    inodes.sort_unstable();
    inodes.dedup();
    #[allow(clippy::cast_sign_loss)] // signed on some architectures
    let reuses = statfs(dir).unwrap().f_type as u64 == EXT4;
    assert!(!reuses || inodes.len() < expected.len(), "{inodes:?}");
    assert!(reuses || !in_a_guest(), "guests have a disk with ext4");
    expected
}

fn the_whole_name_of_the_file_that_runs_is_counted(transport: &str) {
    let _programs = Programs::new();
    let (daemon, _config) = with_transport(transport, VIEW);
    let dir = on_disk();
    let mut expected = execute_all_kinds(dir.path());
    expected.extend(execute_under_other_names(dir.path()));
    expected.extend(execute_on_two_file_systems(dir.path()));
    expected.extend(execute_in_a_reused_inode(dir.path()));
    let scrape = daemon.scrape();
    assert_counted(&scrape, &expected);
    let samples = scrape.family("execsnoop_execs_by_exe_comm_total");
    let names: Vec<_> = samples.map(|(sample, _)| sample).collect();
    let has = |exe: &str| names.iter().any(|name| name.contains(exe));
    // The programs' names are numbers on some kernels.
    assert!(has("exe=\"memfd:in-41\""), "{names:?}");
    assert!(has("exe=\"deleted-"), "{names:?}");
}

fn names_of_files_survive_the_daemon(transport: &str) {
    let programs = Programs::new();
    let by_link = programs.named("ex-link");
    let views =
        format!("[capture]\ntransport = \"{transport}\"\n{VIEW}[[view]]\nlabels = [\"exe\"]\n");
    let (config, _dir) = file(&views);
    let dir = on_disk();
    let path = dir.path().join("executed-without-a-daemon");
    copy(nop(), &path, 0);
    let store = Store::new();
    let mut daemon = store.start(&config);
    exec_times(&by_link, 3);
    daemon.scrape();
    for (is_killed, has_other_programs) in [(false, false), (true, false), (false, true)] {
        if is_killed {
            daemon.kill(Signal::KILL);
        } else {
            daemon.stop();
        }
        if has_other_programs {
            fs::write(&config, format!("{views}[[view]]\nlabels = [\"unit\"]\n")).unwrap();
        }
        exec_times(&path, 5);
        exec_times(&by_link, 2);
        daemon = store.start(&config);
        // Saves what a kill would lose.
        daemon.scrape();
    }
    let scrape = daemon.scrape();
    let name = path.file_name().unwrap().to_str().unwrap();
    let counted = vec![
        (name.to_owned(), name[..15].to_owned(), 15.0),
        ("nop".to_owned(), "ex-link".to_owned(), 9.0),
    ];
    assert_counted(&scrape, &counted);
    assert_eq!(handovers(&scrape), [2.0, 1.0]);
    let alone = format!("execsnoop_execs_by_exe_total{{exe=\"{name}\"}}");
    assert_eq!(scrape.value(&alone), 15.0);
}
