//! A burst between two scrapes shows in queries, with each notation of the bounds: that of the text
//! format, that of protobuf, and that of Prometheus 3.

use execsnoopd::config::Config;
use testkit::bytes::encode_subject;
use testkit::fake::event;
use testkit::prometheus::RELEASES;
use testkit::service::Service;

/// More execs than 1000 per second, even if the reader is late and spreads them over some seconds.
const EXECS: u64 = 40_000;

/// The arguments with which Prometheus asks for protobuf.
const PROTOBUF: &[&str] = &["--enable-feature=created-timestamp-zero-ingestion"];

/// The expression of a recording rule of the package.
fn recorded(name: &str) -> String {
    let rules = testkit::prometheus::packaging().join("rules/execsnoopd.recording.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let rule = rules
        .split("- record: ")
        .find(|rule| rule.starts_with(name));
    let (_, expr) = rule.unwrap().split_once("expr: >-\n").unwrap();
    let lines = expr.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_burst_between_two_scrapes_shows_although_the_average_is_low() {
    let service = Service::start(&Config::default());
    let config = format!(
        "scrape_configs:\n  - job_name: execsnoopd\n    scrape_interval: 1s\n    \
         scrape_timeout: 1s\n    static_configs:\n      - targets: ['{}']\n",
        service.address
    );
    let all: Vec<_> = RELEASES
        .iter()
        .flat_map(|release| [&[][..], PROTOBUF].map(|args| (release, args)))
        .map(|(release, args)| (release.version(), args, release.start(&config, args)))
        .collect();
    for (.., prometheus) in &all {
        prometheus.query_until_there("execsnoop_execs_per_second_count > 0");
    }
    let burst = encode_subject(&event(b"burst", 0, 0));
    service.kernel(|kernel| kernel.tally(burst, EXECS));
    let seconds = recorded("instance:execsnoop_burst_seconds:increase10m");
    for (version, args, prometheus) in &all {
        println!("{version} {args:?}");
        prometheus.query_until_there(&format!("execsnoop_execs_per_second_sum == {EXECS}"));
        prometheus.query_until_there(&format!("{seconds} > 0"));
        let busiest = "histogram_quantile(1, increase(execsnoop_execs_per_second_bucket[10m]))";
        let busiest = prometheus.value(busiest);
        assert!(busiest >= 1000.0, "{busiest}");
    }
    service.stop().unwrap();
}
