//! Every way to execute a program: each exec is counted once, under the right name.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use testkit::daemon::with_transport;
use testkit::programs::{Programs, exec_as, exec_times, go, set_executable};

testkit::over_both_transports! {
    every_way_to_execute_is_counted_once_under_the_programs_name
    execs_of_a_descriptor_are_counted_under_its_number_or_file_name
    a_script_is_one_exec_under_its_own_name_whatever_interprets_it
    #[cfg(target_arch = "x86_64")]
    a_32_bit_program_is_counted
    a_setuid_program_is_counted_for_the_user_who_executed_it
    calls_that_execute_nothing_are_not_counted
    a_program_started_by_the_kernel_is_counted
}

/// How often each way is used.
const TIMES: u32 = 5;

fn go_well(way: &str, program: &Path) {
    let status = go(way, program, 1);
    assert!(status.success(), "{way}: {status}");
}

fn every_way_to_execute_is_counted_once_under_the_programs_name(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
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

fn execs_of_a_descriptor_are_counted_under_its_number_or_file_name(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let name = "w-fexecve";
    let program = programs.copied(testkit::compiled::nop(), name);
    let number = 980;
    for _ in 0..TIMES {
        assert!(go("fexecve", &program, number).success());
        assert!(go("memfd", &program, number + 5).success());
    }
    let scrape = daemon.scrape();
    // Up to Linux 6.13 the name is the number of the descriptor, later it is that of the file.
    let either = |a: &str, b: &str| scrape.execs_of(a) + scrape.execs_of(b);
    assert_eq!(either(&number.to_string(), name), f64::from(TIMES));
    let number = number + 5;
    let file = format!("memfd:in-{number}");
    assert_eq!(either(&number.to_string(), &file), f64::from(TIMES));
    scrape.assert_ledger_closes();
}

fn a_script_is_one_exec_under_its_own_name_whatever_interprets_it(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let mut interpreter = programs.named("w-interpreter");
    // Interpreters may be scripts, too: the kernel follows at most four (exec_binprm() in fs/exec.c).
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
fn a_32_bit_program_is_counted(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let program = programs.copied(testkit::compiled::nop32(), "w-32bit");
    exec_times(&program, TIMES);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("w-32bit"), f64::from(TIMES));
    scrape.assert_ledger_closes();
}

fn a_setuid_program_is_counted_for_the_user_who_executed_it(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let program = programs.copied(testkit::compiled::nop(), "w-setuid");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
    (0..TIMES).for_each(|_| exec_as(&program, Some(700_300)));
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("w-setuid"), f64::from(TIMES));
    let uid = "execsnoop_execs_by_uid_total{uid=\"700300\",user=\"\"}";
    assert_eq!(scrape.value(uid), f64::from(TIMES));
    scrape.assert_ledger_closes();
}

fn calls_that_execute_nothing_are_not_counted(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
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

/// Sets `kernel.core_pattern` until the value is dropped.
struct CorePattern(String);

impl CorePattern {
    const PATH: &str = "/proc/sys/kernel/core_pattern";

    fn pipe_to(program: &Path) -> Self {
        let before = std::fs::read_to_string(Self::PATH).unwrap();
        std::fs::write(Self::PATH, format!("|{}", program.display())).unwrap();
        Self(before)
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::PATH, &self.0);
    }
}

fn a_program_started_by_the_kernel_is_counted(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let helper = programs.copied(testkit::compiled::nop(), "w-core-helper");
    let pattern = CorePattern::pipe_to(&helper);
    for _ in 0..TIMES {
        assert!(!go("crash", &helper, 1).success());
    }
    drop(pattern);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("w-core-helper"), f64::from(TIMES));
    scrape.assert_ledger_closes();
}
