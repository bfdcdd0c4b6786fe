//! Process exits: their status and lifetime.

use std::process::Command;
use std::time::{Duration, Instant};

use execsnoopd::capture::hook::{EXIT_LIVE, EXIT_TP_BTF};
use execsnoopd::capture::source::Source;
use execsnoopd::capture::{Capture, Live, Options, TransportKind};
use execsnoopd::config::Config;
use execsnoopd::record::{self, Event, Kind, Observation, Traced, WaitStatus};
use testkit::compiled::ways;
use testkit::daemon::with_transport;
use testkit::http::Scrape;
use testkit::programs::{Programs, go};
use testkit::service::run_on;
use testkit::standby::always_skipping;

testkit::over_both_transports! {
    exits_are_counted_by_status_and_by_signal
    an_exit_event_has_the_process_its_status_and_its_lifetime
}

/// How often the tests cause each exit.
const TIMES: u32 = 5;

/// The number of processes with this exit.
fn exits(scrape: &Scrape, reason: &str, code: &str) -> f64 {
    let sample = format!("execsnoop_exits_total{{reason=\"{reason}\",code=\"{code}\"}}");
    scrape.find(&sample).unwrap_or(0.0)
}

fn exits_are_counted_by_status_and_by_signal(transport: &str) {
    let programs = Programs::new();
    let (daemon, _config) = with_transport(transport, "");
    let program = programs.named("unused");
    // Statuses and signals that no other program uses.
    for _ in 0..TIMES {
        go("exit", &program, 201);
        go("exit-group-in-thread", &program, 221);
        go("signal", &program, 40);
    }
    // As in wait(2), the status is that of the first thread or, on newer kernels, of the last one.
    let status = go("leader-first", &program, 231).code().unwrap();
    let scrape = daemon.scrape();
    let times = f64::from(TIMES);
    assert_eq!(exits(&scrape, "exited", "201"), times);
    assert_eq!(exits(&scrape, "exited", "221"), times);
    assert_eq!(exits(&scrape, "signaled", "SIG40"), times);
    assert_eq!(exits(&scrape, "exited", &status.to_string()), 1.0);
    scrape.assert_ledger_closes();
}

fn an_exit_event_has_the_process_its_status_and_its_lifetime(transport: &str) {
    let programs = Programs::new();
    let kind = match transport {
        "perf" => TransportKind::Perf,
        _ => TransportKind::Ring,
    };
    let mut capture = Capture::start(&Options {
        transports: vec![kind],
        live: Live {
            process: true,
            exits: true,
            ..Live::default()
        },
        ..Options::default()
    })
    .unwrap();
    assert_eq!(capture.info().transport, kind);
    let comm = format!("ev-{transport}");
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
        let event = *Traced::decode(bytes)
            .expect("the kernel sends events")
            .event();
        if event.pid == pid {
            events.push(event);
        }
    };
    capture.drain_events(&mut keep).unwrap();
    events.sort_by_key(|event| event.time_ns);
    let kinds: Vec<Kind> = events
        .iter()
        .map(|event| record::kind(&event.subject))
        .collect();
    assert_eq!(kinds, [Kind::Exec, Kind::Exit]);
    for event in &events {
        assert_eq!(record::nul_terminated(&event.subject.comm), comm.as_bytes());
        assert_eq!(event.ppid, std::process::id());
        assert_eq!(event.subject.uid, 0);
    }
    let exit = &events[1];
    assert_eq!(WaitStatus::of(exit.subject.retval), WaitStatus::Exited(0));
    let lifetime = Duration::from_nanos(exit.lifetime_ns);
    assert!(
        lifetime >= Duration::from_millis(50) && lifetime <= lived_at_most,
        "{lifetime:?}"
    );
    assert!(Duration::from_nanos(exit.cpu_ns) < lifetime);
}

#[test]
fn processes_whose_threads_exit_together_are_counted_once_by_every_hook() {
    const PROCESSES: u32 = 200;
    let programs = Programs::new();
    let program = programs.named("unused");
    // With `always_skipping`, standby programs are loaded. They must not count a process again.
    let hooks = [EXIT_TP_BTF, EXIT_LIVE[0], EXIT_LIVE[1]];
    let answers = [Options::default().may_skip, always_skipping];
    for (hook, may_skip) in hooks.into_iter().flat_map(|h| answers.map(|a| (h, a))) {
        let options = Options {
            exit_hooks: vec![vec![hook]],
            may_skip,
            ..Options::default()
        };
        let capture = Capture::start(&options).unwrap();
        let means = capture.info().clone();
        if !means.observes(Kind::Exit) {
            // Only the first hook needs Linux 6.16.
            assert_eq!(hook, EXIT_TP_BTF);
            continue;
        }
        let service = run_on(capture, &means, &Config::default());
        for _ in 0..PROCESSES {
            assert_eq!(go("end-together", &program, 241).code(), Some(241));
        }
        let scrape = service.scrape();
        assert_eq!(
            exits(&scrape, "exited", "241"),
            f64::from(PROCESSES),
            "{hook}"
        );
        scrape.assert_ledger_closes();
        service.stop().unwrap();
    }
}
