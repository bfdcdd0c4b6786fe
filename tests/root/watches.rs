//! Watches: exact whatever the buffer and the views have room for, reloadable, and continued after a
//! restart.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread::scope;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use testkit::compiled::ways;
use testkit::daemon::{Daemon, configured, field, with_transport};
use testkit::http::Scrape;
use testkit::paths::public_dir;
use testkit::programs::{Programs, exec, exec_as, exec_times};
use testkit::store::Store;

testkit::over_both_transports! {
    a_watch_counts_each_exec_although_the_buffer_and_the_view_are_full
    a_watch_counts_each_exit_by_outcome_although_the_reader_is_stopped
}

fn execs(scrape: &Scrape, watch: &str) -> f64 {
    scrape.value(&format!("execsnoop_watch_execs_total{{watch=\"{watch}\"}}"))
}

fn last_exec(scrape: &Scrape, watch: &str) -> Option<f64> {
    let metric = "execsnoop_watch_last_exec_timestamp_seconds";
    scrape.find(&format!("{metric}{{watch=\"{watch}\"}}"))
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}

fn a_watch_counts_each_exec_although_the_buffer_and_the_view_are_full(transport: &str) {
    const EACH: u32 = 300;
    let programs = Programs::new();
    let (daemon, _config) = with_transport(
        transport,
        "buffer_pages = 1\n\
         [[view]]\nlabels = [\"comm\"]\nmax_series = 1\nalways = [\"takes-the-slot\"]\n\
         [[watch]]\nname = \"tallied\"\ncomm = [\"watched-?\"]\nuid = [\"700200-700202\"]\n\
         [[watch]]\nname = \"not from here\"\ncomm = [\"watched-?\"]\nnot_parent_comm = [\"*\"]\n",
    );
    let before = daemon.scrape();
    assert_eq!(execs(&before, "tallied"), 0.0);
    assert_eq!(last_exec(&before, "tallied"), None);
    daemon.signal(Signal::STOP);
    let began = now();
    let storms: Vec<PathBuf> = (0..4)
        .map(|i| programs.named(format!("watched-{i}")))
        .collect();
    scope(|scope| {
        // The last of these users is out of the range.
        for (program, uid) in storms.iter().zip(700_200..) {
            scope.spawn(move || (0..EACH).for_each(|_| exec_as(program, Some(uid))));
        }
    });
    daemon.signal(Signal::CONT);
    let scrape = daemon.scrape();
    scrape.assert_ledger_closes();
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 0.0);
    let full = "execsnoop_lost_events_total{reason=\"buffer_full\"}";
    let dropped = scrape.value(full) - before.value(full);
    assert!(dropped >= f64::from(4 * EACH) / 2.0, "{dropped} lost");
    let series = scrape.family("execsnoop_execs_by_comm_total");
    assert_eq!(
        series
            .filter(|(sample, _)| sample.contains("watched"))
            .count(),
        0
    );
    assert_eq!(execs(&scrape, "tallied"), f64::from(3 * EACH));
    assert_eq!(execs(&scrape, "not from here"), 0.0);
    let last = last_exec(&scrape, "tallied").unwrap();
    assert!(
        (began - 1.0..=now() + 1.0).contains(&last),
        "{began} {last}"
    );
}

