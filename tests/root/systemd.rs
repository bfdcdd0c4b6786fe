//! Notifications, reloads and passed sockets, with the test in the role of systemd.

use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use testkit::daemon::{Daemon, field};
use testkit::http::{Scrape, answer, connect};
use testkit::notified::Notified;
use testkit::paths::public_dir;
use testkit::programs::{Programs, exec_times};

#[test]
fn systemd_is_notified_of_start_progress_and_stop() {
    let notified = Notified::new();
    let daemon = Daemon::start_with(&[], |command| {
        notified.by(command);
        command.env("WATCHDOG_USEC", "200000");
    });
    let ready = notified.receive();
    assert!(ready.contains("READY=1"), "{ready}");
    assert!(
        ready.contains("STATUS=Counting execs by tp_btf/sched_process_exec"),
        "{ready}"
    );
    for _ in 0..3 {
        let fed = notified.receive();
        assert!(
            fed.contains("WATCHDOG=1") && fed.contains("STATUS=Counting"),
            "{fed}"
        );
    }
    daemon.signal(Signal::TERM);
    notified.await_line("STOPPING=1");
    daemon.stop();
}

#[test]
fn a_reload_applies_what_can_change_and_reports_to_systemd_what_cannot() {
    let programs = Programs::new();
    let program = programs.named("reloaded");
    let notified = Notified::new();
    let dir = public_dir();
    let config = dir.path().join("config.toml");
    let write = |text: &str| std::fs::write(&config, text).unwrap();
    write("[[view]]\nlabels = [\"comm\"]\n");
    // Flags override the file after a reload, too, so the address stays.
    let mut daemon = Daemon::start_with(&["--config", path(&config)], |command| {
        notified.by(command);
        command.env("WATCHDOG_USEC", "200000");
    });
    notified.await_line("READY=1");
    exec_times(&program, 3);
    assert_eq!(daemon.scrape().execs_of("reloaded"), 3.0);

    write("[log]\nlevel = \"debug\"\n[[view]]\nlabels = [\"comm\"]\nmax_series = 7\n");
    daemon.signal(Signal::HUP);
    let reloading = notified.await_line("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    let ready = notified.await_line("READY=1");
    assert!(ready.contains("STATUS=Counting execs by"), "{ready}");
    daemon.await_log("\"message\":\"configuration reloaded\"");
    exec_times(&program, 2);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("reloaded"), 5.0);
    let limit = "execsnoop_series_limit{view=\"comm\"}";
    assert_eq!(scrape.value(limit), 7.0);

    write("[web]\nmax_connections = 5\n[[view]]\nlabels = [\"comm\"]\nmax_series = 8\n");
    daemon.signal(Signal::HUP);
    notified.await_line("RELOADING=1");
    let why = "configuration not reloaded: web.max_connections can only change by a restart";
    let ready = notified.await_line("READY=1");
    assert!(ready.contains(why), "{ready}");
    // systemd's status shows the reason until a configuration is accepted.
    let fed = notified.await_line("WATCHDOG=1");
    assert!(fed.contains(why), "{fed}");
    let line = daemon.await_log("the running one stays");
    assert_eq!(field(&line, "level"), "ERROR");
    assert_eq!(daemon.scrape().value(limit), 7.0);
    daemon.stop();
}

#[test]
fn a_passed_socket_replaces_the_address_and_earlier_connections_are_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut early = connect(address);
    early
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();

    // systemd passes the first socket as descriptor 3.
    let mut command = Command::new("sh");
    command
        .args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0"])
        .arg(env!("CARGO_BIN_EXE_execsnoopd"))
        .stdin(Stdio::from(OwnedFd::from(listener)));
    let daemon = Daemon::spawn(command);
    assert_eq!(daemon.address, address);
    let answered = answer(&mut early);
    assert_eq!(answered.status, 200);
    Scrape::parse(&answered.text()).assert_ledger_closes();
    daemon.stop();
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
