use clap::Parser;

use super::*;
use crate::capture::TransportKind;
use crate::capture::hook::{EXEC_RAW_TP, EXEC_SYS_EXIT, EXEC_TP_BTF, Hook};
use crate::cli::{Cli, Command};

fn parse(args: &[&str]) -> Trace {
    let args = [&["execsnoopd", "trace"], args].concat();
    match Cli::parse_from(args).command {
        Some(Command::Trace(trace)) => trace,
        other => panic!("expected trace: {other:?}"),
    }
}

#[test]
fn a_name_that_no_exec_has_is_refused_unless_other_events_are_shown() {
    for (args, is_ok) in [
        (&["--comm", "true"][..], true),
        (&["--comm", "/usr/bin/true"], false),
        (&["--comm", "kworker/0:1"], false),
        (&["--comm", ""], false),
        (&["--comm", "/usr/bin/true", "--failed"], true),
        (&["--comm", "", "--exits"], true),
        (&["--parent", ""], true),
    ] {
        assert_eq!(check_comm(&parse(args)).is_ok(), is_ok, "{args:?}");
    }
    let error = check_comm(&parse(&["--comm", "/usr/bin/true"])).unwrap_err();
    assert!(error.to_string().ends_with("\"true\""), "{error}");
}

#[test]
fn a_filter_that_nothing_shown_can_match_is_refused() {
    for (args, says) in [
        (
            &["--origin", "tmpfs", "--exits"][..],
            "--origin cannot be combined with --exits",
        ),
        (
            &["--elevated", "--failed"],
            "--elevated cannot be combined with --failed",
        ),
        (
            &["--entry", "init", "--exits=failed"],
            "--entry cannot be combined with --exits",
        ),
    ] {
        let error = check_facts(&parse(args)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(check_facts(&parse(&["--tty", "--exits", "--loginuid", "-"])).is_ok());
    let many: Vec<_> = (0..9).flat_map(|_| ["--uid", "0"]).collect();
    assert!(check_numbers(&parse(&many[..16])).is_ok());
    let error = check_numbers(&parse(&many)).unwrap_err().to_string();
    assert!(error.contains("--uid is given 9 times"), "{error}");
}

#[test]
fn a_login_is_refused_where_the_kernel_does_not_keep_it() {
    let process = tempfile::tempdir().unwrap();
    let user = parse(&["--loginuid", "1000"]);
    let error = check_loginuid(&user, process.path()).unwrap_err();
    assert!(error.to_string().contains("CONFIG_AUDIT"), "{error}");
    let nobody = parse(&["--loginuid", "-"]);
    assert!(check_loginuid(&nobody, process.path()).is_ok());
    std::fs::write(process.path().join("loginuid"), "").unwrap();
    assert!(check_loginuid(&user, process.path()).is_ok());
    // Without /proc, nobody knows.
    assert!(check_loginuid(&user, &process.path().join("absent")).is_ok());
}

#[test]
fn a_filter_on_the_file_is_refused_at_a_hook_that_does_not_show_it() {
    let info = |hooks: &[Hook]| CaptureInfo {
        hooks: hooks.to_vec(),
        transport: TransportKind::Perf,
        buffer_bytes: 0,
    };
    let with_file = [EXEC_TP_BTF, EXEC_RAW_TP].map(|hook| info(&[hook]));
    let without = info(&EXEC_SYS_EXIT);
    for (filter, is_of_file) in [
        (&["--exe", "sh"][..], true),
        (&["--origin", "tmpfs"], true),
        (&["--elevated"], true),
        (&["--entry", "init"], false),
        (&["--show", "exe"], false),
    ] {
        let args = parse(filter);
        assert!(with_file.iter().all(|of| check_hook(&args, of).is_ok()));
        assert_eq!(check_hook(&args, &without).is_err(), is_of_file);
    }
    let error = check_hook(&parse(&["--elevated"]), &without).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("tracepoint/syscalls/sys_exit_execve"),
        "{error}"
    );
    for (columns, is_absent) in [("exe", true), ("origin,tty", true), ("tty", false)] {
        let args = parse(&["--show", columns]);
        assert_eq!(
            describe_absent_columns(&args, &without).is_some(),
            is_absent
        );
        assert_eq!(describe_absent_columns(&args, &with_file[1]), None);
    }
    assert!(describe_absent_columns(&parse(&["--path"]), &without).is_some());
}

#[test]
fn a_pattern_a_template_and_a_path_cause_a_notice() {
    for (args, has_notice) in [
        (&["--unit", "ssh*"][..], true),
        (&["--unit", "getty@"], true),
        (&["--unit", "-"], false),
        (&["--parent", "/bin/sh"], true),
        (&["--parent", "kworker/0:1"], false),
    ] {
        assert_eq!(!doubts(&parse(args)).is_empty(), has_notice, "{args:?}");
    }
}

#[test]
fn the_hierarchy_of_version_2_is_found_among_the_mounts() {
    let mounts = "25 1 0:22 / /proc rw - proc proc rw\n\
                  30 25 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                  31 25 0:28 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw\n";
    assert_eq!(cgroup2_mount(mounts), Some("/sys/fs/cgroup/unified"));
    assert_eq!(cgroup2_mount(""), None);
}

#[test]
fn a_host_with_version_1_alone_is_recognized() {
    for (cgroups, is_alone) in [
        ("2:cpu:/\n1:name=systemd:/init.scope\n", true),
        ("1:name=systemd:/init.scope\n0::/init.scope\n", false),
        ("0::/init.scope\n", false),
        ("", false),
    ] {
        assert_eq!(is_version_1_alone(cgroups), is_alone, "{cgroups}");
    }
}

#[test]
fn a_directory_of_another_file_system_is_no_cgroup() {
    let dir = tempfile::tempdir().unwrap();
    let error = cgroup_id(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("is not the directory of a cgroup"),
        "{error}"
    );
    let error = cgroup_id(&dir.path().join("absent")).unwrap_err();
    assert!(format!("{error:#}").contains("No such file"), "{error:#}");
}
