//! CPUs go offline and come online while the daemon runs.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use testkit::daemon::{field, with_transport};
use testkit::guest::only_in_a_guest;
use testkit::programs::{Programs, exec, exec_times};
use testkit::set_on_drop::SetOnDrop;

/// The CPU that goes offline and online. It is not CPU 0, which the kernel may refuse to switch off.
const CPU: usize = 1;

/// Switches the CPU on or off. Panics if the kernel refuses, because the test would prove nothing.
#[track_caller]
fn switch(on: bool) {
    only_in_a_guest();
    let file = format!("/sys/devices/system/cpu/cpu{CPU}/online");
    // Try again, because the kernel may refuse temporarily.
    for _ in 0..100 {
        if fs::write(&file, if on { "1" } else { "0" }).is_ok() {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let is = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(is.trim() == "1", on, "{file} cannot be switched");
}

testkit::over_both_transports! {
    no_exec_is_missed_while_a_cpu_goes_offline_and_online_in_a_storm
    counts_are_exact_on_a_cpu_that_came_online_after_the_start
}

/// Pins the calling thread, and therefore the programs that it executes, to a CPU.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("a thread can be pinned");
}

fn no_exec_is_missed_while_a_cpu_goes_offline_and_online_in_a_storm(transport: &str) {
    const THREADS: u32 = 4;
    const ROUNDS: u32 = 5;
    switch(true);
    let (daemon, _config) = with_transport(transport, "");
    let programs = Programs::new();
    let storms: Vec<_> = (0..THREADS)
        .map(|i| programs.named(format!("storm{i}")))
        .collect();
    let ended = AtomicBool::new(false);
    let execs: Vec<u32> = scope(|scope| {
        let threads: Vec<_> = storms
            .iter()
            .map(|program| {
                scope.spawn(|| {
                    let mut execs = 0;
                    while !ended.load(Ordering::Relaxed) {
                        exec(program);
                        execs += 1;
                    }
                    execs
                })
            })
            .collect();
        let end_storms = SetOnDrop(&ended);
        for _ in 0..ROUNDS {
            sleep(Duration::from_millis(300));
            switch(false);
            sleep(Duration::from_millis(300));
            switch(true);
        }
        sleep(Duration::from_millis(300));
        drop(end_storms);
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect()
    });
    // Check that counts are also exact after the CPU has been switched.
    exec_times(&storms[0], 100);
    let scrape = daemon.scrape();
    for (i, execs) in execs.into_iter().enumerate() {
        let execs = if i == 0 { execs + 100 } else { execs };
        assert!(execs > 0);
        assert_eq!(scrape.execs_of(&format!("storm{i}")), f64::from(execs));
    }
    scrape.assert_ledger_closes();
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 0.0);
    assert_eq!(field(&daemon.stop(), "ledger_difference"), "0");
}

fn counts_are_exact_on_a_cpu_that_came_online_after_the_start(transport: &str) {
    const EACH: u32 = 200;
    switch(true);
    switch(false);
    let (daemon, _config) = with_transport(transport, "");
    let programs = Programs::new();
    let (old, new) = (programs.named("old-cpu"), programs.named("new-cpu"));
    switch(true);
    let before = daemon.scrape();
    scope(|scope| {
        for (cpu, program) in [(0, &old), (CPU, &new)] {
            scope.spawn(move || {
                pin(cpu);
                exec_times(program, EACH);
            });
        }
    });
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("old-cpu"), f64::from(EACH));
    assert_eq!(scrape.execs_of("new-cpu"), f64::from(EACH));
    scrape.assert_ledger_closes();
    assert_eq!(scrape.value("execsnoop_unattributed_execs_total"), 0.0);
    // The new CPU has no perf buffer, so its execs are tallied and lose their detail.
    let no_buffer = "execsnoop_lost_events_total{reason=\"no_buffer\"}";
    let lost = scrape.value(no_buffer) - before.value(no_buffer);
    let expected = if transport == "perf" { EACH } else { 0 };
    assert_eq!(lost, f64::from(expected));
    assert_eq!(
        scrape.sum("execsnoop_lost_events_total"),
        scrape.value(no_buffer)
    );
    assert_eq!(field(&daemon.stop(), "ledger_difference"), "0");
}
