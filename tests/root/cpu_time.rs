//! CPU time: what the kernel reports to `wait4(2)` for a process, however it lives and ends.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use testkit::compiled::{nop, ways};
use testkit::daemon::{Daemon, configured, with_transport};
use testkit::guest::in_a_guest;
use testkit::programs::Programs;

testkit::over_both_transports! {
    cpu_time_of_short_programs_is_what_wait4_reports
    cpu_time_of_all_threads_is_what_wait4_reports
    cpu_time_is_what_wait4_reports_however_a_process_ends
    cpu_time_of_a_zombie_is_counted_when_it_is_reaped
    cpu_time_of_processes_that_no_parent_waits_for_is_counted
    cpu_time_in_a_storm_with_a_stopped_reader_is_what_wait4_reports
    cpu_time_is_counted_under_the_parent_at_the_exit
}

/// How long the kernel may take to free a process that has been reaped.
const PATIENCE: Duration = Duration::from_secs(20);

/// The CPU seconds of these programs.
fn cpu_of(daemon: &Daemon, comms: &[&str]) -> f64 {
    let scrape = daemon.scrape();
    let of = |comm: &&str| {
        let sample = format!("execsnoop_cpu_seconds_by_comm_total{{comm=\"{comm}\"}}");
        scrape.find(&sample).unwrap_or(0.0)
    };
    comms.iter().map(of).sum()
}

/// Asserts that these programs have used this many seconds, as soon as the kernel has freed their
/// processes, and that no more is counted afterwards.
#[track_caller]
fn assert_cpu(daemon: &Daemon, comms: &[&str], seconds: f64) {
    let since = Instant::now();
    // wait4(2) rounds to microseconds.
    while cpu_of(daemon, comms) < seconds - 2e-6 && since.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20));
    }
    sleep(Duration::from_millis(100));
    let share = cpu_of(daemon, comms) / seconds * 100.0;
    println!("{comms:?}: {share:.2} % of {:.3} ms", seconds * 1e3);
    assert!(
        (99.0..=101.0).contains(&share),
        "{comms:?}: {share} % of {seconds} s, {:#?}",
        daemon.scrape()
    );
}

