//! Filters: which rows they let through, and which filters are rejected.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

use testkit::cgroups::Cgroup;
use testkit::daemon::code;
use testkit::programs::{Programs, exec, exec_as};

use super::Tracer;

#[test]
fn filters_pass_only_events_that_match_all_of_them() {
    let programs = Programs::new();
    let (wanted, other) = (programs.named("wanted"), programs.named("unwanted"));
    let script = programs.path().join("starter");
    std::fs::write(&script, format!("#!/bin/sh\n{}\n:\n", wanted.display())).unwrap();
    testkit::programs::set_executable(&script);
    let unit = Cgroup::new(&format!("traced.slice/traced.service{}", "/d".repeat(98)));
    let slice = unit.directory().ancestors().nth(99).unwrap();
    assert!(slice.ends_with("traced.slice"));
    let directory = slice.display().to_string();
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
        let output = tracer.stop();
        let rows = output.rows.len() - 1;
        assert_eq!(output.of("wanted").len(), expected, "{filter:?}");
        assert_eq!(rows, expected, "{filter:?}");
    }
}

#[test]
fn a_unit_is_found_without_its_suffix() {
    let programs = Programs::new();
    let program = programs.named("snapped");
    let unit = Cgroup::new("snaps.slice/snap.lxd.daemon.service");
    for name in ["snap.lxd.daemon", "snap.lxd.daemon.service"] {
        let tracer = Tracer::start(&["--unit", name, "--comm", "snapped"]);
        unit.exec_times(&program, 2);
        assert_eq!(tracer.stop().of("snapped").len(), 2, "{name}");
    }
}

/// The names need escaping, or look as if they were escaped.
#[test]
fn a_printed_name_can_be_used_as_a_filter_for_its_rows() {
    let programs = Programs::new();
    let names: [&[u8]; 6] = [
        b"back\\slash",
        b"bell\x07\x1b[2J",
        b"\xff\xfe",
        "\u{fc}\u{202e}".as_bytes(),
        b"a\\x2db",
        b"other",
    ];
    let programs = names.map(|name| programs.named(OsStr::from_bytes(name)));
    let units = ["a\\x2db.service", "c d.service", "\u{1f}.scope"]
        .map(|name| (name, Cgroup::new(&format!("printed.slice/{name}"))));
    let run = || {
        for (_, unit) in &units {
            for program in &programs {
                unit.exec_times(program, 1);
            }
        }
    };
    let directory = units[0].1.directory().parent().unwrap().to_str().unwrap();
    let show = ["--json", "--show", "unit", "--cgroup", directory];
    let key =
        |row: &serde_json::Value| ["comm", "unit"].map(|key| row[key].as_str().unwrap().to_owned());
    let tracer = Tracer::start(&show);
    run();
    let printed: Vec<_> = tracer.stop().objects().iter().map(key).collect();
    assert_eq!(printed.len(), units.len() * names.len());
    let filters = printed.iter().map(|[comm, unit]| {
        let filter = ["--comm", comm, "--unit", unit];
        Tracer::start(&[&show[..], &filter].concat())
    });
    let tracers: Vec<_> = filters.collect();
    run();
    for (expected, tracer) in printed.iter().zip(tracers) {
        let rows: Vec<_> = tracer.stop().objects().iter().map(key).collect();
        assert_eq!(rows.as_slice(), std::slice::from_ref(expected));
    }
}

#[test]
fn processes_outside_of_units_can_be_selected() {
    let programs = Programs::new();
    let program = programs.named("unitless");
    let (inside, outside) = (
        Cgroup::new("some.slice/some.service"),
        Cgroup::new("nounit"),
    );
    let tracer = Tracer::start(&["--unit", "-", "--comm", "unitless"]);
    inside.exec_times(&program, 2);
    outside.exec_times(&program, 3);
    assert_eq!(tracer.stop().of("unitless").len(), 3);
}

fn refused(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let message = String::from_utf8(stderr).unwrap();
    assert!([1, 2].contains(&code(status)), "{message}");
    message
}

fn trace(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_execsnoopd"));
    command.args(["trace", "--duration", "1s"]).args(args);
    command
}

#[test]
fn a_directory_that_is_no_cgroup_is_rejected() {
    let message = refused(&mut trace(&["--cgroup", "/tmp"]));
    assert!(
        message.contains("/tmp is not the directory of a cgroup"),
        "{message}"
    );
}

#[test]
fn a_cgroup_of_version_1_is_rejected_and_the_message_names_the_mount_of_version_2() {
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t cgroup -o none,name=execsnoopd none \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", mount]).arg(dir.path());
    command.args([env!("CARGO_BIN_EXE_execsnoopd"), "trace", "--duration=1s"]);
    command.arg("--cgroup").arg(dir.path());
    let message = refused(&mut command);
    let expected = "is not the directory of a cgroup of version 2 but of version 1; use one in /";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn filters_that_can_never_match_are_rejected_and_the_message_names_one_that_can() {
    for (args, expected) in [
        (["--comm", "/usr/bin/true"], "\"true\""),
        (
            ["--comm", "gnome-shell-calendar-server"],
            "gnome-shell-cal\"",
        ),
        (["--comm", ""], "--exits"),
        (["--unit", "logrotate.timer"], ".service"),
        (["--unit", "/system.slice/ssh.service"], "'/'"),
        (["--uid", "4294967295"], "neither a uid"),
        (["--uid", "no-such-user"], "neither a uid"),
        (["--cgroup", "/absent"], "No such file"),
    ] {
        let message = refused(&mut trace(&args));
        assert!(message.contains(expected), "{args:?}: {message}");
    }
}
