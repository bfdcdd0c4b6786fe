//! Signals at each stage of the start and the stop. The daemon leaves nothing in the kernel and nothing
//! that blocks the next daemon, and SIGTERM always ends it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use testkit::bpf_objects::Unheld;
use testkit::daemon::{Daemon, code, configured, field};
use testkit::host;
use testkit::http::{Scrape, connect, parsed};
use testkit::paths::directory_of_nobody;
use testkit::programs::{Programs, exec_times};
use testkit::unix_http;

/// How long the daemon may take to exit.
const PATIENCE: Duration = Duration::from_secs(60);

/// System calls of a start, in order: the name, and 1 for the first call of this name.
const START: [(&str, u32); 13] = [
    ("epoll_create1", 1), // the runtime, before the configuration is read
    ("bpf", 1),           // asks what this kernel supports
    ("bpf", 40),          // tries programs
    ("bpf", 150),         // loads the chosen programs
    ("perf_event_open", 1),
    ("perf_event_open", 2), // soon followed by attaching the programs
    ("bind", 1),
    ("listen", 1),
    ("chmod", 1), // of the Unix socket
    ("capset", 1),
    ("capset", 2), // drops the last capability
    ("clone3", 1),
    ("clone3", 2), // the reader, then the aggregator
];

/// A daemon that listens on this Unix socket and receives a signal at a system call.
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

/// The exit status of strace, which is that of the daemon.
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
            panic!("no exit: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn socket() -> (PathBuf, tempfile::TempDir) {
    let dir = directory_of_nobody();
    (dir.path().join("web.sock"), dir)
}

#[test]
fn sigkill_at_any_stage_of_the_start_leaves_nothing_that_blocks_the_next_start() {
    let programs = Programs::new();
    let program = programs.named("after-kill");
    let (socket, _dir) = socket();
    let before = Unheld::now();
    for at in START {
        let status = status(&mut signalled_at(&socket, at, "KILL"));
        assert_eq!(status.signal(), Some(9), "{at:?}: {status}");
    }
    before.await_no_others();
    assert!(socket.exists(), "the socket is left behind");
    takes_over(&socket, &program);
}

/// Asserts that a daemon can listen on this socket, counts exactly, and removes the socket.
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
fn sigkill_at_any_stage_of_the_stop_leaves_nothing_that_blocks_the_next_start() {
    let programs = Programs::new();
    let program = programs.named("after-stop");
    let (socket, _dir) = socket();
    let before = Unheld::now();
    // Just before the socket is removed, and when everything is done.
    for at in [("unlink", 1), ("exit_group", 1)] {
        let mut daemon = signalled_at(&socket, at, "KILL").spawn().unwrap();
        unix_http::scrape(&socket);
        rustix::process::kill_process(traced(&daemon), Signal::TERM).unwrap();
        assert_eq!(daemon.wait().unwrap().signal(), Some(9), "{at:?}");
    }
    before.await_no_others();
    takes_over(&socket, &program);
}

#[test]
fn sigterm_at_any_stage_of_the_start_ends_the_daemon() {
    let _exclusive = host::exclusive();
    let (socket, _dir) = socket();
    let before = Unheld::now();
    for at in START {
        let status = status(&mut signalled_at(&socket, at, "TERM"));
        assert_eq!(status.code(), Some(0), "{at:?}: {status}");
    }
    before.await_no_others();
    assert!(!socket.exists(), "the socket is removed");
}

#[test]
fn sigterm_while_the_configuration_is_read_ends_the_daemon_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let made = Command::new("mkfifo").arg(&config).status().unwrap();
    assert!(made.success());
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
            .arg("--config")
            .arg(&config)
            .spawn()
            .unwrap();
        // `open` returns once the daemon opens the FIFO. The daemon then waits until it is closed.
        let _hanging = File::options().write(true).open(&config).unwrap();
        rustix::process::kill_process(Pid::from_child(&daemon), signal).unwrap();
        assert_eq!(code(daemon.wait().unwrap()), 0);
    }
}

#[test]
fn a_sighup_during_the_start_reloads_after_it() {
    let _exclusive = host::exclusive();
    let (socket, _dir) = socket();
    for at in START {
        let mut command = signalled_at(&socket, at, "HUP");
        let mut strace = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(strace.stderr.take().unwrap()).lines();
        let lines: Vec<_> = log
            .map(Result::unwrap)
            .take_while(|line| !line.contains("configuration reloaded"))
            .collect();
        let last = lines.last().expect("the daemon logs");
        assert!(last.contains("listening"), "{at:?}: {lines:#?}");
        let daemon = traced(&strace);
        rustix::process::kill_process(daemon, Signal::TERM).unwrap();
        assert_eq!(code(strace.wait().unwrap()), 0, "{at:?}");
    }
}

/// The process that strace runs.
fn traced(strace: &Child) -> Pid {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", strace.id()));
    Pid::from_raw(children.unwrap().trim().parse().unwrap()).unwrap()
}

#[test]
fn repeated_signals_stop_the_daemon_like_a_single_one() {
    let _exclusive = host::exclusive();
    let mut daemon = Daemon::start(&[]);
    daemon.scrape();
    // An unfinished request keeps the daemon from exiting at once.
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
fn a_scrape_during_the_stop_is_answered_completely_or_not_at_all() {
    let programs = Programs::new();
    let program = programs.named("at-the-end");
    let mut daemon = Daemon::start(&[]);
    daemon.scrape();
    exec_times(&program, 30);
    let mut clients: Vec<_> = (0..8).map(|_| connect(daemon.address)).collect();
    // The daemon is stopped meanwhile, so that it finds the requests and SIGTERM at the same time.
    daemon.signal(Signal::STOP);
    for client in &mut clients {
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        client.write_all(request).unwrap();
    }
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    for client in &mut clients {
        let mut bytes = Vec::new();
        // The daemon may reset the connection, which is not an error here.
        let _ = client.read_to_end(&mut bytes);
        if bytes.is_empty() {
            continue;
        }
        let answer = parsed(&bytes);
        let length = answer.header("content-length").unwrap();
        assert_eq!(length, answer.body.len().to_string());
        // The request may arrive after the last counts have been read.
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
fn a_hanging_reload_blocks_neither_answers_nor_the_stop() {
    let programs = Programs::new();
    let program = programs.named("in-a-reload");
    let (mut daemon, dir) = configured("");
    let config = dir.path().join("config.toml");
    fs::remove_file(&config).unwrap();
    let made = Command::new("mkfifo").arg(&config).status().unwrap();
    assert!(made.success());
    daemon.signal(Signal::HUP);
    // `open` returns once the daemon opens the FIFO. The daemon then waits until the FIFO is closed.
    let _hanging = File::options().write(true).open(&config).unwrap();
    exec_times(&program, 20);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("in-a-reload"), 20.0);
    daemon.signal(Signal::TERM);
    let last = daemon.await_log("\"message\":\"stopped\"");
    assert_eq!(field(&last, "ledger_difference"), "0");
    assert_eq!(code(daemon.wait()), 0);
}
