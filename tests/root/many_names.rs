//! An attacker who executes as many different programs, as as many different users, as possible: what
//! it costs others.

use std::process::Command;
use std::thread::{ScopedJoinHandle, scope, sleep};
use std::time::Duration;

use testkit::compiled::ways;
use testkit::daemon::configured;
use testkit::http::Scrape;
use testkit::programs::{Programs, exec_as, exec_times};

/// The number of different programs, unless this variable is set.
const PROGRAMS: u32 = 100_000;
const VARIABLE: &str = "EXECSNOOPD_ATTACK_PROGRAMS";
const THREADS: u32 = 2;
const USERS: u32 = 1000;
const MAX_SERIES: u32 = 600;

const VIEWS: &str = "\
    [[view]]\nlabels = [\"comm\"]\nmax_series = 600\nalways = [\"reserved\"]\n\
    [[view]]\nlabels = [\"uid\", \"user\"]\nmax_series = 600\n\
    [[view]]\nlabels = [\"user\"]\nmax_series = 600\n\
    [[view]]\nlabels = [\"parent_comm\", \"comm\"]\nmax_series = 600\n\
    [[view]]\nlabels = [\"unit\", \"slice\", \"container\", \"comm\"]\nmax_series = 600\n";

#[test]
fn many_names_of_a_thousand_users_lose_no_count_and_evict_no_series_in_use() {
    let programs_each = match std::env::var(VARIABLE) {
        Ok(number) => number.parse().expect("a number"),
        Err(_) => PROGRAMS,
    } / THREADS;
    let programs = Programs::new();
    let (known, reserved) = (programs.named("known-before"), programs.named("reserved"));
    let (daemon, _config) = configured(VIEWS);
    exec_times(&known, 5);
    exec_as(&known, Some(700_400));
    daemon.scrape();
    let peak_before = daemon.peak_kib();
    scope(|scope| {
        let storms: Vec<_> = (0..THREADS)
            .map(|i| {
                let program = programs.path().join(format!("s{i}"));
                scope.spawn(move || {
                    let mut storm = Command::new(ways());
                    storm
                        .arg("names")
                        .arg(program)
                        .arg(programs_each.to_string());
                    assert!(storm.status().unwrap().success());
                })
            })
            .collect();
        while !storms.iter().all(ScopedJoinHandle::is_finished) {
            daemon.scrape().assert_ledger_closes();
            sleep(Duration::from_millis(100));
        }
    });
    exec_times(&known, 5);
    exec_times(&reserved, 5);
    let scrape = daemon.scrape();
    scrape.assert_ledger_closes();
    assert_eq!(scrape.execs_of("known-before"), 11.0);
    assert_eq!(scrape.execs_of("reserved"), 5.0);
    assert_eq!(by_uid(&scrape, 700_400), 1.0);
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 0.0);
    for view in [
        "comm",
        "uid",
        "user",
        "parent_comm_comm",
        "unit_slice_container_comm",
    ] {
        let series = scrape.value(&format!("execsnoop_series{{view=\"{view}\"}}"));
        assert_eq!(series, f64::from(MAX_SERIES), "{view}");
    }
    // Every exec of each user with a series of its own has been counted.
    let each = f64::from(programs_each / USERS * THREADS);
    let of_uids = scrape.family("execsnoop_execs_by_uid_total");
    let (storming, others): (Vec<_>, Vec<_>) = of_uids
        .filter(|(sample, _)| !sample.contains("uid=\"other\""))
        .partition(|(sample, _)| sample.contains("uid=\"800"));
    assert_eq!(storming.len() + others.len(), MAX_SERIES as usize);
    for (sample, execs) in storming {
        assert_eq!(execs, each, "{sample}");
    }
    let grown = daemon.peak_kib() - peak_before;
    assert!(grown < 6 * 1024, "grew by {grown} KiB");
    daemon.stop();
}

fn by_uid(scrape: &Scrape, uid: u32) -> f64 {
    let sample = format!("execsnoop_execs_by_uid_total{{uid=\"{uid}\",user=\"\"}}");
    scrape.find(&sample).unwrap_or(0.0)
}
