//! Sets the time of day a day ahead and back while the daemon counts.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use testkit::daemon::{Daemon, field};
use testkit::guest::only_in_a_guest;
use testkit::http::get;
use testkit::notified::Notified;
use testkit::programs::{Programs, exec_times};

const DAY: i64 = 86_400;
const EACH: u32 = 50;

fn set_ahead(seconds: i64) {
    only_in_a_guest();
    let now = clock_gettime(ClockId::Realtime);
    let then = Timespec {
        tv_sec: now.tv_sec + seconds,
        ..now
    };
    clock_settime(ClockId::Realtime, then).expect("the clock can be set");
}

#[test]
fn setting_the_clock_a_day_ahead_and_back_affects_no_count() {
    only_in_a_guest();
    let programs = Programs::new();
    let (program, shown) = (programs.named("clocked"), programs.named("shown"));
    let notified = Notified::new();
    let daemon = Daemon::start_with(&[], |command| {
        notified.by(command);
        command.env("WATCHDOG_USEC", "1000000");
    });
    let mut trace = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
        .args(["trace", "--comm=shown", "--json", "--count=3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut begin = String::new();
    BufReader::new(trace.stderr.take().unwrap())
        .read_line(&mut begin)
        .unwrap();
    assert!(begin.contains("tracing by"), "{begin}");
    let mut rows = BufReader::new(trace.stdout.take().unwrap()).lines();

    let mut counted = 0;
    for ahead in [0, DAY, -2 * DAY] {
        set_ahead(ahead);
        exec_times(&shown, 1);
        let row = rows.next().unwrap().unwrap();
        let now = SystemTime::now();
        let time = humantime::parse_rfc3339(field_of_time(&row)).unwrap();
        let age = now.duration_since(time).unwrap_or_default();
        // The row shows the new time of day.
        assert!(age < Duration::from_secs(30), "{row} at {now:?}");
        let into_the_future = time.duration_since(now).unwrap_or_default();
        assert!(into_the_future < Duration::from_secs(1), "{row} at {now:?}");

        exec_times(&program, EACH);
        counted += EACH;
        let asked = Instant::now();
        let scrape = daemon.scrape();
        assert!(asked.elapsed() < Duration::from_secs(10));
        assert_eq!(scrape.execs_of("clocked"), f64::from(counted));
        scrape.assert_ledger_closes();
        let took = scrape.value("execsnoop_scrape_duration_seconds");
        assert!((0.0..10.0).contains(&took), "{took}");
        let lifetimes = scrape.value("execsnoop_process_lifetime_seconds_sum");
        assert!((0.0..3600.0).contains(&lifetimes), "{lifetimes}");
        let page = get(daemon.address, "/").text();
        let day = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        assert!(page.contains(&day[..10]), "no {day} on the page");
        notified.discard();
        notified.await_line("WATCHDOG=1");
    }
    assert!(trace.wait().unwrap().success());
    assert_eq!(field(&daemon.stop(), "ledger_difference"), "0");
}

fn field_of_time(row: &str) -> &str {
    let (_, time) = row.split_once("\"time\":\"").expect("a time");
    time.split('"').next().unwrap()
}
