//! Facts, ancestors and processes: columns, members and filters.

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use testkit::cgroups::Cgroup;
use testkit::compiled::{nop, ways};
use testkit::programs::{Programs, exec, exec_as, go};

use super::Tracer;

const SHOWN: &str = "exe,entry,origin,elevated,tty,loginuid,parent_comm";

fn sh(script: &str, program: &std::path::Path) {
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(program)
        .status();
    assert!(status.unwrap().success(), "{script}");
}

/// Executes a program in memory, one by a login in a session without a terminal, and one in a pid
/// namespace.
fn execute(programs: &Programs) {
    assert!(go("memfd", nop(), 60).success());
    let plain = programs.named("tr-plain");
    sh(
        "echo 710100 >/proc/self/loginuid && setsid \"$0\"; true",
        &plain,
    );
    let contained = programs.named("tr-contained");
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork"]).arg(&contained);
    assert!(command.status().unwrap().success());
}

fn names(objects: &[Value]) -> Vec<&str> {
    objects
        .iter()
        .map(|row| row["comm"].as_str().unwrap())
        .collect()
}

#[test]
fn facts_are_columns_and_members() {
    let programs = Programs::new();
    let tracer = Tracer::start(&["--json", "--show", SHOWN]);
    let table = Tracer::start(&[
        "--show",
        SHOWN,
        "--comm",
        "tr-contained",
        "--timestamps",
        "none",
    ]);
    execute(&programs);
    let objects = tracer.stop().objects();
    let of = |comm: &str| objects.iter().find(|row| row["comm"] == comm).unwrap();
    let memfd = objects.iter().filter(|row| row["origin"] == "unlinked");
    assert_eq!(memfd.count(), 1);
    let plain = of("tr-plain");
    for (member, value) in [
        ("exe", json!("nop")),
        ("entry", json!("")),
        ("elevated", json!(false)),
        ("tty", json!(false)),
        ("loginuid", json!(710_100)),
        ("parent_comm", json!("sh")),
    ] {
        assert_eq!(plain[member], value, "{member}");
    }
    assert_eq!(of("tr-contained")["entry"], "init");
    let output = table.stop();
    let header: Vec<_> = output.rows[0].split_whitespace().skip(6).collect();
    assert_eq!(
        header,
        [
            "EXE",
            "ENTRY",
            "ORIGIN",
            "ELEVATED",
            "TTY",
            "LOGINUID",
            "PARENT_COMM"
        ]
    );
    let row: Vec<_> = output.rows[1].split_whitespace().skip(5).collect();
    assert_eq!(
        (row[0], row[1], row[2], row[4], row[7]),
        ("tr-contained", "nop", "init", "false", "unshare")
    );
}

#[test]
fn facts_are_filters() {
    let programs = Programs::new();
    let setuid = programs.copied(nop(), "tr-setuid");
    sh("chmod 4755 \"$0\"", &setuid);
    for (filter, expected) in [
        (&["--origin", "unlinked"][..], 1),
        (&["--origin", "unlinked", "--entry", "init"], 0),
        (&["--entry", "init"], 1),
        (&["--entry", "injected"], 0),
        (&["--loginuid", "710100"], 2),
        (&["--loginuid", "710100", "--tty"], 0),
        (&["--elevated"], 1),
        (&["--elevated", "--uid", "710101"], 1),
        (&["--exe", "tr-setuid"], 1),
        (&["--exe", "tr-absent", "--exe", "tr-setuid"], 1),
        (&["--exe", "tr-setuid", "--uid", "710102"], 0),
        // Under other names.
        (&["--exe", "nop", "--loginuid", "710100"], 1),
    ] {
        let tracer = Tracer::start(&[&["--json"], filter].concat());
        execute(&programs);
        exec_as(&setuid, Some(710_101));
        for link in ["tr-plain", "tr-contained"] {
            std::fs::remove_file(programs.path().join(link)).unwrap();
        }
        let objects = tracer.stop().objects();
        assert_eq!(objects.len(), expected, "{filter:?}: {:?}", names(&objects));
    }
}

