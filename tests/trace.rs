//! The live table: what is shown of real execs. Needs root.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::cgroups::Cgroup;
use testkit::daemon::code;
use testkit::nop::{failing, ways};
use testkit::programs::{Programs, exec, exec_as, exec_times};

/// A guest has no compiler: `make test-vm` runs this one before, on the host.
#[test]
fn programs_are_compiled() {
    assert!(testkit::nop::nop().exists());
    assert!(ways().exists());
    assert!(failing(FAILURES, 0).exists());
}

/// Each of the four system calls once.
const FAILURES: u32 = 4;

/// `execsnoopd trace`, attached.
struct Tracer {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
    /// The line in which it says by what it observes.
    hooks: String,
}

/// What it said.
struct Said {
    rows: Vec<String>,
    errors: String,
    status: i32,
}

impl Tracer {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_execsnoopd"));
        command.arg("trace").args(args);
        Self::spawn(command)
    }

    /// Where failed execs may need it.
    fn start_with_tracefs(args: &[&str]) -> Self {
        let mount = "mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null; exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", mount, "sh"])
            .args([env!("CARGO_BIN_EXE_execsnoopd"), "trace"])
            .args(args);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tracer can be started");
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut hooks = String::new();
        errors.read_line(&mut hooks).unwrap();
        assert!(hooks.starts_with("execsnoopd: tracing by "), "{hooks}");
        Self {
            child,
            errors,
            hooks,
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the tracer can be signalled");
    }

    /// Stop it as Ctrl-C does.
    fn stop(self) -> Said {
        self.signal(Signal::INT);
        self.ended()
    }

    /// Wait until it stops by itself.
    fn ended(mut self) -> Said {
        let stdout = BufReader::new(self.child.stdout.take().unwrap());
        let rows = stdout.lines().map(Result::unwrap).collect();
        let mut errors = String::new();
        std::io::Read::read_to_string(&mut self.errors, &mut errors).unwrap();
        let status = code(self.child.wait().unwrap());
        Said {
            rows,
            errors,
            status,
        }
    }
}

impl Said {
    fn objects(&self) -> Vec<Value> {
        let parsed = self.rows.iter().map(|row| serde_json::from_str(row));
        parsed
            .collect::<Result<_, _>>()
            .expect("each row is an object")
    }

    /// Rows of this program, by their columns.
    fn of(&self, comm: &str) -> Vec<Vec<&str>> {
        let rows = self.rows[1..]
            .iter()
            .map(|row| row.split_whitespace().collect());
        rows.filter(|columns: &Vec<&str>| columns[6] == comm)
            .collect()
    }
}

#[test]
fn execs_on_all_cpus_are_rows_in_the_order_of_time_with_real_values() {
    const EACH: u32 = 200;
    let programs = Programs::new();
    let storms: Vec<PathBuf> = (0..4).map(|i| programs.named(format!("row{i}"))).collect();
    let tracer = Tracer::start(&[]);
    scope(|scope| {
        for program in &storms {
            scope.spawn(|| (0..EACH).for_each(|_| exec_as(program, Some(700_500))));
        }
    });
    let said = tracer.stop();
    let header = "TIME PID PPID UID RETVAL IS_EXIT COMM";
    assert!(said.rows[0].split_whitespace().eq(header.split(' ')));
    assert!(!said.rows[1..].iter().any(|row| row.contains("COMM")));
    for i in 0..4 {
        let rows = said.of(&format!("row{i}"));
        assert_eq!(rows.len(), EACH as usize);
        let us = std::process::id().to_string();
        for row in rows {
            assert!(row[1].parse::<u32>().unwrap() > 1);
            assert_eq!(row[2..6], [&us, "700500", "0", "false"]);
        }
    }
    let times = said.rows[1..]
        .iter()
        .map(|row| row.split_whitespace().next());
    assert!(times.is_sorted());
    assert!(
        said.errors.ends_with("the details of 0 lost\n"),
        "{}",
        said.errors
    );
    assert_eq!(said.status, 0);
}

