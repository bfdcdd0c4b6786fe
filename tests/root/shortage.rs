//! A lack of threads or memory, at the start and later. The daemon exits and logs the reason if it
//! cannot work; otherwise it continues without what it lacks.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use testkit::bpf_objects::Unheld;
use testkit::confined::public_copy;
use testkit::daemon::{Daemon, code, field};
use testkit::http::request;
use testkit::limits::Limited;
use testkit::programs::{Programs, exec_times};
use testkit::web::{ALICE, ALICE_WRONG, NOBODY, users};

/// Returns a command that runs a program with a limit on its threads, as a user who must have no other
/// processes.
fn with_threads(threads: u32, uid: u32, program: &Path) -> Command {
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--nproc={threads}:"))
        .args(["setpriv", "--clear-groups"])
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={uid}"))
        .args(["--inh-caps=-all,+bpf,+perfmon"])
        .args(["--ambient-caps=-all,+bpf,+perfmon"])
        .arg(program)
        .args(["--config=/dev/null", "--web.listen-address=127.0.0.1:0"]);
    command
}

fn finished(command: &mut Command) -> (Output, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8(output.stderr.clone()).unwrap();
    let last = log.lines().last().unwrap_or_default().to_owned();
    (output, last)
}

#[test]
fn if_a_thread_cannot_be_started_the_daemon_names_it_and_exits_with_1() {
    let (program, _dir) = public_copy();
    let before = Unheld::now();
    for (threads, lacks) in [(1, "reader"), (2, "aggregator")] {
        let (output, last) = finished(&mut with_threads(threads, 700_910 + threads, &program));
        assert_eq!(code(output.status), 1, "{last}");
        let why = format!("cannot start the {lacks} thread: Resource temporarily unavailable");
        assert!(last.contains(&why), "{last}");
    }
    before.await_no_others();
}

#[test]
fn without_further_threads_the_daemon_counts_and_answers_but_refuses_a_reload() {
    let programs = Programs::new();
    let program = programs.named("threadless");
    let (daemon, _dir) = public_copy();
    let mut daemon = Daemon::spawn(with_threads(3, 700_920, &daemon));
    for n in 1..=3 {
        exec_times(&program, 10);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("threadless"), f64::from(10 * n));
        // Without a thread for lookups, the name stays empty.
        let root = scrape.find("execsnoop_execs_by_uid_total{uid=\"0\",user=\"\"}");
        assert!(root.is_some_and(|execs| execs >= f64::from(10 * n)));
        scrape.assert_ledger_closes();
    }
    daemon.signal(Signal::HUP);
    let refused = daemon.await_log("the running one stays");
    assert!(refused.contains("no thread for configuration"), "{refused}");
    let reloaded = daemon
        .scrape()
        .value("execsnoop_config_last_reload_successful");
    assert_eq!(reloaded, 0.0);
    assert_eq!(field(&daemon.stop(), "ledger_difference"), "0");
}

/// Changes the limit on the daemon's threads, as the daemon's user. Another user would need
/// `CAP_SYS_RESOURCE`.
fn allow_threads(daemon: &Daemon, threads: u32, uid: u32) {
    let status = Command::new("setpriv")
        .arg("--clear-groups")
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={uid}"))
        .arg("prlimit")
        .arg(format!("--pid={}", daemon.pid()))
        .arg(format!("--nproc={threads}:"))
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_password_that_no_thread_can_compare_is_answered_503_not_401() {
    // The main thread, the reader, the aggregator, and the thread that reads the web configuration.
    const THREADS: u32 = 4;
    let (program, dir) = public_copy();
    let web_config = dir.path().join("web.yml");
    fs::write(&web_config, users(&["alice"])).unwrap();
    let uid = 700_930;
    let mut command = with_threads(THREADS, uid, &program);
    command.arg("--web.config.file").arg(&web_config);
    let mut daemon = Daemon::spawn(command);
    let address = daemon.address;
    // This route needs no thread, and a healthy daemon does not answer 503 here.
    let answer = |headers| request(address, "GET", "/-/healthy", headers);
    let is_not_compared = |headers| {
        let answer = answer(headers);
        let text = answer.text();
        assert_eq!(answer.status, 503, "{text}");
        assert!(text.contains("cannot be compared"), "{text}");
        assert_eq!(answer.header("www-authenticate"), None);
    };
    assert_eq!(answer("").status, 401, "there is nothing to compare");
    is_not_compared(ALICE);
    is_not_compared(NOBODY); // the answer does not reveal that this user does not exist
    let logged = daemon.await_log("a password cannot be compared now");
    assert!(logged.contains("no thread for passwords"), "{logged}");
    allow_threads(&daemon, 64, uid);
    assert_eq!(answer(ALICE).status, 200);
    assert_eq!(answer(NOBODY).status, 401);
    allow_threads(&daemon, THREADS, uid);
    assert_eq!(answer(ALICE).status, 200, "it has been compared");
    is_not_compared(ALICE_WRONG);
    daemon.stop();
}

#[test]
fn with_too_little_memory_the_daemon_exits_and_the_next_one_counts_from_0() {
    let programs = Programs::new();
    let program = programs.named("memoryless");
    let before = Unheld::now();
    let limited = Limited::memory(4 << 20);
    let mut command = limited.command(env!("CARGO_BIN_EXE_execsnoopd"));
    command.args(["--config=/dev/null", "--web.listen-address=127.0.0.1:0"]);
    let (output, last) = finished(&mut command);
    // The kernel refuses memory for maps and programs, or kills the process if the process itself
    // needs too much.
    if output.status.code().is_some() {
        assert_eq!(code(output.status), 1, "{last}");
        assert!(
            last.contains("not enough memory") || last.contains("Cannot allocate memory"),
            "{last}"
        );
    } else {
        assert!(limited.oom_kills() > 0, "{}", output.status);
    }
    before.await_no_others();
    exec_times(&program, 5);
    let daemon = Daemon::start(&[]);
    exec_times(&program, 7);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("memoryless"), 7.0);
    scrape.assert_ledger_closes();
    daemon.stop();
}
