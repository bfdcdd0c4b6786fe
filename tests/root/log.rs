//! A log that cannot be written because the disk is full, or because the reader of its pipe has exited
//! or does not read. The daemon still counts, answers and stops, and it counts the lost lines.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::daemon::code;
use testkit::host;
use testkit::http::Scrape;
use testkit::paths::directory_of_nobody;
use testkit::programs::{Programs, exec_times};
use testkit::unix_http;

const LOST: &str = "execsnoop_log_lines_lost_total";
/// The capacity of a pipe.
const PIPE: usize = 65536;
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon whose log the test does not have to read. It is killed when the value is dropped.
struct Unread {
    child: Child,
    socket: PathBuf,
    _dir: TempDir,
}

impl Unread {
    fn start(log: impl Into<Stdio>, args: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_execsnoopd")), log, args)
    }

    fn start_by(mut command: Command, log: impl Into<Stdio>, args: &[&str]) -> Self {
        let dir = directory_of_nobody();
        let socket = dir.path().join("web.sock");
        let child = command
            .args(args)
            .arg(format!("--web.listen-address=unix:{}", socket.display()))
            .arg("--config=/dev/null")
            .stderr(log)
            .spawn()
            .expect("the daemon can be started");
        Self {
            child,
            socket,
            _dir: dir,
        }
    }

    fn scrape(&self) -> Scrape {
        unix_http::scrape(&self.socket)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(code(self.child.wait().unwrap()), 0);
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn an_unwritable_log_loses_its_lines_and_nothing_else() {
    let programs = Programs::new();
    let program = programs.named("unlogged");
    for format in ["--log.format=logfmt", "--log.format=json"] {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let daemon = Unread::start(File::create(&log).unwrap(), &[format]);
        assert_eq!(daemon.scrape().value(LOST), 0.0);
        let lines = fs::read_to_string(&log).unwrap().lines().count();
        assert!(lines > 2, "{lines} lines");
        daemon.stop();

        let full_disk = File::options().write(true).open("/dev/full").unwrap();
        let (_, no_reader) = pipe().unwrap();
        let (_hanging, mut full_pipe) = pipe().unwrap();
        full_pipe.write_all(&vec![b'x'; PIPE]).unwrap();
        let logs: [Stdio; 3] = [full_disk.into(), no_reader.into(), full_pipe.into()];
        for (log, what) in logs
            .into_iter()
            .zip(["full disk", "no reader", "full pipe"])
        {
            let daemon = Unread::start(log, &[format]);
            daemon.scrape();
            exec_times(&program, 10);
            let scrape = daemon.scrape();
            assert_eq!(scrape.execs_of("unlogged"), 10.0, "{what}");
            assert_eq!(scrape.value(LOST), lines as f64, "{what}");
            scrape.assert_ledger_closes();
            daemon.stop();
        }
    }
}

#[test]
fn the_log_continues_once_its_pipe_is_read() {
    let _exclusive = host::exclusive();
    let (mut reader, mut writer) = pipe().unwrap();
    writer.write_all(&vec![b'x'; PIPE]).unwrap();
    let daemon = Unread::start(writer, &[]);
    let lost = daemon.scrape().value(LOST);
    assert!(lost > 2.0, "{lost}");
    reader.read_exact(&mut vec![0; PIPE]).unwrap();
    daemon.signal(Signal::HUP);
    let mut line = String::new();
    BufReader::new(&mut reader).read_line(&mut line).unwrap();
    assert!(line.contains("configuration reloaded"), "{line}");
    assert_eq!(daemon.scrape().value(LOST), lost);
    daemon.stop();
}

#[test]
fn the_log_continues_once_its_disk_has_space() {
    let _exclusive = host::exclusive();
    let disk = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(
            "mount -t tmpfs -o size=64k tmpfs \"$0\" && : >\"$0/log\" && \
             { head -c 1000000 /dev/zero >\"$0/filler\"; exec \"$@\" 2>\"$0/log\"; }",
        )
        .arg(disk.path())
        .arg(env!("CARGO_BIN_EXE_execsnoopd"));
    let daemon = Unread::start_by(command, Stdio::null(), &[]);
    let lost = daemon.scrape().value(LOST);
    assert!(lost > 2.0, "{lost}");
    let on_disk = |name| -> PathBuf {
        // Only the mount namespace of the daemon has this disk.
        let root = format!("/proc/{}/root{}", daemon.child.id(), disk.path().display());
        Path::new(&root).join(name)
    };
    assert_eq!(fs::read_to_string(on_disk("log")).unwrap(), "");
    fs::remove_file(on_disk("filler")).unwrap();
    daemon.signal(Signal::HUP);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = fs::read_to_string(on_disk("log")).unwrap();
        if log.contains("configuration reloaded") {
            break;
        }
        assert!(Instant::now() < deadline, "{log}");
        sleep(Duration::from_millis(10));
    }
    assert_eq!(daemon.scrape().value(LOST), lost);
    daemon.stop();
}

#[test]
fn without_a_log_the_exit_status_still_shows_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    fs::write(&config, "[web]\nlistne = []\n").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
        .arg("--config")
        .arg(&config)
        .stderr(File::options().write(true).open("/dev/full").unwrap())
        .status()
        .unwrap();
    assert_eq!(code(status), 78);
}