#[test]
fn filters_let_through_what_has_all_that_is_asked_for_and_nothing_else() {
    let programs = Programs::new();
    let (wanted, other) = (programs.named("wanted"), programs.named("unwanted"));
    let script = programs.path().join("starter");
    std::fs::write(&script, format!("#!/bin/sh\n{}\n:\n", wanted.display())).unwrap();
    testkit::programs::set_executable(&script);
    let unit = Cgroup::new("traced.slice/traced.service");
    let directory = unit.directory().parent().unwrap().display().to_string();
    for (filter, expected) in [
        (vec!["--comm", "wanted"], 5),
        (vec!["--comm", "wanted", "--uid", "700501"], 1),
        (vec!["--parent", "starter"], 1),
        (vec!["--unit", "traced.service", "--comm", "wanted"], 2),
        (vec!["--cgroup", &directory, "--comm", "wanted"], 2),
        (vec!["--cgroup", &directory, "--uid", "700501"], 0),
    ] {
        let tracer = Tracer::start(&filter);
        exec(&wanted);
        exec(&other);
        exec_as(&wanted, Some(700_501));
        exec_as(&other, Some(700_502));
        exec(&script);
        unit.exec_times(&wanted, 2);
        unit.exec_times(&other, 2);
        let said = tracer.stop();
        let rows = said.rows.len() - 1;
        assert_eq!(said.of("wanted").len(), expected, "{filter:?}");
        assert_eq!(rows, expected, "{filter:?}");
    }
}

#[test]
fn failed_execs_and_ends_are_rows_with_what_they_returned() {
    let programs = Programs::new();
    let program = programs.named("unused");
    let comm = comm(ways());
    let tracer = Tracer::start_with_tracefs(&["--failed", "--exits", "--comm", &comm]);
    for (way, number) in [("ENAMETOOLONG", 3), ("exit", 17), ("signal", 9)] {
        Command::new(ways())
            .arg(way)
            .arg(&program)
            .arg(number.to_string())
            .status()
            .unwrap();
    }
    let said = tracer.stop();
    let rows = said.of(&comm);
    let shown: Vec<_> = rows.iter().map(|row| (row[4], row[5])).collect();
    assert_eq!(
        shown,
        [
            ("0", "false"),
            ("-36", "false"),
            ("-36", "false"),
            ("-36", "false"),
            ("0", "true"),
            ("0", "false"),
            ("17", "true"),
            ("0", "false"),
            ("137", "true"),
        ]
    );
}

/// A program's name as the kernel keeps it.
fn comm(program: &Path) -> String {
    program.file_name().unwrap().to_str().unwrap()[..15].to_owned()
}

#[test]
fn a_failed_exec_has_the_path_that_was_asked_for() {
    let failing = failing(FAILURES, 0);
    let comms = [comm(&failing), comm(ways())];
    let paths = comms.map(|comm| {
        let args = ["--json", "--failed", "--path", "--comm", &comm];
        let tracer = Tracer::start_with_tracefs(&args);
        // Each of its system calls that is observed: tracepoints see no 32-bit ones.
        let seen = if tracer.hooks.contains("fexit") {
            FAILURES
        } else {
            FAILURES / 2
        };
        Command::new(&failing).status().unwrap();
        for way in ["ENOENT", "EFAULT", "ENAMETOOLONG"] {
            Command::new(ways()).args([way, "unused"]).status().unwrap();
        }
        let objects = tracer.stop().objects();
        let failed = objects
            .iter()
            .filter(|object| object["event"] == "failure")
            .map(|object| (object["path"].clone(), object["path_cut"].clone()));
        (seen, failed.collect::<Vec<_>>())
    });
    let whole = |path: &str| (Value::from(path), Value::Null);
    let [(seen, by_each_call), (_, others)] = paths;
    assert_eq!(by_each_call, vec![whole("/absent"); seen as usize]);
    assert_eq!(
        others,
        [
            whole("/nonexistent/program"),
            (Value::Null, Value::Null), // nothing is there
            (Value::from("a".repeat(511)), Value::from(true)),
        ]
    );
}

#[test]
fn paths_and_arguments_are_whole_or_marked_as_cut() {
    let programs = Programs::new();
    let program = programs.named("argued");
    let deep = programs
        .path()
        .join(format!("{0}/{0}/{0}", "d".repeat(200)));
    std::fs::create_dir_all(&deep).unwrap();
    let far = programs.copied(testkit::nop::nop(), &format!("{}/argued", deep.display()));
    let tracer = Tracer::start(&["--json", "--path", "--args", "--comm", "argued"]);
    let run = |program: &Path, args: &[&OsStr]| {
        assert!(Command::new(program).args(args).status().unwrap().success());
    };
    run(
        &program,
        &[
            OsStr::new("a b"),
            OsStr::new(""),
            OsStr::from_bytes(b"\x1b[2J\xff"),
        ],
    );
    run(&program, &[OsStr::new(&"x".repeat(5000))]);
    run(&far, &[]);
    let objects = tracer.stop().objects();
    let name = program.to_str().unwrap();
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[0]["path"], name);
    assert_eq!(
        objects[0]["args"],
        serde_json::json!([name, "a b", "", "\\x1b[2J\\xff"])
    );
    assert_eq!(
        [&objects[0]["path_cut"], &objects[0]["args_cut"]],
        [&Value::Null; 2]
    );
    let long = objects[1]["args"].as_array().unwrap();
    let kept: usize = long.iter().map(|arg| arg.as_str().unwrap().len() + 1).sum();
    assert_eq!(kept - 1, 1408);
    assert_eq!(objects[1]["args_cut"], true);
    let path = objects[2]["path"].as_str().unwrap();
    assert_eq!(path, &far.to_str().unwrap()[..511]);
    assert_eq!(objects[2]["path_cut"], true);
}

