//! The rows of the table.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::scope;

use serde_json::Value;
use testkit::cgroups::Cgroup;
use testkit::compiled::{failing, ways};
use testkit::host;
use testkit::programs::{Programs, exec_as};

use super::Tracer;

/// How often the program of [`failing`] fails: once in each of four system calls.
pub(crate) const FAILURES: u32 = 4;

#[test]
fn execs_on_all_cpus_are_rows_in_the_order_of_time_with_correct_values() {
    const EACH: u32 = 200;
    let programs = Programs::new();
    let storms: Vec<PathBuf> = (0..4).map(|i| programs.named(format!("row{i}"))).collect();
    let tracer = Tracer::start(&[]);
    scope(|scope| {
        for program in &storms {
            scope.spawn(|| (0..EACH).for_each(|_| exec_as(program, Some(700_500))));
        }
    });
    let output = tracer.stop();
    let header = "TIME PID PPID UID RETVAL IS_EXIT COMM";
    assert!(output.rows[0].split_whitespace().eq(header.split(' ')));
    assert!(!output.rows[1..].iter().any(|row| row.contains("COMM")));
    for i in 0..4 {
        let rows = output.of(&format!("row{i}"));
        assert_eq!(rows.len(), EACH as usize);
        let us = std::process::id().to_string();
        for row in rows {
            assert!(row[1].parse::<u32>().unwrap() > 1);
            assert_eq!(row[2..6], [&us, "700500", "0", "false"]);
        }
    }
    let times = output.rows[1..]
        .iter()
        .map(|row| row.split_whitespace().next());
    assert!(times.is_sorted());
    assert!(
        output.errors.ends_with("the details of 0 lost\n"),
        "{}",
        output.errors
    );
    assert_eq!(output.status, 0);
}

#[test]
fn failed_execs_and_exits_are_rows_with_their_return_value() {
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
    let output = tracer.stop();
    let rows = output.of(&comm);
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

/// The name of a program, truncated like the kernel's.
fn comm(program: &Path) -> String {
    program.file_name().unwrap().to_str().unwrap()[..15].to_owned()
}

#[test]
fn a_failed_exec_has_the_requested_path() {
    let _exclusive = host::exclusive();
    let failing = failing(FAILURES, 0);
    let comms = [comm(&failing), comm(ways())];
    let paths = comms.map(|comm| {
        let args = ["--json", "--failed", "--path", "--comm", &comm];
        let tracer = Tracer::start_with_tracefs(&args);
        // Tracepoints do not see the system calls of 32-bit programs.
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
            (Value::Null, Value::Null), // the address is not mapped
            (Value::from("a".repeat(511)), Value::from(true)),
        ]
    );
}

#[test]
fn paths_and_arguments_are_complete_or_marked_as_truncated() {
    let programs = Programs::new();
    let program = programs.named("argued");
    let deep = programs
        .path()
        .join(format!("{0}/{0}/{0}", "d".repeat(200)));
    std::fs::create_dir_all(&deep).unwrap();
    let far = programs.copied(
        testkit::compiled::nop(),
        &format!("{}/argued", deep.display()),
    );
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
fn an_object_has_the_documented_members() {
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
    let output = tracer.stop();
    let objects: Vec<Value> = output.objects();
    let objects: Vec<_> = objects
        .iter()
        .filter(|o| o["comm"] == "object\\x07")
        .collect();
    assert_eq!(objects.len(), 2);
    let documented = include_str!("../../../docs/trace.md");
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
