//! How tracing ends, and output that is lost or not read.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use testkit::daemon::code;
use testkit::host;
use testkit::programs::{Programs, exec, exec_times};

use super::Tracer;

#[test]
fn losses_are_reported_and_change_the_exit_status_only_if_strict() {
    const TIMES: u32 = 6_000;
    let programs = Programs::new();
    let program = programs.named("flooding");
    let filter = ["--comm", "flooding"];
    let tracers = [(vec![], 0), (vec!["--strict"], 1)]
        .map(|(strict, status)| (Tracer::start(&[&filter[..], &strict].concat()), status));
    // The 64 pages of each CPU hold about 2500 events.
    for (tracer, _) in &tracers {
        tracer.signal(Signal::STOP);
    }
    exec_times(&program, TIMES);
    for (tracer, status) in tracers {
        tracer.signal(Signal::CONT);
        let output = tracer.stop();
        assert_eq!(output.status, status);
        let rows = output.of("flooding").len();
        assert!(rows < TIMES as usize);
        let lost = TIMES as usize - rows;
        assert!(
            output.errors.contains("observations have no row"),
            "{}",
            output.errors
        );
        let closing = format!("{TIMES} observed, {rows} shown, the details of {lost} lost\n");
        assert!(output.errors.ends_with(&closing), "{}", output.errors);
    }
}

#[test]
fn tracing_stops_after_a_number_of_rows_or_a_duration() {
    let programs = Programs::new();
    let program = programs.named("enough");
    let tracer = Tracer::start(&["--comm", "enough", "--count", "3", "--timestamps", "none"]);
    exec_times(&program, 10);
    let output = tracer.wait();
    assert_eq!(output.rows.len(), 4);
    assert!(output.rows[0].trim_start().starts_with("PID"));
    assert_eq!(output.status, 0);
    let tracer = Tracer::start(&[
        "--comm",
        "enough",
        "--duration",
        "1s",
        "--timestamps=relative",
    ]);
    exec_times(&program, 2);
    assert_eq!(tracer.wait().of("enough").len(), 2);
}

#[test]
fn a_closed_output_ends_tracing_without_an_error() {
    let programs = Programs::new();
    let program = programs.named("unread");
    // The output is closed at once, or while the tracer has more rows to write.
    for rows in [0, 1000] {
        let mut tracer = Tracer::start(&["--comm", "unread"]);
        let stdout = tracer.child.stdout.take();
        if rows == 0 {
            drop(stdout);
            exec(&program);
        } else {
            let mut stdout = BufReader::new(stdout.unwrap());
            stdout.read_line(&mut String::new()).unwrap();
            tracer.signal(Signal::STOP);
            exec_times(&program, rows);
            drop(stdout);
            tracer.signal(Signal::CONT);
        }
        let mut errors = String::new();
        std::io::Read::read_to_string(&mut tracer.errors, &mut errors).unwrap();
        assert_eq!(code(tracer.child.wait().unwrap()), 0, "{errors}");
        assert!(!errors.contains("roken pipe"), "{errors}");
    }
}

#[test]
fn a_blocked_output_does_not_prevent_ctrl_c_from_ending_the_trace() {
    let programs = Programs::new();
    let program = programs.named("unread");
    let mut tracer = Tracer::start(&["--comm", "unread"]);
    // More than the 64 KiB that a pipe holds.
    exec_times(&program, 2000);
    tracer.signal(Signal::INT);
    let status = loop {
        if let Some(status) = tracer.child.try_wait().unwrap() {
            break status;
        }
        sleep(Duration::from_millis(50));
        tracer.signal(Signal::INT);
    };
    assert_eq!(code(status), 0);
}

#[test]
fn a_closed_standard_error_is_no_error() {
    let _exclusive = host::exclusive();
    let mut child = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
        .args(["trace", "--duration", "100ms"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(code(child.wait().unwrap()), 0);
}
