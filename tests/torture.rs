//! Every way to execute a program, and to end one, over both roads: counted once, under
//! the right name. Needs root.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use execsnoopd::capture::hooks::{EXIT_LIVE, EXIT_TP_BTF};
use execsnoopd::capture::{Capture, Options, TransportKind};
use execsnoopd::config::Config;
use execsnoopd::event::{self, Event, Kind, Observation};
use execsnoopd::exits::End;
use execsnoopd::source::Source;
use testkit::behind::always_skipping;
use testkit::daemon::{Daemon, over};
use testkit::fake::run_on;
use testkit::http::Scrape;
use testkit::nop::ways;
use testkit::programs::{Programs, exec_as, exec_times, set_executable};

testkit::over_both_roads! {
    every_way_to_execute_is_counted_once_under_the_programs_name
    a_descriptor_is_executed_under_its_number_or_its_files_name
    scripts_and_chains_of_them_are_one_exec_under_the_scripts_name
    #[cfg(target_arch = "x86_64")]
    a_32_bit_program_is_counted
    a_setuid_program_is_counted_for_the_user_who_executed_it
    what_does_not_execute_is_not_counted
    a_program_started_by_the_kernel_is_counted
    ends_are_counted_by_status_and_by_signal
    cpu_time_of_all_threads_is_counted_under_the_program
    programs_shorter_than_a_tick_cost_what_they_cost
    an_exit_tells_who_ended_how_and_after_how_long
}

/// A guest has no compiler: `make test-vm` runs this one before, on the host.
#[test]
fn programs_are_compiled() {
    assert!(testkit::nop::nop().exists());
    #[cfg(target_arch = "x86_64")]
    assert!(testkit::nop::nop32().exists());
    assert!(ways().exists());
}

/// How often each way is gone.
const TIMES: u32 = 5;

/// Go a way, on a program or with a number.
fn go(way: &str, program: &Path, number: u32) -> ExitStatus {
    Command::new(ways())
        .arg(way)
        .arg(program)
        .arg(number.to_string())
        .status()
        .expect("the program of ways can be executed")
}

/// Something that differs between the roads: the tests of both run side by side.
fn offset(road: &str) -> u32 {
    u32::from(road == "perf")
}

fn go_well(way: &str, program: &Path) {
    let status = go(way, program, 1);
    assert!(status.success(), "{way}: {status}");
}

fn every_way_to_execute_is_counted_once_under_the_programs_name(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let ways = [
        "execve",
        "execveat",
        "execveat-dirfd",
        "thread",
        "posix_spawn",
        "vfork",
        "namespaces",
        "renamed",
    ];
    for way in ways {
        let program = programs.named(format!("w-{way}"));
        (0..TIMES).for_each(|_| go_well(way, &program));
    }
    let scrape = daemon.scrape();
    for way in ways {
        let comm: String = format!("w-{way}").chars().take(15).collect();
        assert_eq!(scrape.execs_of(&comm), f64::from(TIMES), "{way}");
    }
    assert_eq!(scrape.execs_of("by-another-name"), 0.0);
    scrape.assert_ledger_closes();
}

fn a_descriptor_is_executed_under_its_number_or_its_files_name(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let name = format!("w-fexecve{road}");
    let program = programs.copied(testkit::nop::nop(), &name);
    let number = 980 + offset(road);
    for _ in 0..TIMES {
        assert!(go("fexecve", &program, number).success());
        assert!(go("memfd", &program, number + 5).success());
    }
    let scrape = daemon.scrape();
    // The number until Linux 6.13, then the file's name.
    let either = |a: &str, b: &str| scrape.execs_of(a) + scrape.execs_of(b);
    assert_eq!(
        either(&number.to_string(), &name[..15.min(name.len())]),
        f64::from(TIMES)
    );
    let number = number + 5;
    let file = format!("memfd:in-{number}");
    assert_eq!(either(&number.to_string(), &file), f64::from(TIMES));
    scrape.assert_ledger_closes();
}

fn scripts_and_chains_of_them_are_one_exec_under_the_scripts_name(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let mut interpreter = programs.named("w-interpreter");
    // The kernel follows four scripts to a program (exec_binprm() in fs/exec.c).
    for depth in 1..=4 {
        let script = programs.path().join(format!("w-script{depth}"));
        std::fs::write(&script, format!("#!{}\n", interpreter.display())).unwrap();
        set_executable(&script);
        exec_times(&script, TIMES);
        interpreter = script;
    }
    let scrape = daemon.scrape();
    for depth in 1..=4 {
        assert_eq!(
            scrape.execs_of(&format!("w-script{depth}")),
            f64::from(TIMES)
        );
    }
    assert_eq!(scrape.execs_of("w-interpreter"), 0.0);
    scrape.assert_ledger_closes();
}

