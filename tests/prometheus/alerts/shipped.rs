//! Tests of the alerts without `for`, with the unchanged rules of the package.

use std::os::unix::process::CommandExt;
use std::process::Command;

use testkit::daemon::configured;
use testkit::docs::config_for_alerts;
use testkit::programs::{Programs, exec_times};
use testkit::prometheus::Prometheus;

/// The alerts that this file tests.
pub(crate) const DRIVEN: [&str; 2] = ["ExecsnoopSeriesOverflow", "ExecsnoopServiceUserShell"];

/// A service user, which need not have a name on this host.
const SERVICE_UID: u32 = 33;

const SHELLS: &str = "instance_uid_parent_comm_comm:execsnoop_service_user_shells:total\
                      {uid=\"33\", comm=\"sh\"}";

/// Selects firing alerts with these labels. Alerts with `for` take longer to fire than this test
/// runs.
fn firing(alerts: &str) -> String {
    format!("ALERTS{{alertstate=\"firing\", {alerts}}}")
}

fn shell_of_a_service_user() {
    let status = Command::new("/bin/sh")
        .args(["-c", "exit 0"])
        .uid(SERVICE_UID)
        .gid(SERVICE_UID)
        .status();
    assert!(status.expect("sh can be executed").success());
}

#[test]
fn a_storm_and_a_service_users_shell_fire_the_shipped_alerts_and_no_others() {
    let programs = Programs::new();
    let mut config = config_for_alerts();
    config.view[0].max_series = 200; // more programs than the host executes during the test
    let (daemon, _config) = configured(&toml::to_string(&config).unwrap());
    shell_of_a_service_user();
    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [rules/execsnoopd.*.yml]\n\
         scrape_configs:\n  - job_name: execsnoopd\n    static_configs:\n      \
         - targets: ['{}']\n",
        daemon.address
    ));
    // The series of shells must exist before the test's second shell: for a first shell, the alert
    // fires only if the daemon was already scraped ten minutes before.
    prometheus.query_until_there(SHELLS);
    prometheus.query_until_there("execsnoop_series_overflow_total{view=\"comm\"}");
    let quiet = prometheus.query_until_there(&format!("absent({})", firing("")));
    assert!(quiet.contains(",\"1\"]"), "{quiet}");

    for name in 0..1000 {
        exec_times(&programs.named(format!("storm-{name}")), 2);
    }
    shell_of_a_service_user();

    let [overflow, shell] = DRIVEN;
    let overflow = format!("alertname=\"{overflow}\", view=\"comm\", severity=\"info\"");
    prometheus.query_until_there(&firing(&overflow));
    let shell = format!("alertname=\"{shell}\", uid=\"33\", comm=\"sh\"");
    prometheus.query_until_there(&firing(&shell));
    let others = format!("alertname!~\"{}\"", DRIVEN.join("|"));
    prometheus.query_until_there(&format!("absent({})", firing(&others)));
}
