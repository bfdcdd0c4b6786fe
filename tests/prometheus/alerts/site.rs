//! A site: hosts, and a Prometheus that scrapes them and evaluates the scaled rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::scaled::{scaled, write_rules};
use testkit::prometheus::{Prometheus, promtool};

/// How long an alert may take to fire.
const PATIENCE: Duration = Duration::from_secs(120);

/// Matches the alerts of the tests. Alerts about programs and errors that the tests do not cause, and
/// about the number of programs on this machine, are left out.
const OURS: &str = "comm=~\"|burner\", errno=~\"|ENAMETOOLONG\", view!=\"comm\"";

/// The execs per second in the history of a host.
const USUAL: u64 = 15;

/// The name of an alert and its host, which is empty if the alert has none.
pub(crate) type Alert = (String, String);

pub(crate) fn alert(name: &str, host: &str) -> Alert {
    (name.to_owned(), host.to_owned())
}

pub(crate) struct Site {
    prometheus: Prometheus,
    discovered: PathBuf,
}

impl Site {
    /// Starts Prometheus for these hosts and with a [`history`] of these series.
    pub(crate) fn start(hosts: &[(&str, SocketAddr)], past: &[(String, u64)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rules")).unwrap();
        write_rules(&dir.path().join("rules"));
        std::fs::write(dir.path().join("history"), history(past)).unwrap();
        promtool(
            dir.path(),
            &[
                "tsdb",
                "create-blocks-from",
                "openmetrics",
                "history",
                "data",
            ],
        );
        let discovered = dir.path().join("hosts.json");
        let hosts = hosts
            .iter()
            .map(|(name, address)| json!({"targets": [address], "labels": {"instance": name}}));
        std::fs::write(&discovered, json!(hosts.collect::<Vec<_>>()).to_string()).unwrap();
        let config = scaled(
            "global: {scrape_interval: 1m, scrape_timeout: 1m, evaluation_interval: 1m}\n\
             rule_files: [rules/execsnoopd.*.yml]\n\
             scrape_configs:\n  - job_name: execsnoopd\n    \
             file_sd_configs:\n      - files: [hosts.json]\n",
        );
        let current = scaled("--query.lookback-delta=5m"); // the default
        Self {
            prometheus: Prometheus::start_in(dir, &config, &[&current]),
            discovered,
        }
    }

    /// Waits until every series that the alerts use exists and no alert is firing or pending. Asserts
    /// that none has fired.
    #[track_caller]
    pub(crate) fn await_quiet(&self, hosts: usize, known: &[&str]) {
        for family in ["up == 1", "instance:execsnoop_execs:rate5m"] {
            let all = format!("count({family}) == {hosts}");
            self.prometheus.query_until_there(&all);
        }
        for series in known {
            self.prometheus.query_until_there(series);
        }
        let none = format!("absent(ALERTS{{{OURS}}})");
        self.prometheus.query_until_there(&none);
        assert_eq!(self.fired(), BTreeSet::new());
    }

    /// Repeats the cause until the alert fires.
    #[track_caller]
    pub(crate) fn drive(&self, alert: &Alert, cause: impl Fn()) {
        let deadline = Instant::now() + PATIENCE;
        while self.prometheus.labels(&firing(alert)).is_empty() {
            assert!(Instant::now() < deadline, "{alert:?} stays quiet");
            cause();
        }
    }

    /// Repeats the cause until the alert has fired at any time.
    #[track_caller]
    pub(crate) fn drive_once(&self, alert: &Alert, cause: impl Fn()) {
        let deadline = Instant::now() + PATIENCE;
        while !self.fired().contains(alert) {
            assert!(Instant::now() < deadline, "{alert:?} stays quiet");
            cause();
        }
    }

    #[track_caller]
    pub(crate) fn await_firing(&self, alert: &Alert) {
        self.prometheus.query_until_there(&firing(alert));
    }

    #[track_caller]
    pub(crate) fn await_end(&self, alert: &Alert) {
        let none = format!("absent({})", firing(alert));
        self.prometheus.query_until_there(&none);
    }

    /// Every alert that has fired so far.
    #[track_caller]
    pub(crate) fn fired(&self) -> BTreeSet<Alert> {
        let ever = format!("count_over_time(ALERTS{{alertstate=\"firing\", {OURS}}}[1h])");
        let alerts = self.prometheus.labels(&ever).into_iter();
        let label = |labels: &mut BTreeMap<_, _>, name| labels.remove(name).unwrap_or_default();
        alerts
            .map(|mut labels| {
                (
                    label(&mut labels, "alertname"),
                    label(&mut labels, "instance"),
                )
            })
            .collect()
    }

    /// Makes service discovery find no host.
    pub(crate) fn lose_all_hosts(&self) {
        std::fs::write(&self.discovered, "[]").unwrap();
    }
}

fn firing((name, host): &Alert) -> String {
    format!("ALERTS{{alertstate=\"firing\", alertname=\"{name}\", instance=\"{host}\", {OURS}}}")
}

/// The recorded series of a host with a constant rate of execs, without bursts, and their values.
pub(crate) fn usual_execs(host: &str) -> [(String, u64); 2] {
    [
        ("instance:execsnoop_execs:rate5m", USUAL),
        ("instance:execsnoop_burst_seconds:increase10m", 0),
    ]
    .map(|(name, value)| {
        let series = format!("{name}{{job=\"execsnoopd\",instance=\"{host}\"}}");
        (series, value)
    })
}

/// Returns a history in which series have constant values for half an hour, which stands for more than a
/// day at 60 times the speed.
fn history(series: &[(String, u64)]) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let families = series.iter().map(|(series, value)| {
        let name = series.split('{').next().unwrap();
        let samples = (now - 30 * 60..now - 10).map(|time| format!("{series} {value} {time}\n"));
        format!(
            "# TYPE {name} gauge\n{}",
            samples.collect::<Vec<_>>().concat()
        )
    });
    format!("{}# EOF\n", families.collect::<Vec<_>>().concat())
}
