//! Totals on a machine where nothing else executes programs, so that each total has a known value.
//! `tests/vm/run` fills its table from the output lines that begin with `fact`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use testkit::compiled::{failing, ways};
use testkit::confined::{public_copy, unit_capabilities};
use testkit::daemon::{Daemon, code};
use testkit::guest::only_in_a_guest;
use testkit::http::Scrape;
use testkit::programs::{Programs, exec_times};

/// The exit status of a program that fails [`FAILURES`] times. No other program has it.
pub(crate) const STATUS: u8 = 77;
/// A multiple of four, because the program fails in four system calls in turn.
pub(crate) const FAILURES: u32 = 100;

/// The exit status and the failures of the program that storms execute.
pub(crate) const STORM_STATUS: u8 = 78;
pub(crate) const STORM_FAILURES: u32 = 4;

#[test]
fn with_the_defaults_every_exec_failure_and_exit_is_counted() {
    only_in_a_guest();
    let daemon = Daemon::start(&[]);
    let scrape = daemon.scrape();
    println!("\nfact exec: {}", hooks(&scrape, "exec"));
    println!("fact failure: {}", hooks(&scrape, "failure"));
    println!("fact exit: {}", hooks(&scrape, "exit"));
    println!("fact CPU time: {}", hooks(&scrape, "cpu_time"));
    let programs = scrape.family("execsnoop_program_missed_runs_total").count();
    println!("fact programs: {programs}");
    println!("fact transport: {}", transport(&scrape));
    counts_exactly(&daemon, "");
}

#[test]
fn with_the_two_capabilities_of_the_unit_every_exec_failure_and_exit_is_counted() {
    only_in_a_guest();
    let (program, _dir) = public_copy();
    let daemon = Daemon::spawn(unit_capabilities(&program));
    println!("\nfact unit transport: {}", transport(&daemon.scrape()));
    counts_exactly(&daemon, "unit ");
}

/// Causes a known number of execs, failures and exits, and asserts that nothing else is counted.
fn counts_exactly(daemon: &Daemon, who: &str) {
    const EXECS: u32 = 300;
    const FAILING: u32 = 10;
    let programs = Programs::new();
    let known = programs.named("known");
    let failing = failing(FAILURES, STATUS);
    let before = daemon.scrape();
    exec_times(&known, EXECS);
    for _ in 0..FAILING {
        assert_eq!(
            code(Command::new(&failing).status().unwrap()),
            i32::from(STATUS)
        );
    }
    let after = daemon.scrape();
    let more = |family| after.sum(family) - before.sum(family);
    let all = f64::from(EXECS + FAILING);
    assert_eq!(after.execs_of("known"), f64::from(EXECS));
    assert_eq!(more("execsnoop_execs_total"), all);
    println!("fact {who}counts exact: yes");

    if observes(&after, "failure") {
        let failures = f64::from(FAILING * FAILURES);
        let enoent = "execsnoop_exec_failures_total{errno=\"ENOENT\"}";
        assert_eq!(difference(&before, &after, enoent), failures);
        assert_eq!(more("execsnoop_exec_failures_total"), failures);
        println!("fact {who}failures exact: yes");
    }
    if observes(&after, "exit") {
        let of_status = format!("execsnoop_exits_total{{reason=\"exited\",code=\"{STATUS}\"}}");
        assert_eq!(difference(&before, &after, &of_status), f64::from(FAILING));
        assert_eq!(more("execsnoop_exits_total"), all);
        println!("fact {who}exits exact: yes");
    }
    after.assert_ledger_closes();
    assert_eq!(after.sum("execsnoop_lost_events_total"), 0.0);
}

#[test]
fn a_storm_at_idle_priority_is_counted_exactly_despite_bursts_of_busy_tasks() {
    only_in_a_guest();
    let before = fs::read_to_string(PREEMPTION).unwrap_or_default();
    // Kernels whose mode of preemption can be changed list the modes in this file.
    let modes = ["full", "lazy"].into_iter();
    let modes: Vec<_> = modes.filter(|mode| before.contains(mode)).collect();
    for mode in &modes {
        fs::write(PREEMPTION, mode).unwrap();
        storms_are_counted_exactly(mode);
    }
    if modes.is_empty() {
        storms_are_counted_exactly("the kernel's only");
    }
    let active = before.split(['(', ')']).nth(1);
    if let Some(active) = active {
        fs::write(PREEMPTION, active).unwrap();
    }
}

/// How the kernel preempts tasks, with the active mode in parentheses.
const PREEMPTION: &str = "/sys/kernel/debug/sched/preempt";