#[test]
fn an_object_has_what_the_documentation_says() {
    let programs = Programs::new();
    let program = programs.named("object\x07");
    let unit = Cgroup::new("objects.slice/objects.service");
    let shown = [
        "--json",
        "--exits",
        "--show",
        "parent_comm,unit,container",
        "--unit",
        "objects.service",
    ];
    let tracer = Tracer::start(&shown);
    unit.exec_times(&program, 1);
    let said = tracer.stop();
    let objects: Vec<Value> = said.objects();
    let objects: Vec<_> = objects
        .iter()
        .filter(|o| o["comm"] == "object\\x07")
        .collect();
    assert_eq!(objects.len(), 2);
    let documented = include_str!("../docs/trace.md");
    for object in &objects {
        for key in object.as_object().unwrap().keys() {
            assert!(
                documented.contains(&format!("| `{key}` |")),
                "{key} is not in docs/trace.md"
            );
        }
        assert_eq!(object["unit"], "objects.service");
        assert_eq!(object["container"], "");
        assert_eq!(object["parent_comm"], "sh");
    }
    assert_eq!(
        [&objects[0]["event"], &objects[1]["event"]],
        ["exec", "exit"]
    );
    assert!(objects[1]["lifetime_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_is_lost_is_said_and_is_a_failure_only_if_that_is_asked_for() {
    const TIMES: u32 = 6_000;
    let programs = Programs::new();
    let program = programs.named("flooding");
    let filter = ["--comm", "flooding"];
    let tracers = [(vec![], 0), (vec!["--strict"], 1)]
        .map(|(strict, status)| (Tracer::start(&[&filter[..], &strict].concat()), status));
    // 64 pages of each CPU have place for some 2500 events.
    for (tracer, _) in &tracers {
        tracer.signal(Signal::STOP);
    }
    exec_times(&program, TIMES);
    for (tracer, status) in tracers {
        tracer.signal(Signal::CONT);
        let said = tracer.stop();
        assert_eq!(said.status, status);
        let rows = said.of("flooding").len();
        assert!(rows < TIMES as usize);
        let lost = TIMES as usize - rows;
        assert!(
            said.errors.contains("observations have no row"),
            "{}",
            said.errors
        );
        let closing = format!("{TIMES} observed, {rows} shown, the details of {lost} lost\n");
        assert!(said.errors.ends_with(&closing), "{}", said.errors);
    }
}

#[test]
fn it_stops_by_itself_after_so_many_rows_or_so_long() {
    let programs = Programs::new();
    let program = programs.named("enough");
    let tracer = Tracer::start(&["--comm", "enough", "--count", "3", "--timestamps", "none"]);
    exec_times(&program, 10);
    let said = tracer.ended();
    assert_eq!(said.rows.len(), 4);
    assert!(said.rows[0].trim_start().starts_with("PID"));
    assert_eq!(said.status, 0);
    let tracer = Tracer::start(&[
        "--comm",
        "enough",
        "--duration",
        "1s",
        "--timestamps=relative",
    ]);
    exec_times(&program, 2);
    assert_eq!(tracer.ended().of("enough").len(), 2);
}

#[test]
fn nobody_reading_any_more_ends_it_quietly() {
    let programs = Programs::new();
    let program = programs.named("unread");
    // At once, or while it has more to write than fits a pipe.
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
fn an_output_that_takes_nothing_does_not_keep_it_from_ending() {
    let programs = Programs::new();
    let program = programs.named("unread");
    let mut tracer = Tracer::start(&["--comm", "unread"]);
    // More than a pipe holds, 64 KiB.
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
fn nobody_reading_its_errors_is_no_error() {
    let _alone = Programs::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
        .args(["trace", "--duration", "100ms"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(code(child.wait().unwrap()), 0);
}

#[test]
fn what_is_no_cgroup_is_refused_with_what_would_be() {
    let output = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
        .args(["trace", "--cgroup", "/tmp"])
        .output()
        .unwrap();
    assert_eq!(code(output.status), 1);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("/tmp is not the directory of a cgroup"),
        "{message}"
    );
}
