//! CPU time: what the kernel reports to `wait4(2)` for a process, however it lives and ends.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use execsnoopd::capture::hook::{CPU_RAW_TP, CPU_TP_BTF, EXIT_LIVE, EXIT_TP_BTF};
use execsnoopd::capture::{Capture, Input, Options};
use execsnoopd::config::{Config, ViewConfig};
use execsnoopd::pipeline::view::Label;
use rustix::process::Signal;
use testkit::compiled::{nop, ways};
use testkit::daemon::{Daemon, with_transport};
use testkit::guest::in_a_guest;
use testkit::http::Scrape;
use testkit::programs::Programs;
use testkit::service::run_on;
use testkit::standby::always_skipping;

testkit::over_both_transports! {
    cpu_time_of_short_programs_is_what_wait4_reports
    cpu_time_of_all_threads_is_what_wait4_reports
    cpu_time_is_what_wait4_reports_however_a_process_ends
    cpu_time_of_a_zombie_is_counted_when_it_is_reaped
    cpu_time_of_processes_that_no_parent_waits_for_is_counted
    cpu_time_in_a_storm_with_a_stopped_reader_is_what_wait4_reports
    cpu_time_is_counted_under_the_parent_at_the_exit
    the_parent_of_a_zombie_is_unknown_if_its_slot_was_taken
}

/// How long the kernel may take to free a process that has been reaped.
const PATIENCE: Duration = Duration::from_secs(5);

/// The CPU seconds of these programs.
fn cpu_of(daemon: &Daemon, comms: &[&str]) -> f64 {
    cpu_in(&daemon.scrape(), comms)
}

fn cpu_in(scrape: &Scrape, comms: &[&str]) -> f64 {
    let of = |comm: &&str| {
        let sample = format!("execsnoop_cpu_seconds_by_comm_total{{comm=\"{comm}\"}}");
        scrape.find(&sample).unwrap_or(0.0)
    };
    comms.iter().map(of).sum()
}

/// How often a run is repeated for which too little is counted. Not in a guest, with a kernel of
/// Debian. Kernels of some hosting providers run no BPF program while the current process is 1, and
/// interrupts of process 1 free tasks, too.
fn attempts() -> u32 {
    if in_a_guest() { 1 } else { 5 }
}

/// Asserts that what `run` returns, in seconds, is counted under these programs as soon as the
/// kernel has freed their processes, and that no more is counted afterwards.
#[track_caller]
fn assert_cpu(daemon: &Daemon, comms: &[&str], run: impl FnMut() -> f64) {
    assert_cpu_in(|| daemon.scrape(), comms, run);
}

#[track_caller]
fn assert_cpu_in(scrape: impl Fn() -> Scrape, comms: &[&str], mut run: impl FnMut() -> f64) {
    for attempt in 1.. {
        let before = cpu_in(&scrape(), comms);
        let seconds = run();
        let counted = || cpu_in(&scrape(), comms) - before;
        let since = Instant::now();
        // wait4(2) rounds to microseconds.
        while counted() < seconds - 2e-6 && since.elapsed() < PATIENCE {
            sleep(Duration::from_millis(20));
        }
        sleep(Duration::from_millis(100));
        let share = counted() / seconds * 100.0;
        println!("{comms:?}: {share:.2} % of {:.3} ms", seconds * 1e3);
        if share >= 99.0 || attempt == attempts() {
            let state = scrape();
            assert!(
                (99.0..=101.0).contains(&share),
                "{comms:?}: {share} % of {seconds} s, {state:#?}"
            );
            return;
        }
    }
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
        assert_cpu(&daemon, &[comm], || measured(&program, times, args).0);
    }
    daemon.scrape().assert_ledger_closes();
}

