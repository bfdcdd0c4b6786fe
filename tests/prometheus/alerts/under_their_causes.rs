//! Tests of the alerts that [`shipped`] and [`jobs`] do not cover. Most of them fire only after some time, so
//! time passes faster here.
//!
//! The daemons, Prometheus, the programs, the full buffers and tallies, and the thresholds are real.
//! These are not:
//!
//! - the length of a minute ([`scaled`](super::scaled));
//! - the history of one host, a constant rate of execs without bursts, which promtool writes into the database;
//! - the kernel of one host. The daemon does not miscount, so a simulated kernel side reports
//!   one more exec than it delivers.
//!
//! Every host sees all programs of this machine. The daemon of each counts only what its alert is
//! about, so that a cause affects only one host.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread::{available_parallelism, scope, sleep};
use std::time::Duration;

use execsnoopd::config::Config;
use execsnoopd::record::Kind;
use rustix::process::Signal;

use super::site::{Site, alert, usual_execs};
use super::{jobs, shipped};
use testkit::bytes::encode;
use testkit::compiled::ways;
use testkit::daemon::{Daemon, configured};
use testkit::fake::event;
use testkit::mounts::with_tracefs;
use testkit::programs::Programs;
use testkit::prometheus::packaging;
use testkit::service::Service;

const EXECS_ONLY: &str = "exits = false\nfailures = \"off\"\n";
const EXECS_ONLY_BY_A_SMALL_BUFFER: &str = "exits = false\nfailures = \"off\"\nbuffer_pages = 1\n";
const FAILURES_TOO: &str = "exits = false\nfailures = \"tracepoint\"\n";
const EXITS_TOO: &str = "failures = \"off\"\nbuffer_pages = 512\n";

/// A configuration with these lines in `[capture]` and a view by this label only. In the default views,
/// by program and by user, the tests would take all slots, which would cause another alert.
fn capturing(what: &str, by: &str) -> String {
    format!("[capture]\n{what}{WATCH}[[view]]\nlabels = [\"{by}\"]\n")
}

/// A watch of this name, on the hosts for which its absence is no cause of an alert. No process has
/// this user. It counts no exits, which would fill the tally while a storm keeps the daemon from draining
/// it.
pub(crate) const WATCH: &str =
    "[[watch]]\nname = \"service-user-shell\"\nuid = [4294967294]\norigin = [\"unlinked\"]\n";

/// More events than fit into buffers of one page, which hold about 40 events per CPU.
fn too_many_for_the_buffer() -> u32 {
    let cpus = available_parallelism().unwrap().get();
    200 * u32::try_from(cpus).unwrap()
}

/// More events than buffers of one page and the 16384 entries of the tally hold together. The larger
/// buffers of the other hosts hold them all, even if the daemons there run late.
fn too_many_for_the_tally() -> u32 {
    17_000 + too_many_for_the_buffer()
}

/// Runs a program with real-time priority, so that the load of this machine makes no difference.
fn run_first(program: &Path, args: &[&str]) {
    let mut command = Command::new("chrt");
    command.args(["--rr", "1"]).arg(program).args(args);
    let status = command.status().expect("chrt can be executed");
    assert!(status.success(), "{args:?}: {status}");
}

fn go(way: &str, program: &Path, times: u32) {
    run_first(
        ways(),
        &[way, program.to_str().unwrap(), &times.to_string()],
    );
}

/// Executes a program this many times, each time as another user, while the daemon is stopped.
fn unseen(daemon: &Daemon, program: &Path, times: u32) {
    daemon.signal(Signal::STOP);
    go("users", program, times);
    daemon.signal(Signal::CONT);
    // Prometheus has to scrape the daemon before it is stopped again.
    sleep(Duration::from_secs(2));
}

