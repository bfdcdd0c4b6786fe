//! The daemon with a web configuration and the privileges of the systemd unit.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use testkit::certificates::Authority;
use testkit::confined::{public_copy, unit_capabilities};
use testkit::daemon::Daemon;
use testkit::http::parsed;
use testkit::tls::Client;
use testkit::web::{ALICE, TLS, WebDir, users};

const NOBODY: u32 = 65534;

#[test]
fn the_unprivileged_daemon_serves_tls_and_loads_new_certificates() {
    let authority = Authority::new("ours");
    let with_users = format!("{TLS}{}", users(&["alice"]));
    let dir = WebDir::tls(&with_users, &authority);
    chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let socket = dir.path().join("web.sock");
    let (program, _program_dir) = public_copy();
    let mut command = unit_capabilities(&program);
    command.arg(format!("--web.config.file={}", dir.web_config().display()));
    let mut daemon = Daemon::spawn_with(command, |command| {
        command.arg(format!("--web.listen-address=unix:{}", socket.display()));
    });
    let client = Client::trusting(&authority.pem);
    let address = daemon.address;
    let ask = |client: &Client, headers| client.request(address, "/metrics", headers);
    assert_eq!(ask(&client, "").unwrap().status, 401);
    let metrics = ask(&client, ALICE).unwrap();
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("\nexecsnoop_execs_total "));

    let renewed = Authority::new("renewed");
    dir.identity("server", &renewed.server());
    let client = Client::trusting(&renewed.pem);
    assert_eq!(ask(&client, ALICE).unwrap().status, 200);

    daemon.await_log("unix:"); // the daemon listens on the socket, too
    let metadata = std::fs::symlink_metadata(&socket).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o660, NOBODY));
    let mut stream = client.shake(UnixStream::connect(&socket).unwrap()).unwrap();
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{ALICE}\r\n"
    )
    .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(parsed(&bytes).status, 200);

    dir.write("web.yml", "tls_server_config:\n  cert: [\n");
    assert!(client.connect(address).is_err());
    let line = daemon.await_log("web configuration cannot be used");
    let place = format!("{}:", dir.web_config().display());
    assert!(line.contains(&place) && line.contains("ERROR"), "{line}");
    dir.write("web.yml", &with_users);
    assert_eq!(ask(&client, ALICE).unwrap().status, 200);
    daemon.await_log("web configuration can be used again");

    daemon.stop();
    assert!(!socket.exists(), "the socket is removed");
}

#[test]
fn listening_beyond_loopback_without_users_is_warned_about_once() {
    let dir = WebDir::new(&users(&["alice"]));
    let with_users = format!("--web.config.file={}", dir.web_config().display());
    for (args, warnings) in [
        (
            &["--web.listen-address=:0", "--web.listen-address=:0"][..],
            1,
        ),
        (
            &[
                "--web.listen-address=127.0.0.1:0",
                "--web.listen-address=127.0.0.2:0",
            ],
            0,
        ),
        (&["--web.listen-address=:0", &with_users], 0),
    ] {
        let log = log_until_listening(args);
        let warned = log
            .iter()
            .filter(|line| line.contains("any client that can reach this host"));
        assert_eq!(warned.count(), warnings, "{args:?}: {log:#?}");
    }
}

/// The log of a daemon until it listens, in a network namespace, so that it is not reachable.
fn log_until_listening(args: &[&str]) -> Vec<String> {
    let mut daemon = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up && exec \"$0\" \"$@\"",
        ])
        .arg(env!("CARGO_BIN_EXE_execsnoopd"))
        .args(["--config=/dev/null", "--log.format=json"])
        .args(args)
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    let mut log = Vec::new();
    for line in BufReader::new(daemon.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        let listening = line.contains("\"message\":\"listening\"");
        log.push(line);
        if listening {
            break;
        }
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(
        log.last().is_some_and(|line| line.contains("listening")),
        "{log:#?}"
    );
    log
}