/// Tasks at idle priority can be preempted anywhere, and for a long time. If the kernel preempts such
/// a task inside a program, it skips this program for all other tasks on that CPU meanwhile.
fn storms_are_counted_exactly(preemption: &str) {
    const TASKS: [(&str, u32); 3] = [("idle-storm", 4), ("storm", 2), ("bursts", 2)];
    const MS: &str = "8000";
    let programs = Programs::new();
    let ways = programs.copied(ways(), "ways");
    let storm = programs.copied(&failing(STORM_FAILURES, STORM_STATUS), "storm");
    let daemon = Daemon::start(&[]);
    let before = daemon.scrape();
    let tasks = TASKS.iter().flat_map(|&(way, n)| (0..n).map(move |_| way));
    let tasks: Vec<_> = tasks
        .map(|way| {
            let mut command = Command::new(&ways);
            command.arg(way).arg(&storm).arg(MS).uid(65534).gid(65534);
            let child = command.stdout(Stdio::piped()).spawn();
            child.expect("the program of ways can be executed")
        })
        .collect();
    let others = u32::try_from(tasks.len()).unwrap();
    let execs: u32 = tasks
        .into_iter()
        .map(|task| {
            let output = task.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", output.status);
            let printed = String::from_utf8(output.stdout).unwrap();
            printed.trim().parse().unwrap_or(0) // tasks of `bursts` print nothing
        })
        .sum();
    assert!(execs > 0);
    let after = daemon.scrape();
    println!("preemption {preemption}: {execs} execs");
    for (sample, value) in after.family("execsnoop_program_missed_runs_total") {
        println!("{sample} {value}");
    }
    let more = |family| after.sum(family) - before.sum(family);
    assert_eq!(after.execs_of("storm"), f64::from(execs), "{preemption}");
    for (event, family, expected) in [
        ("exec", "execsnoop_execs_total", execs + others),
        (
            "failure",
            "execsnoop_exec_failures_total",
            STORM_FAILURES * execs,
        ),
        ("exit", "execsnoop_exits_total", execs + others),
    ] {
        if observes(&after, event) {
            let expected = f64::from(expected);
            let counts = expected - missed_at_most(&after, event)..=expected;
            let counted = more(family);
            assert!(
                counts.contains(&counted),
                "{preemption}, {event}: {counted} of {counts:?}"
            );
        }
    }
    after.assert_ledger_closes();
    assert_eq!(after.value("execsnoop_unattributed_execs_total"), 0.0);
}

/// The largest number of observations for which the kernel may have skipped every copy of a program:
/// as often as it skipped the copy that it skipped least. 0 on kernels that preempt programs at
/// tracepoints, because there programs can disable preemption.
fn missed_at_most(scrape: &Scrape, event: &str) -> f64 {
    let missed = |program: &str| {
        scrape.find(&format!(
            "execsnoop_program_missed_runs_total{{program=\"{program}\"}}"
        ))
    };
    if missed("exec_tp_btf_2").is_some() {
        return 0.0;
    }
    let programs = programs(scrape, event).into_iter();
    let fewest = programs.map(|(_, program)| {
        let copies = ["", "_2", "_3"].into_iter();
        let copies = copies.filter_map(|copy| missed(&format!("{program}{copy}")));
        copies
            .reduce(f64::min)
            .expect("each program has statistics")
    });
    fewest.sum()
}

/// By how much a sample has grown. It counts as 0 if it did not exist before.
#[track_caller]
fn difference(before: &Scrape, after: &Scrape, sample: &str) -> f64 {
    after.value(sample) - before.find(sample).unwrap_or(0.0)
}

fn observes(scrape: &Scrape, event: &str) -> bool {
    hooks(scrape, event) != "off"
}

/// Describes the programs that observe an event, such as `tp_btf` or `fexit: execve, execveat`.
fn hooks(scrape: &Scrape, event: &str) -> String {
    let hooks = programs(scrape, event);
    let targets: Vec<_> = hooks
        .iter()
        .filter_map(|(_, program)| program.strip_prefix("fail_"))
        .collect();
    match (hooks.first(), targets.is_empty()) {
        (None, _) => "off".to_owned(),
        (Some((kind, _)), true) => kind.clone(),
        (Some((kind, _)), false) => format!("{kind}: {}", targets.join(", ")),
    }
}

/// The type and the name of each program that observes an event.
fn programs(scrape: &Scrape, event: &str) -> Vec<(String, String)> {
    let label = |sample: &str, name: &str| {
        let (_, value) = sample.split_once(&format!("{name}=\"")).expect("a label");
        value.split('"').next().unwrap_or_default().to_owned()
    };
    let hooks = scrape.family("execsnoop_hook_info");
    hooks
        .filter(|(sample, _)| label(sample, "event") == event)
        .map(|(sample, _)| (label(sample, "type"), label(sample, "program")))
        .collect()
}

fn transport(scrape: &Scrape) -> &'static str {
    ["perf", "ringbuf"]
        .into_iter()
        .find(|transport| {
            let sample = format!("execsnoop_transport_info{{transport=\"{transport}\"}}");
            scrape.find(&sample).is_some()
        })
        .expect("a transport")
}