/// Runs a program this often, and waits for all its descendants. Returns the CPU seconds that
/// `wait4(2)` reports for them, and what the program wrote.
fn measured(program: &Path, times: u32, args: &[&str]) -> (f64, String) {
    let output = measuring("measure", program, times, args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (rest, used) = text.trim().rsplit_once('\n').unwrap_or(("", text.trim()));
    (seconds(used), rest.to_owned())
}

fn measuring(how: &str, program: &Path, times: u32, args: &[&str]) -> Command {
    let mut command = Command::new(ways());
    command.args([how, "-", &times.to_string()]);
    command.arg(program).args(args);
    command
}

/// From nanoseconds.
#[track_caller]
fn seconds(ns: &str) -> f64 {
    ns.trim().parse::<f64>().expect("nanoseconds") / 1e9
}

fn cpu_time_of_short_programs_is_what_wait4_reports(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let mut cases: Vec<(PathBuf, &str, &[&str], u32)> =
        vec![(nop().to_owned(), "cpu-static", &[], 200)];
    // A guest has only programs of the test.
    if !in_a_guest() {
        for (program, comm, args, times) in [
            ("/bin/true", "cpu-true", &[][..], 200),
            ("/bin/bash", "cpu-bash", &["-c", ":"], 100),
            ("/usr/bin/perl", "cpu-perl", &["-e", "1"], 100),
            ("/usr/bin/python3", "cpu-py", &["-S", "-c", "pass"], 40),
        ] {
            let program = fs::canonicalize(program).expect(program);
            cases.push((program, comm, args, times));
        }
    }
    for (program, comm, args, times) in cases {
        let program = programs.copied(&program, comm);
        let (used, _) = measured(&program, times, args);
        assert_cpu(&daemon, &[comm], used);
    }
    daemon.scrape().assert_ledger_closes();
}

fn cpu_time_of_all_threads_is_what_wait4_reports(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    for threads in ["1", "16", "64", "65", "400"] {
        for way in ["threads-joined", "threads-running"] {
            let comm = format!("cpu-{}{threads}", &way[8..9]);
            let program = programs.copied(ways(), &comm);
            let (used, _) = measured(&program, 3, &[way, "-", threads]);
            assert_cpu(&daemon, &[&comm], used);
        }
    }
    daemon.scrape().assert_ledger_closes();
}

fn cpu_time_is_what_wait4_reports_however_a_process_ends(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    for (comm, args) in [
        ("cpu-burn", ["burn", "-", "100"]),
        ("cpu-leader", ["leader-first", "-", "100"]),
        ("cpu-killed", ["burn-and-signal", "-", "9"]),
        ("cpu-crashed", ["burn-and-signal", "-", "11"]),
        // The forked processes execute nothing and are shorter than a tick.
        ("cpu-forks", ["short", "-", "200"]),
        // Reaped by a subreaper.
        ("cpu-orphan", ["orphan", "-", "50"]),
    ] {
        let program = programs.copied(ways(), comm);
        let (used, _) = measured(&program, 3, &args);
        assert_cpu(&daemon, &[comm], used);
    }

    // The thread that executes a program becomes the leader, under the name of the program.
    let program = programs.copied(ways(), "cpu-thread");
    let executed = programs.named("cpu-executed");
    let (used, _) = measured(&program, 20, &["thread", executed.to_str().unwrap()]);
    assert_cpu(&daemon, &["cpu-executed"], used);

    if !in_a_guest() {
        let strace = programs.copied(Path::new("/usr/bin/strace"), "cpu-strace");
        let program = programs.copied(ways(), "cpu-traced");
        let traced = program.to_str().unwrap();
        let args = ["-f", "-o", "/dev/null", traced, "short", "-", "50"];
        let (used, _) = measured(&strace, 1, &args);
        assert_cpu(&daemon, &["cpu-strace", "cpu-traced"], used);
        assert!(cpu_of(&daemon, &["cpu-traced"]) > 0.0);
    }
    daemon.scrape().assert_ledger_closes();
}

/// A process that has exited and that its parent does not reap until [`reap`](Self::reap).
struct Zombie(Child, BufReader<std::process::ChildStdout>);

impl Zombie {
    fn new(program: &Path, args: &[&str]) -> Self {
        let mut parent = measuring("measure-held", program, 1, args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(parent.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(parent, output)
    }

    /// Returns the CPU seconds that the process used.
    fn reap(mut self) -> f64 {
        self.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        assert!(self.0.wait().unwrap().success());
        seconds(&line)
    }
}

fn cpu_time_of_a_zombie_is_counted_when_it_is_reaped(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let exits = |code: u8| {
        let sample = format!("execsnoop_exits_total{{reason=\"exited\",code=\"{code}\"}}");
        daemon.scrape().find(&sample).unwrap_or(0.0)
    };
    let program = programs.copied(ways(), "cpu-zombie");
    let before = exits(0);
    let zombie = Zombie::new(&program, &["burn", "-", "50"]);
    sleep(Duration::from_millis(500));
    assert!(exits(0) > before);
    assert_eq!(cpu_of(&daemon, &["cpu-zombie"]), 0.0);
    let used = zombie.reap();
    assert_cpu(&daemon, &["cpu-zombie"], used);

    // One that is older than the daemon.
    let program = programs.copied(ways(), "cpu-old-zombie");
    let zombie = Zombie::new(&program, &["burn", "-", "50"]);
    let (daemon, _config) = with_transport(transport, "");
    let used = zombie.reap();
    assert_cpu(&daemon, &["cpu-old-zombie"], used);
    daemon.scrape().assert_ledger_closes();
}

fn cpu_time_of_processes_that_no_parent_waits_for_is_counted(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let program = programs.copied(ways(), "cpu-ignored");
    let (parent, children) = measured(&program, 1, &["ignored", "-", "4"]);
    assert_cpu(&daemon, &["cpu-ignored"], parent + seconds(&children));

    // Reaped by the init process. It measures what it uses but its start and its exit.
    let program = programs.copied(ways(), "cpu-to-init");
    let status = Command::new(&program).args(["orphan", "-", "500"]).status();
    assert!(status.unwrap().success());
    let since = Instant::now();
    while cpu_of(&daemon, &["cpu-to-init"]) < 0.5 {
        assert!(since.elapsed() < PATIENCE, "nobody reaps the orphan");
        sleep(Duration::from_millis(20));
    }
    assert!(cpu_of(&daemon, &["cpu-to-init"]) < 0.6);
    daemon.scrape().assert_ledger_closes();
}

fn cpu_time_in_a_storm_with_a_stopped_reader_is_what_wait4_reports(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "buffer_pages = 1");
    let program = programs.copied(nop(), "cpu-storm");
    daemon.scrape();
    daemon.signal(Signal::STOP);
    let (used, _) = measured(&program, 3000, &[]);
    daemon.signal(Signal::CONT);
    assert_cpu(&daemon, &["cpu-storm"], used);
    let scrape = daemon.scrape();
    assert_eq!(
        scrape.value("execsnoop_unattributed_cpu_seconds_total"),
        0.0
    );
    let lost = "execsnoop_lost_events_total{reason=\"buffer_full\"}";
    assert!(scrape.value(lost) > 1000.0);
    assert_eq!(scrape.execs_of("cpu-storm"), 3000.0);
    scrape.assert_ledger_closes();
}

fn cpu_time_is_counted_under_the_parent_at_the_exit(transport: &str) {
    let programs = Programs::new();
    let view = |labels| format!("[[view]]\nlabels = [{labels}]\n");
    let views = [view("\"comm\""), view("\"parent_comm\", \"comm\"")].concat();
    let (daemon, _config) = configured(&format!("[capture]\ntransport = \"{transport}\"\n{views}"));
    let of = |parent: &str, comm: &str| {
        let labels = format!("{{parent_comm=\"{parent}\",comm=\"{comm}\"}}");
        let sample = format!("execsnoop_cpu_seconds_by_parent_comm_comm_total{labels}");
        daemon.scrape().find(&sample).unwrap_or(0.0)
    };
    const UNKNOWN: &str = "execsnoop_unknown_parents_total";
    let parent = programs.copied(ways(), "cpu-parent");
    let child = programs.copied(nop(), "cpu-child");
    let args = ["measure", "-", "100", child.to_str().unwrap()];
    let output = Command::new(&parent).args(args).output().unwrap();
    let used = seconds(&String::from_utf8(output.stdout).unwrap());
    assert_cpu(&daemon, &["cpu-child"], used);
    assert_eq!(
        of("cpu-parent", "cpu-child"),
        cpu_of(&daemon, &["cpu-child"])
    );
    assert_eq!(daemon.scrape().value(UNKNOWN), 0.0);

    if in_a_guest() {
        return; // too slow for as many processes
    }
    // Zombies do not push out the names of the parents of processes that are reaped at once. Those
    // of the zombies themselves may be gone, and their CPU time is then counted without.
    const ZOMBIES: u32 = 10_000;
    let zombies = programs.copied(ways(), "cpu-zombies");
    let mut held = measuring(
        "measure",
        &zombies,
        1,
        &["zombies", "-", &ZOMBIES.to_string()],
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut output = BufReader::new(held.stdout.take().unwrap()).lines();
    assert_eq!(output.next().unwrap().unwrap(), "held");
    let before = cpu_of(&daemon, &["cpu-child"]);
    let again = Command::new(&parent).args(args).output().unwrap();
    let used = seconds(&String::from_utf8(again.stdout).unwrap());
    assert_cpu(&daemon, &["cpu-child"], before + used);
    assert_eq!(
        of("cpu-parent", "cpu-child"),
        cpu_of(&daemon, &["cpu-child"])
    );
    assert_eq!(daemon.scrape().value(UNKNOWN), 0.0);

    held.stdin.take().unwrap().write_all(b"\n").unwrap();
    let used = seconds(&output.next().unwrap().unwrap());
    assert!(held.wait().unwrap().success());
    assert_cpu(&daemon, &["cpu-zombies"], used);
    let unknown = daemon.scrape().value(UNKNOWN);
    assert!((1.0..f64::from(ZOMBIES)).contains(&unknown), "{unknown}");
    assert!(of("", "cpu-zombies") > 0.0);
    daemon.scrape().assert_ledger_closes();
}
