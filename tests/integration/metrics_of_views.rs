//! The metrics that a view asks for, with a source that the test fills.

use std::collections::BTreeSet;

use execsnoopd::config::{Config, ViewConfig};
use execsnoopd::pipeline::view::{Label, Metric};
use execsnoopd::record::{Kind, Outcome};
use testkit::bytes::encode;
use testkit::fake::event;
use testkit::http::Scrape;
use testkit::service::Service;

/// A configuration with a view by `comm` that has these metrics.
fn with_metrics(metrics: &[Metric]) -> Config {
    let mut by_comm = ViewConfig::by(&[Label::Comm]);
    by_comm.metrics = Some(metrics.to_vec());
    Config {
        view: vec![by_comm],
        ..Config::default()
    }
}

#[test]
fn exits_are_counted_by_outcome_with_their_lifetimes_in_a_view_that_asks_for_them() {
    let service = Service::start(&with_metrics(&[Metric::Exits, Metric::LifetimeSeconds]));
    let exit = |outcome: Outcome| {
        let mut exit = event(b"worker", 7, 1);
        exit.subject.kind = Kind::Exit.in_kernel();
        exit.subject.outcome = outcome.in_kernel();
        exit
    };
    let second = 1_000_000_000;
    service.kernel(|kernel| {
        kernel.exit(0, second); // before a view counted exits
        kernel.exit_of(&exit(Outcome::Success), 0, second);
        (0..3).for_each(|_| kernel.exit_of(&exit(Outcome::Crash), 11, second / 2));
        // The tally was full, and the buffer was not.
        kernel.exit(9, second);
        kernel.only_seen(Kind::Exit, -1);
        kernel.ledgers[Kind::Exit].sent += 1;
        let mut killed = exit(Outcome::Oom);
        killed.lifetime_ns = second;
        kernel.events.push_back(encode(&killed));
        kernel.exits.add_causes(1, 2);
        // Both were full.
        kernel.exit(15, 2 * second);
        kernel.only_seen(Kind::Exit, -1);
        let ledger = &mut kernel.ledgers[Kind::Exit];
        ledger.unattributed += 1;
        ledger.unattributed_exits[Outcome::Signal.index()] += 1;
        ledger.unattributed_lifetime_ns += 2 * second;
    });
    let scrape = Scrape::of(service.address);
    for (comm, counts, lifetime) in [
        ("worker", [1.0, 0.0, 0.0, 3.0, 1.0], 3.5),
        ("other", [0.0, 0.0, 1.0, 0.0, 0.0], 2.0),
    ] {
        for (outcome, count) in Outcome::ALL.into_iter().zip(counts) {
            let name = outcome.name();
            let labels = format!("{{comm=\"{comm}\",outcome=\"{name}\"}}");
            let sample = format!("execsnoop_exits_by_comm_total{labels}");
            assert_eq!(scrape.value(&sample), count, "{sample}");
        }
        let sample = format!("execsnoop_lifetime_seconds_by_comm_total{{comm=\"{comm}\"}}");
        assert_eq!(scrape.value(&sample), lifetime);
    }
    for (sample, count) in [
        ("execsnoop_oom_kills_total", 1.0),
        ("execsnoop_core_dumps_total", 2.0),
        ("execsnoop_unattributed_exits_total", 1.0),
        ("execsnoop_exits_without_outcome_total", 1.0),
        (
            "execsnoop_series_yielded_exits_total{view=\"comm\",outcome=\"success\"}",
            0.0,
        ),
        (
            "execsnoop_series_yielded_lifetime_seconds_total{view=\"comm\"}",
            0.0,
        ),
    ] {
        assert_eq!(scrape.value(sample), count, "{sample}");
    }
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn failed_execs_are_counted_by_error_in_a_view_that_asks_for_them() {
    let service = Service::start(&with_metrics(&[Metric::Execs, Metric::Failures]));
    let failed = |comm: &[u8], errno: i32| {
        let mut failed = event(comm, 7, 1);
        failed.subject.kind = Kind::Failure.in_kernel();
        failed.subject.retval = -errno;
        failed
    };
    service.kernel(|kernel| {
        kernel.fail(2, 100); // before a view counted failed execs
        kernel.fail_of(&failed(b"sh", 2), 7);
        kernel.fail_of(&failed(b"sh", 13), 5);
        kernel.fail_of(&failed(b"env", 2), 3);
        // A file system in user space returned EXDEV.
        kernel.fail_of(&failed(b"env", 18), 2);
        // The tally was full.
        kernel.failures.add_unattributed(2, 4);
        let ledger = &mut kernel.ledgers[Kind::Failure];
        ledger.seen += 4;
        ledger.unattributed += 4;
    });
    let scrape = Scrape::of(service.address);
    let by_comm: Vec<_> = scrape
        .family("execsnoop_exec_failures_by_comm_total")
        .filter(|(_, number)| *number > 0.0)
        .map(|(sample, number)| (sample.split_once('{').unwrap().1, number))
        .collect();
    assert_eq!(
        by_comm,
        [
            ("comm=\"env\",errno=\"ENOENT\"}", 3.0),
            ("comm=\"env\",errno=\"other\"}", 2.0),
            ("comm=\"other\",errno=\"ENOENT\"}", 4.0),
            ("comm=\"sh\",errno=\"EACCES\"}", 5.0),
            ("comm=\"sh\",errno=\"ENOENT\"}", 7.0),
        ]
    );
    for (sample, number) in [
        ("execsnoop_exec_failures_total{errno=\"ENOENT\"}", 114.0),
        ("execsnoop_exec_failures_total{errno=\"EXDEV\"}", 2.0),
        ("execsnoop_unattributed_exec_failures_total", 4.0),
        ("execsnoop_execs_total", 0.0),
        (
            "execsnoop_exec_failures_by_comm_total{comm=\"other\",errno=\"EIO\"}",
            0.0,
        ),
        (
            "execsnoop_series_yielded_exec_failures_total{view=\"comm\",errno=\"ENOENT\"}",
            0.0,
        ),
    ] {
        assert_eq!(scrape.value(sample), number, "{sample}");
    }
    scrape.assert_ledger_closes();
    service.stop().unwrap();
}

#[test]
fn a_view_exposes_only_the_metrics_that_it_asks_for() {
    let service = Service::start(&with_metrics(&[Metric::Execs]));
    let mut freed = event(b"freed", 7, 1);
    freed.subject.kind = Kind::CpuTime.in_kernel();
    freed.cpu_ns = 5;
    service.kernel(|kernel| {
        kernel.emit(encode(&event(b"prog", 0, 1)));
        kernel.emit_as(Kind::CpuTime, encode(&freed));
        kernel.exit(0, 5);
    });
    let scrape = Scrape::of(service.address);
    assert_eq!(scrape.execs_of("prog"), 1.0);
    let names = scrape.all().map(|(sample, _)| sample);
    let of_view = |sample: &&str| sample.contains("comm=\"") || sample.contains("view=\"");
    let names: BTreeSet<_> = names.filter(of_view).collect();
    let expected = [
        "execsnoop_execs_by_comm_total{comm=\"other\"}",
        "execsnoop_execs_by_comm_total{comm=\"prog\"}",
        "execsnoop_series_limit{view=\"comm\"}",
        "execsnoop_series_overflow_total{view=\"comm\"}",
        "execsnoop_series_yielded_execs_total{view=\"comm\"}",
        "execsnoop_series{view=\"comm\"}",
    ];
    assert_eq!(names, expected.into());
    service.stop().unwrap();
}
