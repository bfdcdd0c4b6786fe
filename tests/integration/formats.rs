//! The text and the protobuf format of the metrics.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use execsnoopd::config::Config;
use execsnoopd::metrics::{Format, Metrics};
use execsnoopd::names::users::UserNames;
use execsnoopd::pipeline::snapshot::Snapshot;
use execsnoopd::pipeline::view::{Counts, Key, Label, SeriesCounts, ViewCounts};
use execsnoopd::record::WaitStatus;
use execsnoopd::sys::clock::Timestamp;
use testkit::busy::busy;
use testkit::bytes::encode;
use testkit::fake::event;
use testkit::fixed::Fixed;
use testkit::http::{get, request};
use testkit::protobuf::{ACCEPT, Decoded};
use testkit::service::{Service, capture_info};

/// Leaves out the metrics that change from scrape to scrape.
fn stable(text: &str) -> String {
    let lines = text.lines();
    let stable =
        lines.filter(|line| !line.contains("process_") && !line.contains("scrape_duration"));
    stable.fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn both_formats_contain_the_same_families_labels_and_values() {
    let mut snapshot = busy();
    // Label values that the text format escapes, and names that the daemon escapes.
    for comm in [&b"a\"b\\c"[..], b"new\nline", "émacs".as_bytes(), b"\xff"] {
        let mut key = Key::default();
        key.comm[..comm.len()].copy_from_slice(comm);
        snapshot.views[0].series.push(SeriesCounts {
            key: key.into(),
            counts: Counts {
                execs: u64::MAX,
                cpu_ns: 1,
                ..Counts::default()
            },
            failures: None,
            start: Timestamp::default(),
        });
    }
    let server = Fixed::serve(snapshot, &capture_info());
    let text = get(server.address, "/metrics").text();
    let protobuf = request(server.address, "GET", "/metrics", ACCEPT);
    assert_eq!(stable(&Decoded::of(&protobuf.body).text), stable(&text));
    assert!(text.matches("# TYPE ").count() > 30, "{text}");
}

#[test]
fn protobuf_is_sent_only_if_the_client_asks_for_it() {
    let server = Fixed::serve(busy(), &capture_info());
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    for (accept, expected) in [
        ("", text),
        ("Accept: */*\r\n", text), // curl
        (ACCEPT, protobuf),
        (&ACCEPT.replace("delimited", "text"), text),
        (&ACCEPT.replace("\r\n", ";q=0.1,text/plain;q=0.2\r\n"), text),
    ] {
        let answer = request(server.address, "GET", "/metrics", accept);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(expected), "{accept}");
        assert_eq!(answer.header("vary"), Some("accept, accept-encoding"));
        let head = request(server.address, "HEAD", "/metrics", accept);
        assert_eq!(head.header("content-type"), Some(expected), "{accept}");
    }
}

#[test]
fn protobuf_is_compressed_for_clients_that_accept_it() {
    let server = Fixed::serve(busy(), &capture_info());
    let plain = request(server.address, "GET", "/metrics", ACCEPT);
    let headers = format!("{ACCEPT}Accept-Encoding: gzip\r\n");
    let gzip = request(server.address, "GET", "/metrics", &headers);
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert!(gzip.body.len() < plain.body.len() / 2);
    let of = |bytes: &[u8]| stable(&Decoded::of(bytes).text);
    assert_eq!(of(&gunzip(&gzip.body)), of(&plain.body));
}

fn gunzip(gzip: &[u8]) -> Vec<u8> {
    let mut command = Command::new("gunzip");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gunzip runs");
    // The answer is smaller than the buffer of a pipe.
    child.stdin.take().unwrap().write_all(gzip).unwrap();
    let mut plain = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut plain)
        .unwrap();
    assert!(child.wait().unwrap().success());
    plain
}

