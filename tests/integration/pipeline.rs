//! From the bytes of events to a scrape: the whole service, with a source that the test fills.

use std::sync::Arc;

use execsnoopd::config::Config;
use execsnoopd::record::Kind;
use proptest::prelude::*;
use testkit::bytes::{encode, encode_subject};
use testkit::fake::event;
use testkit::http::{Scrape, get};
use testkit::service::Service;

#[test]
fn an_event_is_in_the_next_scrape() {
    let service = Service::start(&Config::default());
    for n in 1..=5 {
        service.kernel(|kernel| kernel.emit(encode(&event(b"prog", 0, 1))));
        let scrape = Scrape::of(service.address);
        assert_eq!(scrape.execs_of("prog"), f64::from(n));
        assert_eq!(
            scrape.value("execsnoop_execs_by_uid_total{uid=\"0\",user=\"root\"}"),
            f64::from(n)
        );
        scrape.assert_ledger_closes();
    }
    assert_eq!(service.stop().unwrap().execs, 5);
}

#[test]
fn every_family_exists_before_the_first_exec() {
    let service = Service::start(&Config::default());
    let scrape = Scrape::of(service.address);
    assert_eq!(scrape.value("execsnoop_execs_total"), 0.0);
    assert_eq!(scrape.execs_of("other"), 0.0);
    assert_eq!(
        scrape.value("execsnoop_execs_by_uid_total{uid=\"other\",user=\"other\"}"),
        0.0
    );
    for reason in ["buffer_full", "no_buffer", "other", "undecodable"] {
        let sample = format!("execsnoop_lost_events_total{{reason=\"{reason}\"}}");
        assert_eq!(scrape.value(&sample), 0.0);
    }
    service.stop().unwrap();
}

#[test]
fn tallied_and_unattributed_execs_are_in_the_totals_of_every_view() {
    let service = Service::start(&Config::default());
    service.kernel(|kernel| {
        kernel.emit(encode(&event(b"a", 0, 1)));
        kernel.tally(encode_subject(&event(b"a", 0, 0)), 10);
        kernel.tally(encode_subject(&event(b"b", 77, 0)), 100);
        kernel.fail_to_attribute(Kind::Exec, 1000);
    });
    let scrape = Scrape::of(service.address);
    assert_eq!(scrape.value("execsnoop_execs_total"), 1111.0);
    assert_eq!(scrape.execs_of("a"), 11.0);
    assert_eq!(scrape.execs_of("b"), 100.0);
    assert_eq!(scrape.execs_of("other"), 1000.0);
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 1000.0);
    assert_eq!(
        scrape.value("execsnoop_lost_events_total{reason=\"buffer_full\"}"),
        1110.0
    );
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn undecodable_bytes_are_counted_as_lost_and_unattributed() {
    let service = Service::start(&Config::default());
    service.kernel(|kernel| {
        kernel.emit(encode(&event(b"good", 0, 1)));
        for len in [0, 1, 87, 96, 1000] {
            kernel.emit(vec![0xff; len]);
        }
        kernel.tally(vec![0; 3], 4);
    });
    let scrape = Scrape::of(service.address);
    assert_eq!(scrape.execs_of("good"), 1.0);
    assert_eq!(
        scrape.value("execsnoop_lost_events_total{reason=\"undecodable\"}"),
        9.0
    );
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 9.0);
    assert_eq!(scrape.value("execsnoop_execs_total"), 10.0);
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn execs_that_were_not_seen_show_in_the_ledger_difference() {
    let service = Service::start(&Config::default());
    service.kernel(|kernel| {
        kernel.emit(encode(&event(b"prog", 0, 1)));
        kernel.ledgers[Kind::Exec].seen -= 1;
    });
    let scrape = Scrape::of(service.address);
    assert_eq!(
        scrape.value("execsnoop_ledger_difference{kind=\"exec\"}"),
        -1.0
    );
    service.stop().unwrap();
}