fn a_watch_counts_each_exit_by_outcome_although_the_reader_is_stopped(transport: &str) {
    const UID: u32 = 700_220;
    let programs = Programs::new();
    let program = programs.copied(ways(), "backup");
    let (daemon, _config) = with_transport(
        transport,
        "[[watch]]\nname = \"backup\"\ncomm = [\"backup\"]\nuid = [700220]\n",
    );
    let exits = |scrape: &Scrape, metric: &str| {
        ["success", "error", "signal", "crash", "oom"].map(|outcome| {
            scrape.find(&format!(
                "{metric}{{watch=\"backup\",outcome=\"{outcome}\"}}"
            ))
        })
    };
    let total = |scrape: &Scrape| exits(scrape, "execsnoop_watch_exits_total");
    let last = |scrape: &Scrape| exits(scrape, "execsnoop_watch_last_exit_timestamp_seconds");
    let before = daemon.scrape();
    assert_eq!(total(&before), [Some(0.0); 5]);
    assert_eq!(last(&before), [None; 5]);
    let run = |uid, way: &str, n: i32| {
        let mut command = Command::new(&program);
        let status = command.args([way, "-", &n.to_string()]).uid(uid).status();
        status.expect("the program can be executed");
    };
    let began = now();
    daemon.signal(Signal::STOP);
    run(UID, "exit", 0);
    for _ in 0..2 {
        run(UID, "exit", 7);
        run(0, "exit", 0);
    }
    for _ in 0..3 {
        run(UID, "signal", 6);
    }
    daemon.signal(Signal::CONT);
    let scrape = daemon.scrape();
    scrape.assert_ledger_closes();
    assert_eq!(execs(&scrape, "backup"), 6.0);
    let expected = [1.0, 2.0, 0.0, 3.0, 0.0].map(Some);
    assert_eq!(total(&scrape), expected);
    let last = last(&scrape);
    assert_eq!(
        last.map(|of| of.is_some()),
        [true, true, false, true, false]
    );
    let is_now = |last: f64| (began - 1.0..=now() + 1.0).contains(&last);
    assert!(last.into_iter().flatten().all(is_now), "{began} {last:?}");
}

#[test]
fn each_hit_is_logged_if_the_watch_asks_for_it() {
    let programs = Programs::new();
    let (mut daemon, _config) = configured(
        "[[watch]]\nname = \"logged\"\ncomm = [\"logged-hit\"]\nlog = true\n\
         [[watch]]\nname = \"silent\"\ncomm = [\"silent-hit\"]\n",
    );
    exec(&programs.named("silent-hit"));
    exec_as(&programs.named("logged-hit"), Some(700_210));
    let line = daemon.await_log("matches a watch");
    assert_eq!(field(&line, "watch"), "logged");
    assert_eq!(field(&line, "comm"), "logged-hit");
    assert_eq!(field(&line, "uid"), "700210");
    assert_eq!(field(&line, "execs"), "1");
    let scrape = daemon.scrape();
    assert_eq!(execs(&scrape, "silent"), 1.0);
}

#[test]
fn watches_continue_after_a_reload_and_a_restart_unless_their_definition_changes() {
    let programs = Programs::new();
    let program = programs.named("continues");
    let dir = public_dir();
    let config = dir.path().join("config.toml");
    let define = |changing: &str| {
        let text = format!(
            "[[watch]]\nname = \"same\"\ncomm = [\"continues\"]\n\
             [[watch]]\nname = \"changing\"\ncomm = [\"{changing}\"]\n"
        );
        fs::write(&config, text).unwrap();
    };
    let reload = |daemon: &mut Daemon, outcome: &str| {
        daemon.signal(Signal::HUP);
        daemon.await_log(outcome);
    };
    define("continues");
    let store = Store::new();
    let mut daemon = store.start(&config);
    exec_times(&program, 3);
    let scrape = daemon.scrape();
    let both = |scrape: &Scrape| ["same", "changing"].map(|watch| execs(scrape, watch));
    assert_eq!(both(&scrape), [3.0, 3.0]);
    let last = last_exec(&scrape, "same");
    define("contin*");
    reload(&mut daemon, "configuration reloaded");
    let scrape = daemon.scrape();
    assert_eq!(both(&scrape), [3.0, 0.0]);
    assert_eq!(last_exec(&scrape, "same"), last);
    assert_eq!(last_exec(&scrape, "changing"), None);
    exec_times(&program, 2);
    assert_eq!(both(&daemon.scrape()), [5.0, 2.0]);

    // The kernel side was started without cgroups, so nothing of this is applied.
    fs::write(
        &config,
        "[[watch]]\nname = \"same\"\ncomm = [\"other\"]\n\
         [[watch]]\nname = \"of a unit\"\nunit = [\"ssh\"]\n",
    )
    .unwrap();
    reload(&mut daemon, "watch: the label `unit` needs a restart");
    exec_times(&program, 1);
    assert_eq!(both(&daemon.scrape()), [6.0, 3.0]);
    daemon.stop();

    define("continu*");
    let daemon = store.start(&config);
    let scrape = daemon.scrape();
    assert_eq!(both(&scrape), [6.0, 0.0]);
    let later = last_exec(&scrape, "same");
    assert!(later > last, "{later:?}, before {last:?}");
    exec_times(&program, 1);
    assert_eq!(both(&daemon.scrape()), [7.0, 1.0]);
}