#[test]
fn each_counter_has_the_start_timestamp_of_its_series() {
    let at = |second: u64| Timestamp::from_unix_ms(second * 1000 + 250);
    let series = |uid, second| SeriesCounts {
        key: Arc::new(Key {
            uid,
            ..Key::default()
        }),
        counts: Counts {
            execs: 1,
            cpu_ns: 1,
            ..Counts::default()
        },
        failures: None,
        start: at(second),
    };
    let view = |labels: &[Label], second| ViewCounts {
        labels: labels.to_vec(),
        series: vec![series(7, 30), series(8, 20)],
        start: at(second),
        ..ViewCounts::default()
    };
    let mut snapshot = Snapshot {
        start: at(10),
        views: vec![view(&[Label::Uid], 10), view(&[Label::User], 15)],
        exit_starts: [
            (WaitStatus::Exited(0), at(40)),
            (WaitStatus::Signaled(9), at(50)),
        ]
        .into(),
        failure_starts: [(2, at(60)), (20, at(70))].into(),
        ..Snapshot::default()
    };
    for status in [0, 9] {
        snapshot.flush.exits.add(status, 1);
    }
    for errno in [2, 20] {
        snapshot.flush.failures.add(errno, 1);
    }
    let metrics = Metrics::new(capture_info()).unwrap();
    let protobuf = metrics.encode(&snapshot, &UserNames::default(), Format::Protobuf);
    let decoded = Decoded::of(&protobuf);
    for (sample, second) in [
        ("execs_total", 10),
        ("process_lifetime_seconds", 10),
        ("execs_per_second", 10),
        ("lost_events_total{reason=\"other\"}", 10),
        ("execs_by_uid_total{uid=\"other\"}", 10),
        ("execs_by_uid_total{uid=\"7\"}", 30),
        ("execs_by_uid_total{uid=\"8\"}", 20),
        ("cpu_seconds_by_uid_total{uid=\"7\"}", 30),
        // Both uids have no name, and are one series.
        ("execs_by_user_total{user=\"\"}", 20),
        ("execs_by_user_total{user=\"other\"}", 15),
        ("series_overflow_total{view=\"user\"}", 15),
        // Contains what was counted before the view existed.
        ("series_yielded_execs_total{view=\"user\"}", 10),
        // These have a sample of value 0 from the start.
        ("exits_total{reason=\"exited\",code=\"0\"}", 10),
        ("exec_failures_total{errno=\"ENOENT\"}", 10),
        ("exits_total{reason=\"signaled\",code=\"SIGKILL\"}", 50),
        ("exec_failures_total{errno=\"ENOTDIR\"}", 70),
    ] {
        let start = decoded.start(&format!("execsnoop_{sample}"));
        assert_eq!(start, at(second).unix_ms(), "{sample}");
    }
    // Every counter and histogram of the snapshot has one, and nothing else.
    let samples = decoded.text.lines().filter(|line| !line.starts_with('#'));
    for sample in samples {
        let (series, _) = sample.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let is_counter = name.ends_with("_total") && !name.starts_with("process_cpu");
        let has_start = decoded.starts.contains_key(series);
        assert_eq!(has_start, is_counter, "{sample}");
    }
    assert!(!decoded.text.contains("_created"));
}

#[test]
fn a_series_starts_between_the_scrapes_around_its_first_exec() {
    let service = Service::start(&Config::default());
    let scrape = || {
        let answer = request(service.address, "GET", "/metrics", ACCEPT);
        assert_eq!(answer.status, 200);
        Decoded::of(&answer.body)
    };
    let exec = |comm: &[u8]| {
        let bytes = encode(&event(comm, 0, 1));
        service.kernel(|kernel| kernel.emit(bytes));
    };
    let series = |comm| format!("execsnoop_execs_by_comm_total{{comm=\"{comm}\"}}");
    let started = scrape().start("execsnoop_execs_total");
    let before = Timestamp::now().unix_ms();
    scrape();
    let between = Timestamp::now().unix_ms();
    exec(b"first");
    let first = scrape().start(&series("first"));
    assert!(
        (before..=between).contains(&first),
        "{before} {first} {between}"
    );
    exec(b"second");
    exec(b"first");
    let decoded = scrape();
    assert!(decoded.start(&series("second")) >= between);
    // A start does not change.
    assert_eq!(decoded.start(&series("first")), first);
    assert_eq!(decoded.start("execsnoop_execs_total"), started);
    assert!(started <= before);
}
