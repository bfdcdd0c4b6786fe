//! The daemon with a web configuration and the privileges of the systemd unit.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::certificates::Authority;
use testkit::confined::{public_copy, unit_capabilities};
use testkit::daemon::{Daemon, code, field};
use testkit::http::{get, parsed};
use testkit::tls::Client;
use testkit::web::{ALICE, MUTUAL, TLS, WebDir, users};

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
fn certificates_that_are_rejected_or_left_out_are_in_the_log() {
    let authority = Authority::new("ours");
    let dir = WebDir::tls(&format!("{TLS}{MUTUAL}"), &authority);
    let mut daemon = Daemon::start(&[&format!("--web.config.file={}", dir.web_config().display())]);
    let address = daemon.address;
    let ask = |identity| {
        let client = Client::with(&authority.pem, &identity);
        client.request(address, "/metrics", "")
    };
    let damaged = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    dir.write("ca.crt", &format!("{damaged}{}", authority.pem));
    for _ in 0..3 {
        assert_eq!(ask(authority.client()).unwrap().status, 200);
    }
    let line = daemon.await_log("left out");
    let is_located = line.contains("client_ca_file") && line.contains("line 1: ");
    assert!(is_located, "{line}");
    let stranger = Authority::new("theirs");
    for _ in 0..3 {
        assert!(ask(stranger.client()).is_err());
    }
    let line = daemon.await_log("rejected a client certificate");
    assert!(
        line.contains("no authority of client_ca_file signed it"),
        "{line}"
    );
    let rest = daemon.stop_logging();
    let repeated = |line: &String| line.contains("rejected a client") || line.contains("left out");
    assert!(!rest.iter().any(repeated), "{rest:#?}");
}

#[test]
fn a_check_as_root_names_files_that_the_service_cannot_read() {
    let dir = WebDir::tls(TLS, &Authority::new("ours"));
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let (key, web) = (dir.path().join("server.key"), dir.web_config());
    set_mode(dir.path(), 0o755);
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_execsnoopd"));
        command.args(["--config=/dev/null", "--check", "--web.config.file"]);
        let output = command.arg(&web).output().unwrap();
        assert_eq!(code(output.status), 0);
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(check(), "");
    set_mode(&key, 0o600);
    let expected = format!("execsnoopd: {} can only be read by root", key.display());
    let notice = check();
    assert!(
        notice.starts_with(&expected) && notice.contains("LoadCredential="),
        "{notice}"
    );
    chown(&key, None, Some(NOBODY)).unwrap();
    set_mode(&key, 0o640);
    let notice = check();
    assert!(notice.contains("SupplementaryGroups=nogroup;"), "{notice}");

    // Check what the service, as an unprivileged user, would report.
    set_mode(&key, 0o600);
    let (program, _program_dir) = public_copy();
    let mut command = Command::new(program);
    command.args(["--config=/dev/null", "--check", "--web.config.file"]);
    let output = command.arg(&web).uid(NOBODY).gid(NOBODY).output().unwrap();
    assert_eq!(code(output.status), 1);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("Permission denied"), "{message}");
    assert!(
        message.contains("user ID 65534 may not read it"),
        "{message}"
    );
}

#[test]
fn probes_need_no_password_at_the_addresses_of_probe_listen() {
    let dir = WebDir::new(&users(&["alice"]));
    dir.write(
        "config.toml",
        "[web]\nconfig_file = \"web.yml\"\nprobe_listen = [\"127.0.0.2:0\"]\n",
    );
    let config = dir.path().join("config.toml");
    let mut daemon = Daemon::start(&["--config", config.to_str().unwrap()]);
    let line = daemon.await_log("127.0.0.2:");
    let probes = field(&line, "address").parse().unwrap();
    for (path, with_users, without) in [
        ("/-/healthy", 401, 200),
        ("/-/ready", 401, 200),
        ("/metrics", 401, 404),
        ("/", 401, 404),
    ] {
        assert_eq!(get(daemon.address, path).status, with_users, "{path}");
        assert_eq!(get(probes, path).status, without, "{path}");
    }
    daemon.stop();
}

#[test]
fn one_warning_is_logged_if_the_daemon_listens_beyond_loopback_without_users() {
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

/// The log of a daemon until it listens. The daemon runs in a network namespace, so that it is not
/// reachable.
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
