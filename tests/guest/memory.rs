//! Clients that do not read their answers, while the daemon has a documented limit of memory. Honest
//! scrapes are answered, exact and in time. The kernel charges send buffers to the memory cgroup only if
//! it has version 2.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::attacks::{ATTACKS, Target};
use testkit::compiled::ways;
use testkit::daemon::Daemon;
use testkit::guest::only_in_a_guest;
use testkit::http::{Scrape, get};
use testkit::limits::Limited;
use testkit::programs::{Programs, exec_times};

/// More names than slots in any view, each of another user and parent.
const NAMES: u32 = 4000;

/// The honest scrapes during an attack, and the pause after each.
const SCRAPES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// How long a scrape may take, by the clock of the guest. This clock counts instructions, so that the
/// time depends neither on the emulator nor on the load of the host. An instruction on either CPU takes
/// a nanosecond (`tests/vm/run`), and servers are several times faster. The hostile clients run on the
/// same CPUs.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Executes names until the views are full, and then attacks with each number of clients that do not
/// read. No process may be killed for lack of memory, and each scrape is exact and in time.
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
    // Within one read of the buffers, execs of different CPUs have no order. So the program has its
    // slot before the storm begins.
    assert_eq!(daemon.scrape().execs_of("honest"), 1.0);
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
    let (_, alone) = timed_scrape(&daemon);
    println!("{limit} bytes, no attack: a scrape of {alone:?}");
    let mut executed = 1;
    let mut attacked = 0;
    let attacks = ATTACKS.iter().filter(|attack| {
        attack.target == Target::FullViews && attack.name.ends_with("read no answer")
    });
    for attack in attacks {
        let traffic = attack.start(daemon.address);
        let mut times = Vec::new();
        for _ in 0..SCRAPES {
            exec_times(&honest, 2);
            executed += 2;
            let (scrape, time) = timed_scrape(&daemon);
            assert_eq!(scrape.execs_of("honest"), f64::from(executed));
            scrape.assert_ledger_closes();
            assert!(time < TIME_LIMIT, "{}: {time:?}", attack.name);
            times.push(time);
            sleep(PAUSE);
        }
        times.sort();
        let (peak, kills) = (limited.peak_memory_usage(), limited.oom_kills());
        println!("{limit} bytes, {}: peak of {peak}", attack.name);
        println!("scrapes of {times:?}, {} connections", traffic.done());
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

/// Scrapes once, without a second try. The time is that of the request.
fn timed_scrape(daemon: &Daemon) -> (Scrape, Duration) {
    let start = Instant::now();
    let answer = get(daemon.address, "/metrics");
    let time = start.elapsed();
    assert_eq!(answer.status, 200);
    (Scrape::parse(&answer.text()), time)
}

#[test]
fn unread_answers_fit_in_24_mib_with_the_default_configuration() {
    withstand(24 << 20, "", &["comm"]);
}

#[test]
fn unread_answers_fit_in_the_memory_limit_of_a_pod() {
    const POD: &str = include_str!("../../packaging/kubernetes/base/config.toml");
    // `root::image` tests that this is the limit of the manifest.
    let views = ["comm", "uid", "container_comm"];
    withstand(64 << 20, POD, &views);
}