fn cpu_time_of_all_threads_is_what_wait4_reports(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let times = if in_a_guest() { 1 } else { 3 };
    for threads in ["1", "16", "64", "65", "400"] {
        for way in ["threads-joined", "threads-running"] {
            let comm = format!("cpu-{}{threads}", &way[8..9]);
            let program = programs.copied(ways(), &comm);
            assert_cpu(&daemon, &[&comm], || {
                measured(&program, times, &[way, "-", threads]).0
            });
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
        assert_cpu(&daemon, &[comm], || measured(&program, 3, &args).0);
    }

    // The thread that executes a program becomes the leader, under the name of the program.
    let program = programs.copied(ways(), "cpu-thread");
    let executed = programs.named("cpu-executed");
    assert_cpu(&daemon, &["cpu-executed"], || {
        measured(&program, 20, &["thread", executed.to_str().unwrap()]).0
    });

    if !in_a_guest() {
        let strace = programs.copied(Path::new("/usr/bin/strace"), "cpu-strace");
        let program = programs.copied(ways(), "cpu-traced");
        let traced = program.to_str().unwrap();
        let args = ["-f", "-o", "/dev/null", traced, "short", "-", "50"];
        assert_cpu(&daemon, &["cpu-strace", "cpu-traced"], || {
            measured(&strace, 1, &args).0
        });
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

    fn pid(&self) -> u32 {
        let parent = self.0.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        children.unwrap().trim().parse().expect("one child")
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
    assert_cpu(&daemon, &["cpu-zombie"], || {
        let before = (exits(0), cpu_of(&daemon, &["cpu-zombie"]));
        let zombie = Zombie::new(&program, &["burn", "-", "50"]);
        sleep(Duration::from_millis(500));
        assert!(exits(0) > before.0);
        assert_eq!(cpu_of(&daemon, &["cpu-zombie"]), before.1);
        zombie.reap()
    });

    // One that is older than the daemon.
    let program = programs.copied(ways(), "cpu-old-zombie");
    let mut zombies: Vec<_> = (0..attempts())
        .map(|_| Zombie::new(&program, &["burn", "-", "50"]))
        .collect();
    let (daemon, _config) = with_transport(transport, "");
    assert_cpu(&daemon, &["cpu-old-zombie"], || {
        zombies.pop().expect("one for each attempt").reap()
    });
    daemon.scrape().assert_ledger_closes();
}

fn cpu_time_of_processes_that_no_parent_waits_for_is_counted(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let program = programs.copied(ways(), "cpu-ignored");
    assert_cpu(&daemon, &["cpu-ignored"], || {
        let (parent, children) = measured(&program, 1, &["ignored", "-", "2"]);
        parent + seconds(&children)
    });

    // Reaped by the init process. It measures what it uses but its start and its exit.
    let program = programs.copied(ways(), "cpu-to-init");
    for attempt in 1.. {
        let before = cpu_of(&daemon, &["cpu-to-init"]);
        let status = Command::new(&program).args(["orphan", "-", "500"]).status();
        assert!(status.unwrap().success());
        let since = Instant::now();
        let counted = || cpu_of(&daemon, &["cpu-to-init"]) - before;
        while counted() < 0.5 && since.elapsed() < PATIENCE {
            sleep(Duration::from_millis(20));
        }
        if counted() >= 0.5 || attempt == attempts() {
            assert!((0.5..0.6).contains(&counted()), "{}", counted());
            break;
        }
    }
    daemon.scrape().assert_ledger_closes();
}

fn cpu_time_in_a_storm_with_a_stopped_reader_is_what_wait4_reports(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "buffer_pages = 1");
    let program = programs.copied(nop(), "cpu-storm");
    daemon.scrape();
    let mut runs = 0.0;
    assert_cpu(&daemon, &["cpu-storm"], || {
        daemon.signal(Signal::STOP);
        let (used, _) = measured(&program, 3000, &[]);
        daemon.signal(Signal::CONT);
        runs += 1.0;
        used
    });
    let scrape = daemon.scrape();
    assert_eq!(
        scrape.value("execsnoop_unattributed_cpu_seconds_total"),
        0.0
    );
    let lost = "execsnoop_lost_events_total{reason=\"buffer_full\"}";
    assert!(scrape.value(lost) > 1000.0);
    assert_eq!(scrape.execs_of("cpu-storm"), 3000.0 * runs);
    scrape.assert_ledger_closes();
}

const BY_PARENT: &str =
    "[[view]]\nlabels = [\"comm\"]\n[[view]]\nlabels = [\"parent_comm\", \"comm\"]\n";
const UNKNOWN: &str = "execsnoop_unknown_parents_total";

fn cpu_under(scrape: &Scrape, parent: &str, comm: &str) -> f64 {
    let labels = format!("{{parent_comm=\"{parent}\",comm=\"{comm}\"}}");
    let sample = format!("execsnoop_cpu_seconds_by_parent_comm_comm_total{labels}");
    scrape.find(&sample).unwrap_or(0.0)
}

fn cpu_time_is_counted_under_the_parent_at_the_exit(transport: &str) {
    const ZOMBIES: u32 = 5000;
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, BY_PARENT);
    let parent = programs.copied(ways(), "cpu-parent");
    let child = programs.copied(nop(), "cpu-child");
    let args = ["measure", "-", "100", child.to_str().unwrap()];
    let run_children = || {
        let output = Command::new(&parent).args(args).output().unwrap();
        seconds(&String::from_utf8(output.stdout).unwrap())
    };
    let assert_under_parent = || {
        assert_cpu(&daemon, &["cpu-child"], run_children);
        let counted = cpu_of(&daemon, &["cpu-child"]);
        assert_eq!(
            cpu_under(&daemon.scrape(), "cpu-parent", "cpu-child"),
            counted
        );
    };
    assert_under_parent();
    if in_a_guest() {
        return; // too slow for so many processes
    }
    // Among zombies, children that are reaped at once keep the name of their parent, and so do
    // the zombies.
    let zombies = programs.copied(ways(), "cpu-zombies");
    let args = ["zombies", "-", &ZOMBIES.to_string()];
    assert_cpu(&daemon, &["cpu-zombies"], || {
        let mut held = measuring("measure", &zombies, 1, &args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(held.stdout.take().unwrap()).lines();
        assert_eq!(output.next().unwrap().unwrap(), "held");
        assert_under_parent();
        held.stdin.take().unwrap().write_all(b"\n").unwrap();
        let used = seconds(&output.next().unwrap().unwrap());
        assert!(held.wait().unwrap().success());
        used
    });
    assert_eq!(cpu_under(&daemon.scrape(), "", "cpu-zombies"), 0.0);
    daemon.scrape().assert_ledger_closes();
}

/// Sets `kernel.pid_max` until it is dropped.
struct PidMax(String);

impl PidMax {
    const PATH: &str = "/proc/sys/kernel/pid_max";

    fn set(pids: u32) -> Self {
        let before = fs::read_to_string(Self::PATH).unwrap();
        fs::write(Self::PATH, pids.to_string()).unwrap();
        Self(before)
    }
}

impl Drop for PidMax {
    fn drop(&mut self) {
        fs::write(Self::PATH, &self.0).expect("kernel.pid_max can be restored");
    }
}

/// Runs a program as the process of this id.
fn run_as_pid(program: &Path, pid: u32) {
    for _ in 0..1000 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut child = Command::new(program).spawn().unwrap();
        let is_it = child.id() == pid;
        assert!(child.wait().unwrap().success());
        if is_it {
            return;
        }
    }
    panic!("no process has the id {pid}");
}

fn the_parent_of_a_zombie_is_unknown_if_its_slot_was_taken(transport: &str) {
    const SLOTS: u32 = 32_768;
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, BY_PARENT);
    let program = programs.copied(ways(), "cpu-slot");
    let _pid_max = PidMax::set(1 << 22);
    // Of the last attempt: what was counted without a parent before, and what the zombie used.
    let (mut before, mut used) = ((0.0, 0.0), 0.0);
    let without_parent = || {
        let scrape = daemon.scrape();
        (cpu_under(&scrape, "", "cpu-slot"), scrape.value(UNKNOWN))
    };
    assert_cpu(&daemon, &["cpu-slot"], || {
        before = without_parent();
        let kept = Zombie::new(&program, &["burn", "-", "30"]);
        let replaced = Zombie::new(&program, &["burn", "-", "50"]);
        run_as_pid(nop(), replaced.pid() + SLOTS);
        used = replaced.reap();
        used + kept.reap()
    });
    let after = without_parent();
    let share = (after.0 - before.0) / used;
    assert!((0.99..1.01).contains(&share), "{share}");
    assert!(after.1 > before.1);
    daemon.scrape().assert_ledger_closes();
}