#[cfg(target_arch = "x86_64")]
fn a_32_bit_program_is_counted(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let program = programs.copied(testkit::nop::nop32(), "w-32bit");
    exec_times(&program, TIMES);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("w-32bit"), f64::from(TIMES));
    scrape.assert_ledger_closes();
}

fn a_setuid_program_is_counted_for_the_user_who_executed_it(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let program = programs.copied(testkit::nop::nop(), "w-setuid");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    (0..TIMES).for_each(|_| exec_as(&program, Some(700_300)));
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("w-setuid"), f64::from(TIMES));
    let uid = "execsnoop_execs_by_uid_total{uid=\"700300\",user=\"\"}";
    assert_eq!(scrape.value(uid), f64::from(TIMES));
    scrape.assert_ledger_closes();
}

fn what_does_not_execute_is_not_counted(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let program = programs.named("w-nothing");
    for _ in 0..TIMES {
        go_well("check", &program);
        go_well("seccomp-errno", &program);
        assert!(!go("seccomp-kill", &program, 1).success());
    }
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("w-nothing"), 0.0);
    scrape.assert_ledger_closes();
}

/// `kernel.core_pattern`, for as long as the value lives. It is the host's: one at a time.
struct CorePattern(
    String,
    #[allow(dead_code)] std::sync::MutexGuard<'static, ()>,
);

impl CorePattern {
    const PATH: &str = "/proc/sys/kernel/core_pattern";

    fn pipe_to(program: &Path) -> Self {
        static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let guard = ONE_AT_A_TIME
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = std::fs::read_to_string(Self::PATH).unwrap();
        std::fs::write(Self::PATH, format!("|{}", program.display())).unwrap();
        Self(before, guard)
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::PATH, &self.0);
    }
}

fn a_program_started_by_the_kernel_is_counted(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let helper = programs.copied(testkit::nop::nop(), "w-core-helper");
    let pattern = CorePattern::pipe_to(&helper);
    for _ in 0..TIMES {
        assert!(!go("crash", &helper, 1).success());
    }
    drop(pattern);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("w-core-helper"), f64::from(TIMES));
    scrape.assert_ledger_closes();
}

/// How many processes ended so.
fn ended(scrape: &Scrape, reason: &str, code: &str) -> f64 {
    let sample = format!("execsnoop_exits_total{{reason=\"{reason}\",code=\"{code}\"}}");
    scrape.find(&sample).unwrap_or(0.0)
}

fn ends_are_counted_by_status_and_by_signal(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let program = programs.named("unused");
    // Statuses and signals that nobody else uses.
    let offset = offset(road);
    for _ in 0..TIMES {
        go("exit", &program, 201 + 2 * offset);
        go("exit-group-in-thread", &program, 221 + 2 * offset);
        go("signal", &program, 40 + offset);
    }
    // The first thread's status or, in newer kernels, the last one's: as wait(2) says.
    let status = go("leader-first", &program, 231 + 2 * offset)
        .code()
        .unwrap();
    let scrape = daemon.scrape();
    let times = f64::from(TIMES);
    assert_eq!(
        ended(&scrape, "exited", &(201 + 2 * offset).to_string()),
        times
    );
    assert_eq!(
        ended(&scrape, "exited", &(221 + 2 * offset).to_string()),
        times
    );
    assert_eq!(
        ended(&scrape, "signaled", &format!("SIG{}", 40 + offset)),
        times
    );
    assert_eq!(ended(&scrape, "exited", &status.to_string()), 1.0);
    scrape.assert_ledger_closes();
}

/// CPU seconds of a program.
fn cpu_of(daemon: &Daemon, comm: &str) -> f64 {
    let sample = format!("execsnoop_cpu_seconds_by_comm_total{{comm=\"{comm}\"}}");
    daemon.scrape().find(&sample).unwrap_or(0.0)
}

