//! More names of files than the kernel side keeps.

use std::fs::hard_link;

use rustix::process::Signal;
use testkit::daemon::configured;
use testkit::http::Scrape;
use testkit::programs::{Programs, exec_as};

const UNKNOWN: &str = "execsnoop_unknown_exe_execs_total";

fn by_exe(exe: &str) -> String {
    format!("execsnoop_execs_by_exe_total{{exe=\"{exe}\"}}")
}

/// While the daemon is stopped, it cannot read any name. Nothing is lost but names, and each
/// name that is executed again is known again.
#[test]
fn a_crowd_of_names_makes_some_unknown_and_loses_no_count() {
    // The kernel side keeps 8192, and the tally has room for 16 384.
    const NAMES: u32 = 12_000;
    // Nobody else has this ID, so the view has nothing of other programs on this host.
    const USER: u32 = 710_200;
    let programs = Programs::new();
    let (daemon, _config) = configured(&format!(
        "[[view]]\nlabels = [\"exe\"]\nwhere = {{ uid = [{USER}] }}\nmax_series = 20000\n"
    ));
    let path = |n: u32| programs.path().join(format!("crowd-{n}"));
    for n in 0..NAMES {
        hard_link(programs.path().join("nop"), path(n)).unwrap();
    }
    daemon.scrape();
    daemon.signal(Signal::STOP);
    for n in 0..NAMES {
        exec_as(&path(n), Some(USER));
    }
    daemon.signal(Signal::CONT);
    let scrape = daemon.scrape();
    let known = |scrape: &Scrape| {
        let of_crowd = scrape.family("execsnoop_execs_by_exe_total");
        let of_crowd = of_crowd.filter(|(sample, _)| sample.contains("\"crowd-"));
        of_crowd.map(|(_, count)| count).sum::<f64>()
    };
    let unknown = scrape.value(&by_exe("unknown"));
    assert!(unknown > 0.0);
    assert!(scrape.value(UNKNOWN) >= unknown);
    assert_eq!(known(&scrape) + unknown, f64::from(NAMES));
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 0.0);
    scrape.assert_ledger_closes();
    for _ in 0..3 {
        exec_as(&path(0), Some(USER));
    }
    let after = daemon.scrape();
    assert_eq!(after.value(&by_exe("unknown")), unknown);
    let before = scrape.find(&by_exe("crowd-0")).unwrap_or(0.0);
    assert_eq!(after.value(&by_exe("crowd-0")), before + 3.0);
}