#[test]
fn one_of_several_users_names_or_units_has_to_match() {
    let programs = Programs::new();
    let [a, b, c] = ["tr-a", "tr-b", "tr-c"].map(|name| programs.named(name));
    let units = ["tr-x.service", "tr-y.service", "tr-z.service"].map(Cgroup::new);
    for (filter, expected) in [
        (
            &["--comm", "tr-a", "--comm", "tr-b"][..],
            vec!["tr-a", "tr-b"],
        ),
        (
            &["--uid", "710111", "--uid", "710113"],
            vec!["tr-a", "tr-c"],
        ),
        (&["--unit", "tr-x", "--unit", "tr-z"], vec!["tr-a", "tr-c"]),
        (
            &["--unit", "tr-x", "--unit", "tr-z", "--comm", "tr-c"],
            vec!["tr-c"],
        ),
    ] {
        let by_user = filter[0] == "--uid";
        let tracer = Tracer::start(&[&["--json"], filter].concat());
        for ((program, unit), uid) in [&a, &b, &c].into_iter().zip(&units).zip(710_111..) {
            if by_user {
                exec_as(program, Some(uid));
            } else {
                unit.exec_times(program, 1);
            }
        }
        assert_eq!(names(&tracer.stop().objects()), expected, "{filter:?}");
    }
}

#[test]
fn a_process_is_shown_with_all_of_its_descendants() {
    let programs = Programs::new();
    let [mine, other] = ["tr-mine", "tr-other"].map(|name| programs.named(name));
    let nested = programs.path().join("tr-nested");
    std::fs::write(&nested, "#!/bin/sh\n\"$1\"\ntrue\n").unwrap();
    testkit::programs::set_executable(&nested);
    let script = "read line; \"$0\"; (\"$0\"; true); \"$1\" \"$0\"; true";
    let mut root = Command::new("sh");
    root.args(["-c", script])
        .args([&mine, &nested])
        .stdin(Stdio::piped());
    let mut root = root.spawn().unwrap();
    let tracer = Tracer::start(&["--json", "--pid", &root.id().to_string()]);
    exec(&other);
    drop(root.stdin.take());
    assert!(root.wait().unwrap().success());
    exec(&mine);
    let objects = tracer.stop().objects();
    assert_eq!(
        names(&objects),
        ["tr-mine", "tr-mine", "tr-nested", "tr-mine"]
    );
}

#[test]
fn exits_can_be_those_that_did_not_succeed_and_have_the_arguments_of_the_exec() {
    let programs = Programs::new();
    let program = programs.copied(ways(), "tr-ends");
    let run = || {
        for (way, number) in [("exit", "0"), ("exit", "3"), ("signal", "15")] {
            let _ = Command::new(&program).args([way, "-", number]).status();
        }
    };
    let arguments = ["--json", "--args", "--path", "--comm", "tr-ends"];
    let all = Tracer::start(&[&arguments[..], &["--exits"]].concat());
    let failed = Tracer::start(&[&arguments[..], &["--exits=failed"]].concat());
    run();
    let exits = |tracer: Tracer| -> Vec<(Value, Value)> {
        let objects = tracer.stop().objects().into_iter();
        let exits = objects.filter(|row| row["event"] == "exit");
        exits
            .map(|mut row| {
                assert_eq!(row["path"], program.to_str().unwrap());
                (row["retval"].take(), row["args"][3].take())
            })
            .collect()
    };
    assert_eq!(
        exits(all),
        [
            (json!(0), json!("0")),
            (json!(3), json!("3")),
            (json!(143), json!("15"))
        ]
    );
    assert_eq!(
        exits(failed),
        [(json!(3), json!("3")), (json!(143), json!("15"))]
    );
}

