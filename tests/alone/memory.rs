//! Memory stays bounded whatever users execute.
//!
//! This test is a separate program because it measures the memory of its own process, in which other
//! tests would also allocate.

use execsnoopd::config::{Config, ViewConfig};
use execsnoopd::pipeline::view::{Label, name};
use testkit::bytes::encode;
use testkit::fake::event;
use testkit::http::Scrape;
use testkit::service::Service;

#[test]
fn a_million_programs_fit_in_bounded_memory_and_are_all_counted() {
    const PROGRAMS: u32 = 1_000_000;
    const BATCH: u32 = 10_000;
    let views: [&[Label]; 5] = [
        &[Label::Comm],
        &[Label::Uid, Label::User],
        &[Label::User],
        &[Label::ParentComm, Label::Comm],
        &[Label::Unit, Label::Slice, Label::Container, Label::Comm],
    ];
    let config = Config {
        view: views.map(ViewConfig::by).to_vec(),
        ..Config::default()
    };
    let service = Service::start(&config);
    let mut peak_before = 0;
    for start in (0..PROGRAMS).step_by(BATCH as usize) {
        service.kernel(|kernel| {
            for n in start..start + BATCH {
                let mut event = event(format!("p{n}").as_bytes(), 800_000 + n % 5000, 1);
                event.subject.cgroup_id = u64::from(1 + n % 20_000);
                let path = format!("/system.slice/s{}.service", n % 20_000);
                kernel
                    .cgroups
                    .insert(event.subject.cgroup_id, path.into_bytes());
                kernel.emit(encode(&event));
            }
        });
        let scrape = Scrape::of(service.address);
        assert_eq!(
            scrape.value("execsnoop_execs_total"),
            f64::from(start + BATCH)
        );
        scrape.assert_ledger_closes();
        if start == BATCH {
            peak_before = peak_kib();
        }
    }
    let scrape = Scrape::of(service.address);
    for view in views {
        let view = format!("{{view=\"{}\"}}", name(view));
        assert_eq!(scrape.value(&format!("execsnoop_series{view}")), 1000.0);
    }
    assert_eq!(
        scrape.value("execsnoop_series_overflow_total{view=\"comm\"}"),
        f64::from(PROGRAMS - 1000)
    );
    assert_eq!(scrape.execs_of("p0"), 1.0);
    scrape.assert_ledger_closes();
    let grown = peak_kib() - peak_before;
    assert!(
        grown < 4096,
        "grew by {grown} KiB from 20 000 to 1 000 000 programs"
    );
    service.stop().unwrap();
}

/// The peak of the resident memory of this process, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
