//! Prometheus scrapes a daemon under attack.

use testkit::attacks::ATTACKS;
use testkit::daemon::configured;
use testkit::programs::{Programs, exec_times};
use testkit::prometheus::Prometheus;

#[test]
fn prometheus_misses_no_scrape_even_when_its_connection_is_closed_for_others() {
    let programs = Programs::new();
    let program = programs.named("honest");
    let (daemon, _config) = configured("[[view]]\nlabels = [\"comm\"]\nalways = [\"honest\"]\n");
    let prometheus = Prometheus::start(&format!(
        "scrape_configs:\n  - job_name: execsnoopd\n    scrape_interval: 2s\n    \
         scrape_timeout: 2s\n    static_configs:\n      - targets: ['{}']\n",
        daemon.address
    ));
    prometheus.query_until_there("up == 1");
    let traffic = ATTACKS[0].start(daemon.address);
    exec_times(&program, 25);
    prometheus.query_until_there("count_over_time(up[1h]) > 5");
    let missed = prometheus.query_until_there("count_over_time(up[1h]) - sum_over_time(up[1h])");
    assert!(missed.contains(",\"0\"]"), "{missed}");
    let counted = prometheus.query_until_there("execsnoop_execs_by_comm_total{comm=\"honest\"}");
    assert!(counted.contains(",\"25\"]"), "{counted}");
    drop(traffic);
}
