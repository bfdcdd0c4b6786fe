//! No threads, or no memory, at the start and later: what the daemon cannot do without ends it
//! with a reason, the rest waits. Needs root.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use testkit::confined::public_copy;
use testkit::daemon::{Daemon, code, field};
use testkit::http::request;
use testkit::limits::Limited;
use testkit::programs::{Programs, exec_times};
use testkit::remains::Unheld;
use testkit::web::{ALICE, ALICE_WRONG, NOBODY, users};

/// A user who has no other process, and may have no more threads than this.
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

fn ended(command: &mut Command) -> (Output, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8(output.stderr.clone()).unwrap();
    let last = log.lines().last().unwrap_or_default().to_owned();
    (output, last)
}

#[test]
fn without_its_threads_it_says_so_and_ends_with_1() {
    let (program, _dir) = public_copy();
    let before = Unheld::now();
    for (threads, lacks) in [(1, "reader"), (2, "aggregator")] {
        let (output, last) = ended(&mut with_threads(threads, 700_910 + threads, &program));
        assert_eq!(code(output.status), 1, "{last}");
        let why = format!("cannot start the {lacks} thread: Resource temporarily unavailable");
        assert!(last.contains(&why), "{last}");
    }
    before.await_no_more();
}

#[test]
fn where_no_further_thread_is_to_be_had_it_counts_answers_and_refuses_a_reload() {
    let programs = Programs::new();
    let program = programs.named("threadless");
    let (daemon, _dir) = public_copy();
    let mut daemon = Daemon::spawn(with_threads(3, 700_920, &daemon));
    for n in 1..=3 {
        exec_times(&program, 10);
        let scrape = daemon.scrape();
        assert_eq!(scrape.execs_of("threadless"), f64::from(10 * n));
        // Nobody looks up the name.
        let root = scrape.find("execsnoop_execs_by_uid_total{uid=\"0\",user=\"\"}");
        assert!(root.is_some_and(|execs| execs >= f64::from(10 * n)));
        scrape.assert_ledger_closes();
    }
    daemon.signal(Signal::HUP);
    let refused = daemon.await_log("the old one stays");
    assert!(refused.contains("no thread for configuration"), "{refused}");
    let reloaded = daemon
        .scrape()
        .value("execsnoop_config_last_reload_successful");
    assert_eq!(reloaded, 0.0);
    assert_eq!(field(&daemon.stop(), "ledger_difference"), "0");
}

/// From now on, as many threads as this; as the same user, which takes no `CAP_SYS_RESOURCE`.
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
    let (program, dir) = public_copy();
    let web_config = dir.path().join("web.yml");
    fs::write(&web_config, users(&["alice"])).unwrap();
    let uid = 700_930;
    let mut command = with_threads(3, uid, &program);
    command.arg("--web.config.file").arg(&web_config);
    let mut daemon = Daemon::spawn(command);
    let address = daemon.address;
    // A route that takes no thread by itself, nor has a 503 of its own.
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
    is_not_compared(NOBODY); // who is no user learns no more
    let logged = daemon.await_log("a password cannot be compared now");
    assert!(logged.contains("no thread for passwords"), "{logged}");
    allow_threads(&daemon, 64, uid);
    assert_eq!(answer(ALICE).status, 200);
    assert_eq!(answer(NOBODY).status, 401);
    allow_threads(&daemon, 3, uid);
    assert_eq!(answer(ALICE).status, 200, "it has been compared");
    is_not_compared(ALICE_WRONG);
    daemon.stop();
}

#[test]
fn with_too_little_memory_it_ends_and_the_next_start_counts_from_nothing() {
    let programs = Programs::new();
    let program = programs.named("memoryless");
    let before = Unheld::now();
    let limited = Limited::memory(4 << 20);
    let mut command = limited.command(env!("CARGO_BIN_EXE_execsnoopd"));
    command.args(["--config=/dev/null", "--web.listen-address=127.0.0.1:0"]);
    let (output, last) = ended(&mut command);
    // Refused memory for maps and programs; or killed for what it touches itself.
    if output.status.code().is_some() {
        assert_eq!(code(output.status), 1, "{last}");
        assert!(
            last.contains("not enough memory") || last.contains("Cannot allocate memory"),
            "{last}"
        );
    } else {
        assert!(limited.oom_kills() > 0, "{}", output.status);
    }
    before.await_no_more();
    exec_times(&program, 5);
    let daemon = Daemon::start(&[]);
    exec_times(&program, 7);
    let scrape = daemon.scrape();
    assert_eq!(scrape.execs_of("memoryless"), 7.0);
    scrape.assert_ledger_closes();
    daemon.stop();
}