fn cpu_time_of_all_threads_is_counted_under_the_program(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    for (way, comm, burnt) in [
        ("burn", "cpu-one", 0.1),
        ("burn-threads", "cpu-three", 0.3),
        ("leader-first", "cpu-leaderless", 0.1),
    ] {
        // The program itself goes the way: its name is what counts.
        let program = programs.copied(ways(), comm);
        let status = Command::new(&program).args([way, "-", "100"]).status();
        status.expect("the program can be executed");
        let cpu = cpu_of(&daemon, comm);
        // What it measures of itself it has used, and what it takes to begin and to end; a
        // guest whose host is busy takes longer over both. Less than twice as much it is.
        let at_most = burnt * 1.5 + 0.1;
        assert!((burnt..at_most).contains(&cpu), "{comm}: {cpu} s");
    }
    daemon.scrape().assert_ledger_closes();
}

fn programs_shorter_than_a_tick_cost_what_they_cost(road: &str) {
    let programs = Programs::new();
    let (daemon, _config) = over(road, "");
    let program = programs.copied(ways(), "cpu-short");
    let output = Command::new(&program)
        .args(["short", "-", "300"])
        .output()
        .unwrap();
    let used: f64 = String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let counted = cpu_of(&daemon, "cpu-short") * 1e9;
    // By the scheduler's ticks alone it would be a tenth. What it takes to take them down is
    // the kernel's, and a process may have been switched away from.
    assert!(counted > used / 3.0, "{counted} of {used} ns");
    daemon.scrape().assert_ledger_closes();
}

fn an_exit_tells_who_ended_how_and_after_how_long(road: &str) {
    let programs = Programs::new();
    let transport = match road {
        "perf" => TransportKind::Perf,
        _ => TransportKind::Ring,
    };
    let mut capture = Capture::start(&Options {
        transports: vec![transport],
        ..Options::default()
    })
    .unwrap();
    assert_eq!(capture.means().transport, transport);
    let comm = format!("ev-{road}");
    let program = programs.copied(ways(), &comm);
    let before = Instant::now();
    let mut child = Command::new(&program)
        .args(["sleep", "-", "50"])
        .spawn()
        .unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    let lived_at_most = before.elapsed();

    let mut events: Vec<Event> = Vec::new();
    let mut keep = |bytes: &[u8]| {
        let event = Event::decode(bytes).expect("the kernel sends events");
        if event.pid == pid {
            events.push(event);
        }
    };
    capture.drain_events(&mut keep).unwrap();
    events.sort_by_key(|event| event.time_ns);
    let kinds: Vec<Kind> = events
        .iter()
        .map(|event| event::kind(&event.subject))
        .collect();
    assert_eq!(kinds, [Kind::Exec, Kind::Exit]);
    for event in &events {
        assert_eq!(event::nul_terminated(&event.subject.comm), comm.as_bytes());
        assert_eq!(event.ppid, std::process::id());
        assert_eq!(event.subject.uid, 0);
    }
    let exit = &events[1];
    assert_eq!(End::of_wait_status(exit.subject.retval), End::Exited(0));
    let lifetime = Duration::from_nanos(exit.lifetime_ns);
    assert!(
        lifetime >= Duration::from_millis(50) && lifetime <= lived_at_most,
        "{lifetime:?}"
    );
    assert!(Duration::from_nanos(exit.cpu_ns) < lifetime);
}

#[test]
fn processes_whose_threads_end_together_are_counted_once_by_every_hook() {
    const PROCESSES: u32 = 200;
    let programs = Programs::new();
    let program = programs.named("unused");
    // The programs that stand behind the first ones must not count once more.
    let hooks = [EXIT_TP_BTF, EXIT_LIVE[0], EXIT_LIVE[1]];
    let treatments = [Options::default().treatment, always_skipping];
    for (hook, treatment) in hooks.into_iter().flat_map(|h| treatments.map(|t| (h, t))) {
        let options = Options {
            exit_hooks: vec![vec![hook]],
            treatment,
            ..Options::default()
        };
        let capture = Capture::start(&options).unwrap();
        let means = capture.means().clone();
        if !means.observes(Kind::Exit) {
            // The first is for Linux 6.16 and newer; the others are for every kernel.
            assert_eq!(hook, EXIT_TP_BTF);
            continue;
        }
        let service = run_on(capture, &means, &Config::default());
        for _ in 0..PROCESSES {
            assert_eq!(go("end-together", &program, 241).code(), Some(241));
        }
        let scrape = service.scrape();
        assert_eq!(
            ended(&scrape, "exited", "241"),
            f64::from(PROCESSES),
            "{hook}"
        );
        scrape.assert_ledger_closes();
        service.stop().unwrap();
    }
}
