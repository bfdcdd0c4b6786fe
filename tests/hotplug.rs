//! CPUs that go and come while the daemon runs. Switches the machine's CPUs off: run by
//! `make test-vm`, in guests.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use testkit::daemon::{field, over};
use testkit::guest::only_in_a_guest;
use testkit::programs::{Programs, exec, exec_times};

/// The CPU that goes and comes. The kernel may insist on keeping CPU 0.
const CPU: usize = 1;

/// Switch the CPU on or off. Where that cannot be done nothing is proved: it panics.
#[track_caller]
fn switch(on: bool) {
    only_in_a_guest();
    let file = format!("/sys/devices/system/cpu/cpu{CPU}/online");
    // It may be busy for a moment.
    for _ in 0..100 {
        if fs::write(&file, if on { "1" } else { "0" }).is_ok() {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let is = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(is.trim() == "1", on, "{file} cannot be switched");
}

/// Run the calling thread, and what it executes, on one CPU only.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("a thread can be pinned");
}

#[test]
fn a_cpu_that_goes_and_comes_in_a_storm_costs_no_count_perf() {
    a_cpu_that_goes_and_comes_in_a_storm_costs_no_count("perf");
}

#[test]
fn a_cpu_that_goes_and_comes_in_a_storm_costs_no_count_ringbuf() {
    a_cpu_that_goes_and_comes_in_a_storm_costs_no_count("ringbuf");
}

fn a_cpu_that_goes_and_comes_in_a_storm_costs_no_count(road: &str) {
    const THREADS: u32 = 4;
    const ROUNDS: u32 = 5;
    switch(true);
    let (daemon, _config) = over(road, "");
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
        for _ in 0..ROUNDS {
            sleep(Duration::from_millis(300));
            switch(false);
            sleep(Duration::from_millis(300));
            switch(true);
        }
        sleep(Duration::from_millis(300));
        ended.store(true, Ordering::Relaxed);
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect()
    });
    // And once more, when all has settled.
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

#[test]
fn on_a_cpu_that_came_after_the_start_counts_are_exact_perf() {
    on_a_cpu_that_came_after_the_start_counts_are_exact("perf");
}

#[test]
fn on_a_cpu_that_came_after_the_start_counts_are_exact_ringbuf() {
    on_a_cpu_that_came_after_the_start_counts_are_exact("ringbuf");
}

fn on_a_cpu_that_came_after_the_start_counts_are_exact(road: &str) {
    const EACH: u32 = 200;
    switch(true);
    switch(false);
    let (daemon, _config) = over(road, "");
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
    // There is no perf buffer on that CPU: its execs and exits come by the tally, and lose
    // their detail.
    let no_buffer = "execsnoop_lost_events_total{reason=\"no_buffer\"}";
    let lost = scrape.value(no_buffer) - before.value(no_buffer);
    let expected = if road == "perf" { 2 * EACH } else { 0 };
    assert_eq!(lost, f64::from(expected));
    assert_eq!(
        scrape.sum("execsnoop_lost_events_total"),
        scrape.value(no_buffer)
    );
    assert_eq!(field(&daemon.stop(), "ledger_difference"), "0");
}
