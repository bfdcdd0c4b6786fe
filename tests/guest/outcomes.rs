//! The OOM killer: of a whole cgroup, which needs cgroups of version 2, and of the host.

use std::fs;
use std::process::Command;

use testkit::compiled::ways;
use testkit::daemon::configured;
use testkit::guest::only_in_a_guest;
use testkit::http::Scrape;
use testkit::limits::Limited;
use testkit::programs::Programs;

const VIEW: &str = "[[view]]\nlabels = [\"comm\"]\nmetrics = [\"exits\"]\n";

fn oom(scrape: &Scrape, comm: &str) -> f64 {
    let labels = format!("{{comm=\"{comm}\",outcome=\"oom\"}}");
    scrape.value(&format!("execsnoop_exits_by_comm_total{labels}"))
}

#[test]
fn every_process_of_a_group_that_the_oom_killer_kills_has_the_outcome_oom() {
    only_in_a_guest();
    let programs = Programs::new();
    let (daemon, _config) = configured(VIEW);
    let [hog, beside] = ["group-hog", "group-near"].map(|name| programs.copied(ways(), name));
    let limited = Limited::memory(16 << 20);
    limited.kill_as_a_group();
    let near = |_| {
        let mut command = limited.command(beside.to_str().unwrap());
        command.args(["sleep", "-", "600000"]).spawn().unwrap()
    };
    let sleepers: Vec<_> = (0..3).map(near).collect();
    // Before the limit is reached, the sleepers have executed their program.
    daemon.await_above("execsnoop_execs_total", 5.0);
    let mut command = limited.command(hog.to_str().unwrap());
    command.args(["hog", "-", "0"]).status().unwrap();
    for mut sleeper in sleepers {
        sleeper.wait().unwrap();
    }
    let scrape = daemon.scrape();
    assert_eq!(oom(&scrape, "group-hog"), 1.0);
    assert_eq!(oom(&scrape, "group-near"), 3.0);
    assert_eq!(scrape.value("execsnoop_oom_kills_total"), 4.0);
    scrape.assert_ledger_closes();
}

#[test]
fn a_process_that_the_oom_killer_of_the_host_kills_has_the_outcome_oom() {
    only_in_a_guest();
    let programs = Programs::new();
    let (daemon, _config) = configured(VIEW);
    let hog = programs.copied(ways(), "host-hog");
    // The first to be killed, so that nothing else is.
    let script = "echo 1000 >/proc/self/oom_score_adj && exec \"$0\" hog - 0";
    let killed = Command::new("sh").args(["-c", script]).arg(&hog).status();
    assert!(!killed.unwrap().success());
    fs::remove_file(&hog).unwrap();
    let scrape = daemon.scrape();
    assert_eq!(oom(&scrape, "host-hog"), 1.0);
    assert_eq!(scrape.value("execsnoop_oom_kills_total"), 1.0);
    scrape.assert_ledger_closes();
}
