//! The histogram of the execs per second: real storms, a daemon that is late, and one that is killed.

use std::path::Path;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use testkit::daemon::{Daemon, with_transport};
use testkit::http::Scrape;
use testkit::paths::public_dir;
use testkit::programs::{Programs, exec_times};
use testkit::store::Store;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

const THREADS: u32 = 4;
const EACH: u32 = 400;

const COUNT: &str = "execsnoop_execs_per_second_count";
const SUM: &str = "execsnoop_execs_per_second_sum";

testkit::over_both_transports! {
    each_exec_and_each_second_is_counted_once_even_if_the_daemon_is_late
}

fn storm(program: &Path) {
    scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| exec_times(program, EACH));
        }
    });
}

/// Scrapes until all execs are in the histogram. That is the case when the current second began
/// without an exec, whatever else this host executes.
#[track_caller]
fn await_all(daemon: &Daemon) -> Scrape {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let scrape = daemon.scrape();
        let (sum, execs) = (scrape.value(SUM), scrape.value("execsnoop_execs_total"));
        assert!(sum <= execs, "{sum} of {execs}");
        if sum == execs {
            return scrape;
        }
        assert!(Instant::now() < deadline, "{sum} of {execs}");
        sleep(Duration::from_millis(20));
    }
}

/// The number of seconds that have ended since the boot.
fn seconds() -> f64 {
    let now = clock_gettime(ClockId::Monotonic).tv_sec;
    f64::from(u32::try_from(now).unwrap())
}

/// The number of seconds in the histogram, and the least and the most that have ended.
fn counted_seconds(daemon: &Daemon) -> (f64, [f64; 2]) {
    let before = seconds();
    let counted = daemon.scrape().value(COUNT);
    (counted, [before, seconds()])
}

fn each_exec_and_each_second_is_counted_once_even_if_the_daemon_is_late(transport: &str) {
    let programs = Programs::new();
    let program = programs.named("per-second");
    let (daemon, _config) = with_transport(transport, "");
    let (counted, passed) = counted_seconds(&daemon);
    let before = await_all(&daemon);
    storm(&program);
    await_all(&daemon);
    daemon.signal(Signal::STOP);
    storm(&program);
    // At least one second ends.
    sleep(Duration::from_millis(1100));
    daemon.signal(Signal::CONT);
    let after = await_all(&daemon);
    assert_eq!(after.execs_of("per-second"), f64::from(2 * THREADS * EACH));
    let more = after.value(SUM) - before.value(SUM);
    assert!(more >= f64::from(2 * THREADS * EACH), "{more}");

    let (later, passed_later) = counted_seconds(&daemon);
    let exact = passed_later[0] - passed[1]..=passed_later[1] - passed[0];
    assert!(
        exact.contains(&(later - counted)),
        "{later} after {counted}"
    );
    after.assert_ledger_closes();
}

#[test]
fn the_execs_per_second_continue_after_a_kill() {
    let programs = Programs::new();
    let program = programs.named("per-second-kill");
    let dir = public_dir();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "").unwrap();
    let store = Store::new();
    let first = store.start(&config);
    let (counted, passed) = counted_seconds(&first);
    storm(&program);
    first.kill(Signal::KILL);
    storm(&program);
    let daemon = store.start(&config);
    let after = await_all(&daemon);
    assert!(after.value(SUM) >= f64::from(2 * THREADS * EACH));
    let (later, passed_later) = counted_seconds(&daemon);
    let exact = passed_later[0] - passed[1]..=passed_later[1] - passed[0];
    assert!(
        exact.contains(&(later - counted)),
        "{later} after {counted}"
    );
}
