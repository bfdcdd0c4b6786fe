//! Storms of new names. They run alone, because every daemon observes the whole host: the names would
//! fill the views of the daemons that other tests start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use testkit::compiled::ways;
use testkit::daemon::{NAMES_BETWEEN_SCRAPES, configured, exec_names};
use testkit::http::Scrape;
use testkit::programs::{Programs, exec, exec_as, exec_times, go};
use testkit::set_on_drop::SetOnDrop;

/// The number of different programs by default.
const PROGRAMS: u32 = 100_000;
/// The environment variable that overrides [`PROGRAMS`].
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
    let mut in_use = 1.0;
    let mut last = daemon.scrape();
    let mut scraped = || {
        let scrape = daemon.scrape();
        scrape.assert_ledger_closes();
        assert_increases_are_equal(&scrape, &last);
        last = scrape;
    };
    for _round in 0..programs_each / NAMES_BETWEEN_SCRAPES {
        scope(|scope| {
            for thread in 0..THREADS {
                let program = programs.path().join(format!("s{thread}"));
                scope
                    .spawn(move || assert!(go("names", &program, NAMES_BETWEEN_SCRAPES).success()));
            }
            // A user of the storm who is seen in more than twice as many seconds as root or this user
            // could evict their series. Executing as both throughout the storm prevents that, however
            // long the storm takes.
            exec(&known);
            exec_as(&known, Some(700_400));
            in_use += 1.0;
            scraped();
        });
        scraped();
    }
    exec_times(&known, 5);
    exec_times(&reserved, 5);
    let scrape = daemon.scrape();
    scrape.assert_ledger_closes();
    assert_eq!(scrape.execs_of("known-before"), 9.0 + 2.0 * in_use);
    assert_eq!(scrape.execs_of("reserved"), 5.0);
    assert_eq!(by_uid(&scrape, 700_400), in_use);
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
    println!("grew by {grown} KiB");
    assert!(grown < 6 * 1024, "grew by {grown} KiB");
    daemon.stop();
}

/// Asserts that Prometheus sees the same number of execs in each view as in total, although series
/// are evicted. Names that do not change are required, so views by user are left out.
fn assert_increases_are_equal(scrape: &Scrape, last: &Scrape) {
    let total = scrape.increase(last, "execsnoop_execs_total");
    for view in ["comm", "parent_comm_comm", "unit_slice_container_comm"] {
        let of_view = scrape.increase(last, &format!("execsnoop_execs_by_{view}_total"));
        // A program of the host that was scraped with one exec, was evicted and has returned, looks
        // as if it had not been executed again.
        assert!(
            (0.0..4.0).contains(&(total - of_view)),
            "{view}: {of_view} of {total}"
        );
    }
}

fn by_uid(scrape: &Scrape, uid: u32) -> f64 {
    let sample = format!("execsnoop_execs_by_uid_total{{uid=\"{uid}\",user=\"\"}}");
    scrape.find(&sample).unwrap_or(0.0)
}

/// The default number of slots of a view.
const SLOTS: u32 = 1000;

#[test]
fn forks_that_rename_themselves_do_not_hide_a_program() {
    let programs = Programs::new();
    let visible = programs.named("after-forks");
    let (daemon, _config) = configured("");
    let status = go("forks", &programs.path().join("nop"), SLOTS + 200);
    assert!(status.success());
    let series = "execsnoop_series{view=\"comm\"}";
    // The kernel frees a process some milliseconds after it was reaped. Only then it has a series.
    let deadline = Instant::now() + Duration::from_secs(10);
    while daemon.scrape().value(series) < f64::from(SLOTS) {
        assert!(Instant::now() < deadline, "the view does not fill up");
        sleep(Duration::from_millis(10));
    }
    exec(&visible);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("after-forks"), 1.0);
    assert_eq!(scrape.value(series), f64::from(SLOTS));
    scrape.assert_ledger_closes();
    daemon.stop();
}

#[test]
fn names_of_one_user_do_not_hide_a_program_of_another() {
    let programs = Programs::new();
    let names = (0..SLOTS + 100).map(|n| programs.named(format!("crowd-{n}")));
    let names: Vec<_> = names.collect();
    let visible = programs.named("after-crowd");
    let (daemon, _config) = configured("");
    for name in &names {
        exec_as(name, Some(700_500));
    }
    let scrape = daemon.scrape();
    assert_eq!(
        scrape.value("execsnoop_series{view=\"comm\"}"),
        f64::from(SLOTS)
    );
    assert!(scrape.execs_of("other") >= 100.0);
    exec(&visible);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("after-crowd"), 1.0);
    scrape.assert_ledger_closes();
    daemon.stop();
}

#[test]
fn a_program_executed_every_second_has_a_series_in_a_storm_of_new_names() {
    let programs = Programs::new();
    let returning = programs.named("every-second");
    let (daemon, _config) = configured("");
    let address = daemon.address;
    let is_over = AtomicBool::new(false);
    let (has_series_after, executed, scrape) = scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let program = programs.path().join(format!("r{round}"));
                exec_names(address, ways(), &program, 2_000);
            }
        });
        let _over = SetOnDrop(&is_over);
        // Wait until the view is full of names that were executed once.
        while daemon.scrape().execs_of("other") < 5_000.0 {
            sleep(Duration::from_millis(100));
        }
        let began = Instant::now();
        let mut has_series_after = None;
        let mut executed = 0;
        while began.elapsed() < Duration::from_secs(60) {
            exec(&returning);
            executed += 1;
            if has_series_after.is_none() && daemon.scrape().execs_of("every-second") > 0.0 {
                has_series_after = Some(executed);
            }
            sleep(
                (began + Duration::from_secs(executed)).saturating_duration_since(Instant::now()),
            );
        }
        (has_series_after, executed, daemon.scrape())
    });
    let has_series_after = has_series_after.expect("a series within a minute");
    // Each exec since the program got a series is counted in that series.
    let counted = scrape.execs_of("every-second");
    assert_eq!(counted, (executed - has_series_after + 1) as f64);
    scrape.assert_ledger_closes();
    daemon.stop();
}
