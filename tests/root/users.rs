//! The names of users in metrics while the name service does not answer.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::libc::{ENXIO, O_NONBLOCK};
use tempfile::TempDir;
use testkit::daemon::{Daemon, field};
use testkit::mounts::in_mount_namespace;
use testkit::programs::{Programs, exec_times};

/// How long a test waits for a name before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

const ROOT: &str = "execsnoop_execs_by_uid_total{uid=\"0\",user=\"root\"}";
const NAMELESS: &str = "execsnoop_execs_by_uid_total{uid=\"0\",user=\"\"}";

/// A daemon whose `/etc/passwd` is a FIFO. Opening it to read blocks until another process opens it to
/// write.
fn without_an_answer() -> (Daemon, PathBuf, [TempDir; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let passwd = dir.path().join("passwd");
    let fifo = passwd.display();
    let prepare = format!("mkfifo {fifo} && mount --bind {fifo} /etc/passwd");
    let (command, config) = in_mount_namespace(&prepare, "");
    (Daemon::spawn(command), passwd, [dir, config])
}

/// Provides the name of root to a process that waits for it. Returns whether there was one.
fn answer(passwd: &Path) -> bool {
    let mut options = File::options();
    match options.write(true).custom_flags(O_NONBLOCK).open(passwd) {
        // A reader that has just finished may close the FIFO before the line is written.
        Ok(mut fifo) => fifo.write_all(b"root:x:0:0:root:/root:/bin/sh\n").is_ok(),
        Err(error) if error.raw_os_error() == Some(ENXIO) => false, // there is no reader
        Err(error) => panic!("{}: {error}", passwd.display()),
    }
}

#[test]
fn while_a_lookup_hangs_scrapes_are_exact_without_names_and_the_daemon_can_be_stopped() {
    let programs = Programs::new();
    let program = programs.named("nameless");
    let (mut daemon, _passwd, _dirs) = without_an_answer();
    for n in 1..=3 {
        exec_times(&program, 10);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("nameless"), f64::from(10 * n));
        assert!(scrape.value(NAMELESS) >= f64::from(10 * n));
        assert_eq!(scrape.find(ROOT), None);
        scrape.assert_ledger_closes();
    }
    let logged = daemon.await_log("looking up user names failed");
    assert_eq!(field(&logged, "why"), "it takes more than 0.1 s");
    assert_eq!(field(&daemon.stop(), "ledger_difference"), "0");
}

#[test]
fn a_delayed_lookup_still_provides_the_name() {
    let programs = Programs::new();
    let program = programs.named("named");
    let (daemon, passwd, _dirs) = without_an_answer();
    exec_times(&program, 10);
    let nameless = daemon.scrape().value(NAMELESS);
    let deadline = Instant::now() + PATIENCE;
    let scrape = loop {
        let answered = answer(&passwd);
        let scrape = daemon.scrape();
        if scrape.find(ROOT).is_some() {
            break scrape;
        }
        assert!(Instant::now() < deadline, "answered: {answered}");
        sleep(Duration::from_millis(10));
    };
    // The same series now has its name.
    assert!(scrape.value(ROOT) >= nameless);
    assert_eq!(scrape.find(NAMELESS), None);
    assert_eq!(scrape.execs_of("named"), 10.0);
    scrape.assert_ledger_closes();
    daemon.stop();
}
