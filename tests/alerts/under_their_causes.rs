//! The other alerts, most of which fire only after a time: so time goes faster.
//!
//! Real are the daemons and their Prometheus, what is executed, fails and burns CPU, the
//! buffers and tallies that it fills, and the thresholds. Not real are
//!
//! - the length of a minute ([`scaled`](crate::scaled));
//! - one host's yesterday, which is written into Prometheus' storage by promtool: as many
//!   execs each second, all day. What the rules make of it is real;
//! - one host's kernel: the daemon does not miscount, so what does is a kernel side that the
//!   test fills and that claims an exec more than it delivers. All behind it is the service
//!   as it is shipped.
//!
//! Every host sees all that is executed on this one. So that it can be said which alert a cause
//! is for, each counts only what its alert is about.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread::{available_parallelism, scope, sleep};
use std::time::Duration;

use execsnoopd::config::Config;
use execsnoopd::event::Kind;
use rustix::process::Signal;

use crate::shipped;
use crate::site::{Site, alert};
use testkit::daemon::{Daemon, configured};
use testkit::fake::Service;
use testkit::mounts::with_tracefs;
use testkit::nop::ways;
use testkit::programs::Programs;
use testkit::prometheus::packaging;

const EXECS_ONLY: &str = "exits = false\nfailures = \"off\"\n";
const EXECS_ONLY_BY_A_SMALL_BUFFER: &str = "exits = false\nfailures = \"off\"\nbuffer_pages = 1\n";
const FAILURES_TOO: &str = "exits = false\nfailures = \"tracepoint\"\n";
const EXITS_TOO: &str = "failures = \"off\"\nbuffer_pages = 512\n";

/// A configuration that captures so, and counts by this label only: there are more users, and
/// may be more programs, than any view has places for.
fn capturing(what: &str, by: &str) -> String {
    format!("[capture]\n{what}[[view]]\nlabels = [\"{by}\"]\n")
}

/// More than fit into a buffer of a page, in which there are some 50 places for each CPU.
fn too_many_for_the_buffer() -> u32 {
    let cpus = available_parallelism().unwrap().get();
    200 * u32::try_from(cpus).unwrap()
}

/// More than fit into the tally too, which has 16384 entries; but not more than others have
/// places for, whose buffers are not as small, should they get to run as late.
fn too_many_for_the_tally() -> u32 {
    17_000 + too_many_for_the_buffer()
}

/// Run a program in real time, so that how busy this machine is makes no difference.
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

/// Execute a program so many times, each time as another user, before the daemon can look.
fn unseen(daemon: &Daemon, program: &Path, times: u32) {
    daemon.signal(Signal::STOP);
    go("users", program, times);
    daemon.signal(Signal::CONT);
    // It is scraped, so that the alert can be seen.
    sleep(Duration::from_secs(2));
}

/// The names of the alerts that we ship.
fn shipped_alerts() -> BTreeSet<String> {
    let rules = packaging().join("rules/execsnoopd.alerts.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let names = rules
        .lines()
        .filter_map(|line| line.split_once("- alert: "));
    names.map(|(_, name)| name.to_owned()).collect()
}

#[test]
fn each_of_the_other_alerts_fires_under_its_cause_and_none_besides() {
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
    let claiming = Service::start(&Config::default());
    let hosts = [
        ("leaving", leaving.address),
        ("storming", storming.address),
        ("behind", behind.address),
        ("failing", failing.address),
        ("burning", burning.address),
        ("reloading", reloading.address),
        ("claiming", claiming.address),
    ];
    let site = Site::start(&hosts, "storming");
    site.await_quiet(
        hosts.len(),
        &[
            "instance:execsnoop_execs:p90_1w_rate5m{instance=\"storming\"}",
            "instance_errno:execsnoop_exec_failures:rate5m{instance=\"failing\"}",
            "rate(execsnoop_cpu_seconds_by_comm_total{instance=\"burning\"}[5s])",
            "rate(execsnoop_unattributed_execs_total{instance=\"behind\"}[5s])",
            "rate(execsnoop_lost_events_total{instance=\"behind\"}[5s])",
            "execsnoop_ledger_difference{instance=\"claiming\"} == 0",
            "execsnoop_config_last_reload_successful{instance=\"reloading\"} == 1",
        ],
    );

    let down = alert("ExecsnoopTargetDown", "leaving");
    leaving.stop();
    let difference = alert("ExecsnoopLedgerDifference", "claiming");
    claiming.kernel(|kernel| kernel.ledgers[Kind::Exec].seen += 1);
    let reload_failed = alert("ExecsnoopReloadFailed", "reloading");
    std::fs::write(config.path().join("config.toml"), "nonsense = 1\n").unwrap();
    reloading.signal(Signal::HUP);
    let exec_storm = alert("ExecsnoopExecStorm", "storming");
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
        site.await_firing(&down);
        site.await_firing(&difference);
        site.await_firing(&reload_failed);
    });
    // On a slow machine it may be stopped for long enough to count as down, and rightly so.
    let stopped = alert("ExecsnoopTargetDown", "behind");
    let mut fired = site.fired();
    fired.remove(&stopped);
    let mut expected = BTreeSet::from([
        down.clone(),
        difference,
        reload_failed,
        exec_storm,
        failure_storm,
        short_lived,
        detail_loss,
        unattributed,
    ]);
    assert_eq!(fired, expected);

    site.lose_all_hosts();
    let no_targets = alert("ExecsnoopNoTargets", "");
    site.await_firing(&no_targets);
    site.await_end(&down); // who is not there is not down
    fired = site.fired();
    fired.remove(&stopped);
    expected.insert(no_targets);
    assert_eq!(fired, expected);

    let mut driven: BTreeSet<_> = fired.into_iter().map(|(name, _)| name).collect();
    driven.extend(shipped::DRIVEN.map(str::to_owned));
    assert_eq!(driven, shipped_alerts());
}
