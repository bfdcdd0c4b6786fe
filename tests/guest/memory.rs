//! Clients that do not read their answers, while the daemon has a documented limit of memory. The
//! kernel charges send buffers to the memory cgroup only if it has version 2.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use testkit::attacks::{ATTACKS, Target};
use testkit::compiled::ways;
use testkit::daemon::Daemon;
use testkit::guest::only_in_a_guest;
use testkit::limits::Limited;
use testkit::programs::{Programs, exec_times};

/// More names than slots in any view, each of another user and parent.
const NAMES: u32 = 4000;

/// An emulator is too slow for honest scrapes during an attack: `root::attacks` has them.
const DURATION: Duration = Duration::from_secs(10);

/// Executes names until the views are full, and then attacks with each number of clients that do not
/// read. No process may be killed for lack of memory, and the counts stay exact.
fn withstand(limit: u64, config: &str, views: &[&str]) {
    only_in_a_guest();
    let programs = Programs::new();
    let honest = programs.named("honest");
    let limited = Limited::memory(limit);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    fs::write(&file, config).unwrap();
    let mut command = limited.command(env!("CARGO_BIN_EXE_execsnoopd"));
    command.arg("--config").arg(&file);
    command.arg("--web.listen-address=127.0.0.1:0");
    let daemon = Daemon::spawn(command);
    exec_times(&honest, 1);
    let mut storm = Command::new(ways());
    let name = programs.path().join("m");
    storm.arg("names").arg(name).arg(NAMES.to_string());
    assert!(storm.status().unwrap().success());
    let scrape = daemon.scrape();
    for view in views {
        let sample = |name: &str| format!("execsnoop_{name}{{view=\"{view}\"}}");
        let slots = scrape.value(&sample("series_limit"));
        assert_eq!(scrape.value(&sample("series")), slots, "{view}");
    }
    let descriptors = daemon.descriptors();
    let mut executed = 1;
    let mut attacked = 0;
    let attacks = ATTACKS.iter().filter(|attack| {
        attack.target == Target::FullViews && attack.name.ends_with("read no answer")
    });
    for attack in attacks {
        let traffic = attack.start(daemon.address);
        exec_times(&honest, 2);
        executed += 2;
        sleep(DURATION);
        let (peak, kills) = (limited.peak_memory_usage(), limited.oom_kills());
        println!("{limit} bytes, {}: peak of {peak}", attack.name);
        assert_eq!(kills, 0, "{}", attack.name);
        drop(traffic);
        daemon.await_descriptors(descriptors);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("honest"), f64::from(executed));
        scrape.assert_ledger_closes();
        attacked += 1;
    }
    assert_eq!(attacked, 3);
    daemon.stop();
}

#[test]
fn unread_answers_fit_in_24_mib_with_the_default_configuration() {
    withstand(24 << 20, "", &["comm"]);
}

#[test]
fn unread_answers_fit_in_the_memory_limit_of_a_pod() {
    const POD: &str = include_str!("../../packaging/kubernetes/base/config.toml");
    // `root::image` tests that this is the limit of the manifest.
    let views = ["comm", "uid", "container_comm", "uid_parent_comm_comm"];
    withstand(64 << 20, POD, &views);
}
