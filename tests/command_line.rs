//! The program as a shell sees it: arguments, messages, exit statuses. Needs no root;
//! as root, it gives up what it must not have.

mod common;

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use common::confined::public_copy;
use common::daemon::code;

fn execsnoopd(args: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_execsnoopd")).args(args))
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program can be started")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_configuration_can_be_checked_without_running() {
    let output = execsnoopd(&["--config", "config.example.toml", "--check"]);
    assert_eq!(code(output.status), 0);
    assert_eq!(output.stdout, b"execsnoopd: config.example.toml is valid\n");
}

#[test]
fn a_bad_configuration_ends_with_78_and_one_line_that_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "[capture]\nbufer_pages = 8\n").unwrap();
    let file = file.to_str().unwrap();
    for args in [&["--config", file, "--check"][..], &["--config", file]] {
        let output = execsnoopd(args);
        assert_eq!(code(output.status), 78);
        assert_eq!(
            stderr(&output),
            format!(
                "execsnoopd: {file}:2: unknown key `capture.bufer_pages`; did you mean \
                 `buffer_pages`?\n"
            )
        );
    }
}

#[test]
fn a_configuration_that_is_not_there_ends_with_78() {
    let output = execsnoopd(&["--config", "/nonexistent/config.toml"]);
    assert_eq!(code(output.status), 78);
    assert_eq!(
        stderr(&output),
        "execsnoopd: cannot read the configuration /nonexistent/config.toml: No such file or \
         directory (os error 2)\n"
    );
}

#[test]
fn a_flag_that_does_not_exist_ends_with_2() {
    let output = execsnoopd(&["--web.listen-adress=:1"]);
    assert_eq!(code(output.status), 2);
    assert!(stderr(&output).contains("--web.listen-address"));
}

#[test]
fn help_and_version_go_to_standard_output() {
    let help = execsnoopd(&["--help"]);
    assert_eq!(code(help.status), 0);
    let help = String::from_utf8(help.stdout).unwrap();
    for flag in [
        "--config",
        "--check",
        "--web.listen-address",
        "--web.telemetry-path",
        "--log.level",
        "--log.format",
    ] {
        assert!(help.contains(flag), "{flag} is not in:\n{help}");
    }
    let version = execsnoopd(&["--version"]);
    let expected = format!("execsnoopd {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected.as_bytes());
}

#[test]
fn without_privileges_it_ends_with_77_and_one_line_that_names_them() {
    let (program, _dir) = public_copy();
    let mut command = Command::new(program);
    command.arg("--web.listen-address=127.0.0.1:0");
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let output = run(&mut command);
    assert_eq!(code(output.status), 77);
    let message = stderr(&output);
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("CAP_BPF and CAP_PERFMON"), "{message}");
}
