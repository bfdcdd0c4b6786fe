//! Tests of the alerts on jobs, with the watches of the package and a job of cron.
//!
//! Time passes faster, as in [`under_their_causes`](super::under_their_causes), and promtool writes the last
//! success of the job, 27 hours ago, into the database. The 26 hours to which the alert compares it are not
//! scaled.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::site::{Site, alert};
use super::under_their_causes::WATCH;
use testkit::cgroups::Cgroup;
use testkit::compiled::ways;
use testkit::daemon::configured;
use testkit::docs::packaged_jobs;
use testkit::programs::Programs;

/// The alerts that this file tests.
pub(crate) const DRIVEN: [&str; 2] = ["ExecsnoopJobFailed", "ExecsnoopJobOverdue"];

const HOST: &str = "with-jobs";
const JOB: &str = "job-nightly-report";

/// The watches of the package, with this prefix instead of `job-`.
fn watches(prefix: &str) -> String {
    let mut jobs = packaged_jobs();
    for watch in &mut jobs.watch {
        if let Some(name) = watch.name.strip_prefix("job-") {
            watch.name = format!("{prefix}{name}");
        }
    }
    toml::to_string(&jobs).unwrap() + WATCH
}

/// Runs the job in the cgroup of cron.
fn run(job: &Path, status: i32) {
    let cron = Cgroup::new("system.slice/cron.service");
    let script = "echo 0 >\"$0/cgroup.procs\" && exec \"$1\" exit - $2";
    let exit = Command::new("sh")
        .args(["-c", script])
        .arg(cron.directory())
        .arg(job)
        .arg(status.to_string())
        .status();
    assert_eq!(exit.unwrap().code(), Some(status));
}

/// The series of the job until its last success, and their values.
fn past() -> [(String, u64); 2] {
    let then = SystemTime::now() - Duration::from_secs(27 * 60 * 60);
    let then = then.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let labels =
        format!("job=\"execsnoopd\",instance=\"{HOST}\",watch=\"{JOB}\",outcome=\"success\"");
    [
        ("execsnoop_watch_exits_total", 1),
        (
            "execsnoop_watch_last_exit_timestamp_seconds",
            then.as_secs(),
        ),
    ]
    .map(|(name, value)| (format!("{name}{{{labels}}}"), value))
}

#[test]
fn a_job_is_overdue_until_it_succeeds_and_fails_until_then() {
    let programs = Programs::new();
    let job = programs.copied(ways(), "nightly-report");
    let (mut daemon, config) = configured(&watches("not-a-"));
    let site = Site::start(&[(HOST, daemon.address)], &past());
    site.await_quiet(
        1,
        &["execsnoop_watch_exits_total{watch=\"not-a-nightly-report\"}"],
    );

    // Now the history is that of a watch. That of the other job, which has none, is not yet overdue.
    std::fs::write(config.path().join("config.toml"), watches("job-")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.await_log("configuration reloaded");
    let [failed, overdue] = DRIVEN.map(|name| alert(name, HOST));
    site.await_firing(&overdue);
    assert_eq!(site.fired(), BTreeSet::from([overdue.clone()]));

    run(&job, 3);
    site.await_firing(&failed);
    site.await_firing(&overdue);
    run(&job, 0);
    site.await_end(&failed);
    site.await_end(&overdue);
    assert_eq!(site.fired(), BTreeSet::from([failed, overdue]));
    daemon.stop();
}