#[test]
fn names_of_any_bytes_stay_distinct_and_keep_the_scrape_valid() {
    let service = Service::start(&Config::default());
    let names: [&[u8]; 8] = [
        b"a\nb",
        b"a\"b",
        b"a\\b",
        b"a\\x0ab",
        b"\x1b[31m",
        b"\xff\xfe",
        b"other",
        b"",
    ];
    service.kernel(|kernel| {
        for (i, name) in names.iter().enumerate() {
            for _ in 0..=i {
                kernel.emit(encode(&event(name, 0, 1)));
            }
        }
    });
    let scrape = Scrape::of(service.address);
    let labels = [
        "a\\\\x0ab",
        "a\\\"b",
        "a\\\\x5cb",
        "a\\\\x5cx0ab",
        "\\\\x1b[31m",
        "\\\\xff\\\\xfe",
        "\\\\x6fther",
        "",
    ];
    for (i, label) in labels.iter().enumerate() {
        assert_eq!(scrape.execs_of(label), (i + 1) as f64, "{label}");
    }
    assert_eq!(scrape.execs_of("other"), 0.0);
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn concurrent_scrapes_agree_and_none_is_stale() {
    let service = Arc::new(Service::start(&Config::default()));
    let scrapers: Vec<_> = (0..8)
        .map(|_| {
            let service = Arc::clone(&service);
            std::thread::spawn(move || {
                for _ in 0..50 {
                    let mut emitted = 0;
                    service.kernel(|kernel| {
                        kernel.emit(encode(&event(b"prog", 0, 1)));
                        emitted = kernel.ledgers[Kind::Exec].seen;
                    });
                    let scrape = Scrape::of(service.address);
                    assert!(scrape.execs_of("prog") >= emitted as f64);
                    scrape.assert_ledger_closes();
                }
            })
        })
        .collect();
    for scraper in scrapers {
        scraper.join().unwrap();
    }
    let service = Arc::into_inner(service).unwrap();
    assert_eq!(service.stop().unwrap().execs, 400);
}

#[test]
fn failed_execs_are_counted_by_error_and_nowhere_else() {
    let service = Service::start(&Config::default());
    let scrape = Scrape::of(service.address);
    assert_eq!(
        scrape.value("execsnoop_exec_failures_total{errno=\"ENOENT\"}"),
        0.0
    );
    service.kernel(|kernel| {
        kernel.fail(2, 1_000_000);
        kernel.fail(13, 5);
        kernel.fail(255, 7); // an errno without a name
        kernel.emit(encode(&event(b"prog", 0, 1)));
    });
    let scrape = Scrape::of(service.address);
    for (errno, count) in [("ENOENT", 1e6), ("EACCES", 5.0), ("E255", 7.0)] {
        let sample = format!("execsnoop_exec_failures_total{{errno=\"{errno}\"}}");
        assert_eq!(scrape.value(&sample), count);
    }
    assert_eq!(scrape.value("execsnoop_execs_total"), 1.0);
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn exits_are_counted_by_status_with_lifetime_and_cpu_time_is_in_every_view() {
    let service = Service::start(&Config::default());
    let mut freed = event(b"worker", 7, 1);
    freed.subject.kind = Kind::CpuTime.in_kernel();
    freed.cpu_ns = 500_000_000;
    service.kernel(|kernel| {
        kernel.exit(3 << 8, 2_000_000_000);
        (0..4).for_each(|_| kernel.exit(9, 1_000_000));
        kernel.emit_as(Kind::CpuTime, encode(&freed));
        kernel.tally_as(Kind::CpuTime, encode_subject(&freed), 4, 1_500_000_000);
        kernel.fail_to_attribute(Kind::CpuTime, 2);
        kernel.ledgers[Kind::CpuTime].unattributed_cpu_ns = 250_000_000;
    });
    let scrape = Scrape::of(service.address);
    for (labels, count) in [
        ("reason=\"exited\",code=\"3\"", 1.0),
        ("reason=\"signaled\",code=\"SIGKILL\"", 4.0),
    ] {
        let sample = format!("execsnoop_exits_total{{{labels}}}");
        assert_eq!(scrape.value(&sample), count);
    }
    let cpu = "execsnoop_cpu_seconds_by_comm_total{comm=\"worker\"}";
    assert_eq!(scrape.value(cpu), 2.0);
    let cpu = "execsnoop_cpu_seconds_by_uid_total{uid=\"7\",user=\"lp\"}";
    assert_eq!(scrape.value(cpu), 2.0);
    for cpu in [
        "execsnoop_cpu_seconds_by_comm_total{comm=\"other\"}",
        "execsnoop_unattributed_cpu_seconds_total",
    ] {
        assert_eq!(scrape.value(cpu), 0.25);
    }
    let bucket = |le| format!("execsnoop_process_lifetime_seconds_bucket{{le=\"{le}\"}}");
    assert_eq!(scrape.value(&bucket("1")), 4.0);
    assert_eq!(scrape.value(&bucket("5")), 5.0);
    assert_eq!(scrape.value(&bucket("+Inf")), 5.0);
    assert_eq!(
        scrape.value("execsnoop_process_lifetime_seconds_sum"),
        2.004
    );
    assert_eq!(scrape.value("execsnoop_execs_total"), 0.0);
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn every_exec_that_the_kernel_side_saw_is_in_the_execs_per_second_when_its_second_has_ended() {
    let service = Service::start(&Config::default());
    service.kernel(|kernel| {
        (0..5).for_each(|_| kernel.emit(encode(&event(b"seen", 0, 1))));
        kernel.tally(encode_subject(&event(b"tallied", 0, 0)), 7);
        kernel.fail_to_attribute(Kind::Exec, 3);
        kernel.emit(b"undecodable".to_vec());
    });
    service.await_sample("execsnoop_execs_per_second_sum", 16.0);
    let scrape = Scrape::of(service.address);
    let counts: Vec<f64> = ["0", "1", "2", "5", "10", "20", "50000", "+Inf"]
        .iter()
        .map(|le| scrape.value(&format!("execsnoop_execs_per_second_bucket{{le=\"{le}\"}}")))
        .collect();
    assert!(counts.is_sorted(), "{counts:?}");
    // All of them were seen at once, at most 16 in each of at least one second.
    assert!(counts[0] < counts[5], "{counts:?}");
    assert_eq!(counts[5], counts[7]);
    assert_eq!(scrape.value("execsnoop_execs_per_second_count"), counts[7]);
    service.stop().unwrap();
}

#[test]
fn a_scrape_is_answered_503_until_everything_seen_is_delivered() {
    const TIMEOUT: &str = "X-Prometheus-Scrape-Timeout-Seconds: 0.7\r\n";
    let service = Service::start(&Config::default());
    let scrape = || testkit::http::request(service.address, "GET", "/metrics", TIMEOUT);
    // The program has counted an exec that it has not sent yet.
    service.kernel(|kernel| kernel.ledgers[Kind::Exec].seen += 1);
    for _ in 0..2 {
        assert_eq!(scrape().status, 503);
    }
    service.kernel(|kernel| {
        kernel.ledgers[Kind::Exec].sent += 1;
        kernel.events.push_back(encode(&event(b"late", 0, 1)));
    });
    let answer = scrape();
    assert_eq!(answer.status, 200);
    let answer = Scrape::parse(&answer.text());
    assert_eq!(answer.execs_of("late"), 1.0);
    answer.assert_ledger_closes();

    // The same for an exit, and a stop that does not wait forever.
    service.kernel(|kernel| kernel.ledgers[Kind::Exit].seen += 1);
    assert_eq!(scrape().status, 503);
    let snapshot = service.stop().unwrap();
    assert_eq!(snapshot.differences, [0, 0, 1, 0]);
}

#[test]
fn a_scrape_that_cannot_be_fresh_is_answered_503() {
    let service = Service::start(&Config::default());
    Scrape::of(service.address);
    // While this lock is held, the reader gets nothing from the fake kernel.
    let kernel = Arc::clone(&service.kernel);
    let held = kernel.lock().unwrap();
    let answer = testkit::http::request(
        service.address,
        "GET",
        "/metrics",
        "X-Prometheus-Scrape-Timeout-Seconds: 0.7\r\n",
    );
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .text()
            .contains("no answer from the reader within 350ms")
    );
    assert_eq!(get(service.address, "/-/healthy").status, 200);
    drop(held);
    Scrape::of(service.address);
    service.stop().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_mixture_of_names_users_and_losses_is_counted_exactly(
        execs in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..=15), 0_u32..5, 1_u64..4, 0..4),
            0..200,
        ),
    ) {
        let service = Service::start(&Config::default());
        let mut total = 0;
        service.kernel(|kernel| {
            for (comm, uid, n, how) in &execs {
                let event = event(comm, *uid, 1);
                match how {
                    0 => (0..*n).for_each(|_| kernel.emit(encode(&event))),
                    1 => kernel.tally(encode_subject(&event), *n),
                    2 => kernel.fail_to_attribute(Kind::Exec, *n),
                    _ => (0..*n).for_each(|_| kernel.emit(comm.clone())),
                }
                total += n;
            }
        });
        let scrape = Scrape::of(service.address);
        prop_assert_eq!(scrape.value("execsnoop_execs_total"), total as f64);
        scrape.assert_ledger_closes();
        service.stop().unwrap();
    }
}