#[test]
fn cpu_time_is_counted_once_by_every_hook_and_its_standby_copies() {
    let programs = Programs::new();
    for (cpu_time, exit, comm) in [
        (CPU_TP_BTF, EXIT_TP_BTF, "cpu-typed"),
        (CPU_RAW_TP, EXIT_LIVE[1], "cpu-raw"),
    ] {
        let capture = Capture::start(&Options {
            cpu_time_hooks: vec![vec![cpu_time]],
            exit_hooks: vec![vec![exit], vec![EXIT_LIVE[0]]],
            inputs: [Input::ParentComm].into(),
            may_skip: always_skipping,
            ..Options::default()
        })
        .unwrap();
        let info = capture.info().clone();
        let views = [&[Label::Comm][..], &[Label::ParentComm, Label::Comm]];
        let config = Config {
            view: views.map(ViewConfig::by).to_vec(),
            ..Config::default()
        };
        let service = run_on(capture, &info, &config);
        let program = programs.copied(nop(), comm);
        let threads = programs.copied(ways(), &format!("{comm}-t"));
        let comms = [comm, &format!("{comm}-t")];
        assert_cpu_in(
            || service.scrape(),
            &comms,
            || {
                let threads = measured(&threads, 3, &["threads-running", "-", "16"]);
                measured(&program, 200, &[]).0 + threads.0
            },
        );
        let scrape = service.scrape();
        for copy in ["", "_2", "_3"] {
            let program = format!("{}{copy}", cpu_time.program);
            let missed = format!("execsnoop_program_missed_runs_total{{program=\"{program}\"}}");
            assert!(scrape.find(&missed).is_some(), "{program} is not there");
        }
        for comm in comms {
            assert_eq!(cpu_under(&scrape, "", comm), 0.0);
        }
        scrape.assert_ledger_closes();
        assert_eq!(service.stop().unwrap().differences, [0; 4]);
    }
}