/// The names of the alerts of the package.
fn shipped_alerts() -> BTreeSet<String> {
    let rules = packaging().join("rules/execsnoopd.alerts.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let names = rules
        .lines()
        .filter_map(|line| line.split_once("- alert: "));
    names.map(|(_, name)| name.to_owned()).collect()
}

#[test]
#[allow(clippy::too_many_lines)] // one site with all causes
fn each_of_the_other_alerts_fires_under_its_cause_and_no_other_does() {
    let programs = Programs::new();
    let program = programs.named("of-a-storm");
    let burner = programs.copied(ways(), "burner");

    let (leaving, _config) = configured(&capturing(EXECS_ONLY, "parent_comm"));
    let (storming, _config) = configured(&capturing(EXECS_ONLY, "parent_comm"));
    let (behind, _config) = configured(&capturing(EXECS_ONLY_BY_A_SMALL_BUFFER, "parent_comm"));
    let (failing, _config) = with_tracefs(&capturing(FAILURES_TOO, "parent_comm"));
    let by_comm = capturing(EXITS_TOO, "comm");
    let (burning, _config) = configured(&format!("{by_comm}always = [\"burner\"]\n"));
    let (reloading, config) = configured(&capturing(EXECS_ONLY, "parent_comm"));
    let (unwatched, without_watch) = configured(&capturing(EXECS_ONLY, "parent_comm"));
    let claiming = Config::parse(WATCH, Path::new("config.toml")).expect("it is valid");
    let claiming = Service::start(&claiming);
    let hosts = [
        ("leaving", leaving.address),
        ("storming", storming.address),
        ("behind", behind.address),
        ("failing", failing.address),
        ("burning", burning.address),
        ("reloading", reloading.address),
        ("unwatched", unwatched.address),
        ("claiming", claiming.address),
    ];
    let site = Site::start(&hosts, &usual_execs("storming"));
    site.await_quiet(
        hosts.len(),
        &[
            "instance:execsnoop_execs:p90_1w_rate5m{instance=\"storming\"}",
            "instance_errno:execsnoop_exec_failures:rate5m{instance=\"failing\"}",
            "rate(execsnoop_cpu_seconds_by_comm_total{instance=\"burning\"}[5s])",
            "instance:execsnoop_burst_seconds:increase10m{instance=\"storming\"}",
            "rate(execsnoop_unattributed_execs_total{instance=\"behind\"}[5s])",
            "rate(execsnoop_lost_events_total{instance=\"behind\"}[5s])",
            "execsnoop_ledger_difference{instance=\"claiming\"} == 0",
            "execsnoop_config_last_reload_successful{instance=\"reloading\"} == 1",
        ],
    );

    let down = alert("ExecsnoopTargetDown", "leaving");
    leaving.stop();
    let difference = alert("ExecsnoopLedgerDifference", "claiming");
    claiming.kernel(|kernel| {
        kernel.emit(encode(&event(b"unseen", 0, 1)));
        kernel.ledgers[Kind::Exec].seen -= 1;
    });
    let reload_failed = alert("ExecsnoopReloadFailed", "reloading");
    std::fs::write(config.path().join("config.toml"), "nonsense = 1\n").unwrap();
    reloading.signal(Signal::HUP);
    let not_watched = alert("ExecsnoopShellsNotWatched", "unwatched");
    let text = capturing(EXECS_ONLY, "parent_comm").replace(WATCH, "");
    std::fs::write(without_watch.path().join("config.toml"), text).unwrap();
    unwatched.signal(Signal::HUP);
    let exec_storm = alert("ExecsnoopExecStorm", "storming");
    let exec_burst = alert("ExecsnoopExecBurst", "storming");
    let failure_storm = alert("ExecsnoopFailureStorm", "failing");
    let short_lived = alert("ExecsnoopShortLivedCpu", "burning");
    let detail_loss = alert("ExecsnoopDetailLoss", "behind");
    let unattributed = alert("ExecsnoopUnattributedExecs", "behind");
    scope(|scope| {
        scope.spawn(|| {
            site.drive(&exec_storm, || {
                go("users", &program, 100);
                sleep(Duration::from_millis(100));
            });
        });
        scope.spawn(|| site.drive(&failure_storm, || go("ENAMETOOLONG", &program, 100)));
        scope.spawn(|| {
            site.drive(&short_lived, || {
                run_first(&burner, &["burn", "-", "700"]);
                sleep(Duration::from_millis(100));
            });
        });
        site.drive(&detail_loss, || {
            unseen(&behind, &program, too_many_for_the_buffer());
        });
        assert!(!site.fired().contains(&unattributed));
        site.drive(&unattributed, || {
            unseen(&behind, &program, too_many_for_the_tally());
        });
        // The storms above can have caused it, and it fires only once a day.
        site.drive_once(&exec_burst, || go("users", &program, 5000));
        site.await_firing(&down);
        site.await_firing(&difference);
        site.await_firing(&reload_failed);
        site.await_firing(&not_watched);
    });
    // On a slow machine, the stopped daemon may count as down, and rightly so.
    let stopped = alert("ExecsnoopTargetDown", "behind");
    let mut fired = site.fired();
    fired.remove(&stopped);
    let mut expected = BTreeSet::from([
        down.clone(),
        difference,
        reload_failed,
        not_watched,
        exec_storm,
        exec_burst,
        failure_storm,
        short_lived,
        detail_loss,
        unattributed,
    ]);
    assert_eq!(fired, expected);

    site.lose_all_hosts();
    let no_targets = alert("ExecsnoopNoTargets", "");
    site.await_firing(&no_targets);
    site.await_end(&down); // a host that is not discovered is not down
    fired = site.fired();
    fired.remove(&stopped);
    expected.insert(no_targets);
    assert_eq!(fired, expected);

    let mut driven: BTreeSet<_> = fired.into_iter().map(|(name, _)| name).collect();
    driven.extend(shipped::DRIVEN.map(str::to_owned));
    driven.extend(jobs::DRIVEN.map(str::to_owned));
    assert_eq!(driven, shipped_alerts());
}