#[test]
fn threads_have_names_of_their_own_beside_those_of_their_processes() {
    let programs = Programs::new();
    let pool = programs.copied(ways(), "tr-pool");
    let program = programs.named("tr-job");
    let arguments = ["--json", "--failed", "--show", "parent_comm"];
    let tracer = Tracer::start_with_tracefs(&arguments);
    let status = Command::new(&pool).arg("pool").arg(&program).status();
    assert!(status.unwrap().success());
    let objects = tracer.stop().objects();
    let job = objects.iter().find(|row| row["comm"] == "tr-job").unwrap();
    assert_eq!(job["parent_comm"], "tr-pool");
    assert_eq!(job["parent_thread_comm"], "pool-worker");
    let failed = objects
        .iter()
        .find(|row| row["event"] == "failure")
        .unwrap();
    assert_eq!(
        (&failed["comm"], &failed["thread_comm"]),
        (&json!("tr-pool"), &json!("pool-worker"))
    );
}

#[test]
fn ancestors_are_a_column_and_the_tree_is_indented_by_them() {
    let programs = Programs::new();
    let [outer, inner] = ["tr-outer", "tr-inner"].map(|name| programs.path().join(name));
    let leaf = programs.named("tr-leaf");
    // The subshell executes nothing, so it is in no row.
    let script = format!("#!/bin/sh\n({}; true)\ntrue\n", leaf.display());
    std::fs::write(&inner, script).unwrap();
    std::fs::write(&outer, format!("#!/bin/sh\n{}\ntrue\n", inner.display())).unwrap();
    for script in [&inner, &outer] {
        testkit::programs::set_executable(script);
    }
    let filter = [
        "--comm", "tr-outer", "--comm", "tr-inner", "--comm", "tr-leaf",
    ];
    let json = Tracer::start(&[&["--json", "--ancestors"], &filter[..]].concat());
    let tree = Tracer::start(
        &[
            &["--tree", "--ancestors", "--exits", "--timestamps", "none"],
            &filter[..],
        ]
        .concat(),
    );
    exec(&outer);
    let objects = json.stop().objects();
    let of = |comm: &str| objects.iter().find(|row| row["comm"] == comm).unwrap();
    let ancestors = of("tr-leaf")["ancestors"].as_array().unwrap();
    // The subshell has the name of the shell that has forked it.
    assert!(ancestors.ends_with(&[json!("tr-outer"), json!("tr-inner"), json!("tr-inner")]));
    let pids = of("tr-leaf")["ancestor_pids"].as_array().unwrap();
    assert_eq!(pids.len(), ancestors.len());
    assert_eq!(pids.last(), Some(&of("tr-leaf")["ppid"]));
    assert!(pids.contains(&of("tr-outer")["pid"]));
    let output = tree.stop();
    let names: Vec<_> = output.rows[1..].iter().map(|row| &row[41..60]).collect();
    let names: Vec<_> = names.iter().map(|name| name.trim_end()).collect();
    let is_in_order = names.starts_with(&[
        "tr-outer",
        "  tr-inner",
        "    tr-leaf",
        "    \u{2514} tr-leaf",
    ]);
    assert!(
        is_in_order && names.ends_with(&["\u{2514} tr-outer"]),
        "{:#?}",
        output.rows
    );
    assert!(
        output.rows[3].ends_with(">tr-outer>tr-inner>tr-inner"),
        "{:#?}",
        output.rows
    );
}

#[test]
fn no_name_can_look_like_two_columns() {
    let programs = Programs::new();
    let forged = programs.named("a 0 b");
    let tracer = Tracer::start(&["--path", "--timestamps", "none", "--comm", "a 0 b"]);
    exec(&forged);
    let output = tracer.stop();
    assert!(output.rows[1].contains(" \"a 0 b\" "), "{:?}", output.rows);
    let path = format!("\"{}\"", forged.display());
    assert!(output.rows[1].ends_with(&path), "{:?}", output.rows);
}
