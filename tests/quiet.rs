//! Totals on a machine where nothing else executes: there every count is known, and it is
//! equality that is asked of all of them. Run by `make test-vm`, which takes the lines
//! that begin with `fact` for its table.

use std::process::Command;

use testkit::confined::{public_copy, unit_capabilities};
use testkit::daemon::{Daemon, code};
use testkit::guest::only_in_a_guest;
use testkit::http::Scrape;
use testkit::nop::{failing, nop};
use testkit::programs::{Programs, exec_times};

/// What a program that fails this many times ends with: nobody else's status.
const STATUS: u8 = 77;
/// A multiple of the number of system calls that execute.
const FAILURES: u32 = 100;

/// A guest has no compiler: `make test-vm` runs this one before, on the host.
#[test]
fn programs_are_compiled() {
    assert!(nop().exists());
    assert!(failing(FAILURES, STATUS).exists());
}

#[test]
fn on_defaults_every_exec_and_failure_and_exit_is_counted() {
    only_in_a_guest();
    let daemon = Daemon::start(&[]);
    let scrape = daemon.scrape();
    println!("\nfact exec: {}", hooks(&scrape, "exec"));
    println!("fact failure: {}", hooks(&scrape, "failure"));
    println!("fact exit: {}", hooks(&scrape, "exit"));
    let programs = scrape.family("execsnoop_program_missed_runs_total").count();
    println!("fact programs: {programs}");
    println!("fact transport: {}", transport(&scrape));
    counts_exactly(&daemon, "");
}

#[test]
fn with_the_two_capabilities_of_the_unit_the_same_is_counted() {
    only_in_a_guest();
    let (program, _dir) = public_copy();
    let daemon = Daemon::spawn(unit_capabilities(&program));
    println!("\nfact unit transport: {}", transport(&daemon.scrape()));
    counts_exactly(&daemon, "unit ");
}

/// A known number of execs, failures and exits, and nothing besides.
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

/// How much a sample, which may not have been there before, has grown.
#[track_caller]
fn difference(before: &Scrape, after: &Scrape, sample: &str) -> f64 {
    after.value(sample) - before.find(sample).unwrap_or(0.0)
}

fn observes(scrape: &Scrape, event: &str) -> bool {
    hooks(scrape, event) != "off"
}

/// The programs that observe this, for people: `tp_btf`, or `fexit: execve, execveat`.
fn hooks(scrape: &Scrape, event: &str) -> String {
    let label = |sample: &str, name: &str| {
        let (_, value) = sample.split_once(&format!("{name}=\"")).expect("a label");
        value.split('"').next().unwrap_or_default().to_owned()
    };
    let hooks: Vec<_> = scrape
        .family("execsnoop_hook_info")
        .filter(|(sample, _)| label(sample, "event") == event)
        .map(|(sample, _)| (label(sample, "type"), label(sample, "program")))
        .collect();
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

fn transport(scrape: &Scrape) -> &'static str {
    ["perf", "ringbuf"]
        .into_iter()
        .find(|road| {
            let sample = format!("execsnoop_transport_info{{transport=\"{road}\"}}");
            scrape.find(&sample).is_some()
        })
        .expect("a transport")
}
