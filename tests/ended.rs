//! The daemon ended at each stage of its start and its stop: nothing of it is left in the
//! kernel, the next one takes its place, and SIGTERM always ends it. Needs root.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use testkit::daemon::{Daemon, code, configured, field};
use testkit::http::{Scrape, connect, parsed};
use testkit::programs::{Programs, exec_times};
use testkit::remains::Unheld;
use testkit::unix_http;

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// System calls of a start, in their order, each as "the Nth of this name".
const START: [(&str, u32); 13] = [
    ("bpf", 1),   // what can this kernel do
    ("bpf", 40),  // trying programs out
    ("bpf", 150), // loading the chosen ones
    ("perf_event_open", 1),
    ("perf_event_open", 2), // attached soon after
    ("bind", 1),
    ("listen", 1),
    ("chmod", 1), // of the Unix socket
    ("capset", 1),
    ("capset", 2), // the last capability gone
    ("clone3", 1),
    ("clone3", 2),        // reader and aggregator
    ("epoll_create1", 2), // the runtime
];

/// A daemon on this Unix socket, which gets a signal when it comes to a system call.
fn signalled_at(socket: &Path, (call, nth): (&str, u32), signal: &str) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("inject={call}:signal={signal}:when={nth}"))
        .arg(env!("CARGO_BIN_EXE_execsnoopd"))
        .arg("--config=/dev/null")
        .arg(format!("--web.listen-address=unix:{}", socket.display()))
        .stderr(Stdio::null());
    command
}

/// As strace has it, which ends as the program that it traces does.
#[track_caller]
fn status(command: &mut Command) -> ExitStatus {
    let mut child = command.spawn().expect("strace runs");
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it does not end: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn socket() -> (PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (dir.path().join("web.sock"), dir)
}

#[test]
fn killed_at_any_stage_of_its_start_it_leaves_nothing_that_keeps_the_next_one() {
    let programs = Programs::new();
    let program = programs.named("after-kill");
    let (socket, _dir) = socket();
    let before = Unheld::now();
    for at in START {
        let status = status(&mut signalled_at(&socket, at, "KILL"));
        assert_eq!(status.signal(), Some(9), "{at:?}: {status}");
    }
    before.await_no_more();
    assert!(socket.exists(), "it is left behind");
    takes_over(&socket, &program);
}

/// A daemon listens on this socket, counts exactly, and takes the socket with it.
fn takes_over(socket: &Path, program: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_execsnoopd"));
    command.arg("--config=/dev/null");
    let daemon = Daemon::spawn_with(command, |command| {
        command.arg(format!("--web.listen-address=unix:{}", socket.display()));
    });
    unix_http::scrape(socket);
    exec_times(program, 5);
    let name = program.file_name().unwrap().to_str().unwrap();
    let scrape = unix_http::scrape(socket);
    assert_eq!(scrape.execs_of(name), 5.0);
    scrape.assert_ledger_closes();
    daemon.stop();
    assert!(!socket.exists());
}

#[test]
fn killed_at_any_stage_of_its_stop_it_leaves_nothing_that_keeps_the_next_one() {
    let programs = Programs::new();
    let program = programs.named("after-stop");
    let (socket, _dir) = socket();
    let before = Unheld::now();
    // The socket is about to be removed; everything is done.
    for at in [("unlink", 1), ("exit_group", 1)] {
        let mut daemon = signalled_at(&socket, at, "KILL").spawn().unwrap();
        unix_http::scrape(&socket);
        let traced = fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.id()));
        let traced = traced.unwrap().trim().parse().unwrap();
        let traced = rustix::process::Pid::from_raw(traced).unwrap();
        rustix::process::kill_process(traced, Signal::TERM).unwrap();
        assert_eq!(daemon.wait().unwrap().signal(), Some(9), "{at:?}");
    }
    before.await_no_more();
    takes_over(&socket, &program);
}

#[test]
fn terminated_at_any_stage_of_its_start_it_ends() {
    let _alone = Programs::new();
    let (socket, _dir) = socket();
    let before = Unheld::now();
    for at in START {
        let status = status(&mut signalled_at(&socket, at, "TERM"));
        // Until it waits for signals, the kernel ends it.
        let ended = status.signal() == Some(15) || status.code() == Some(0);
        assert!(ended, "{at:?}: {status}");
    }
    before.await_no_more();
}

#[test]
fn terminated_again_and_again_it_still_ends_as_if_once() {
    let _alone = Programs::new();
    let mut daemon = Daemon::start(&[]);
    daemon.scrape();
    // Keeps it from ending at once.
    let mut client = connect(daemon.address);
    client.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    for _ in 0..3 {
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            daemon.signal(signal);
        }
    }
    let last = daemon.await_log("\"message\":\"stopped\"");
    assert_eq!(field(&last, "ledger_difference"), "0");
    assert_eq!(code(daemon.wait()), 0);
}

#[test]
fn a_scrape_that_meets_the_end_is_answered_whole_or_not_at_all() {
    let programs = Programs::new();
    let program = programs.named("at-the-end");
    let mut daemon = Daemon::start(&[]);
    daemon.scrape();
    exec_times(&program, 30);
    let mut clients: Vec<_> = (0..8).map(|_| connect(daemon.address)).collect();
    // All of it comes to it at once.
    daemon.signal(Signal::STOP);
    for client in &mut clients {
        let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        client.write_all(request).unwrap();
    }
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    for client in &mut clients {
        let mut bytes = Vec::new();
        // It may be reset.
        let _ = client.read_to_end(&mut bytes);
        if bytes.is_empty() {
            continue;
        }
        let answer = parsed(&bytes);
        let length = answer.header("content-length").unwrap();
        assert_eq!(length, answer.body.len().to_string());
        // It may come when the last counts have been read.
        if answer.status == 503 {
            continue;
        }
        assert_eq!(answer.status, 200);
        let scrape = Scrape::parse(&answer.text());
        assert_eq!(scrape.execs_of("at-the-end"), 30.0);
        scrape.assert_ledger_closes();
    }
    let last = daemon.await_log("\"message\":\"stopped\"");
    assert_eq!(field(&last, "ledger_difference"), "0");
    assert_eq!(code(daemon.wait()), 0);
}

#[test]
fn a_reload_that_hangs_keeps_nothing_from_being_answered_nor_the_daemon_from_ending() {
    let programs = Programs::new();
    let program = programs.named("in-a-reload");
    let (mut daemon, dir) = configured("");
    let config = dir.path().join("config.toml");
    fs::remove_file(&config).unwrap();
    let made = Command::new("mkfifo").arg(&config).status().unwrap();
    assert!(made.success());
    daemon.signal(Signal::HUP);
    // It is opened as soon as the daemon reads, which ends when it is closed.
    let _hanging = File::options().write(true).open(&config).unwrap();
    exec_times(&program, 20);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("in-a-reload"), 20.0);
    daemon.signal(Signal::TERM);
    let last = daemon.await_log("\"message\":\"stopped\"");
    assert_eq!(field(&last, "ledger_difference"), "0");
    assert_eq!(code(daemon.wait()), 0);
}
