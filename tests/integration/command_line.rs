//! The program as a shell sees it: arguments, messages and exit statuses. A test that must run without
//! privileges drops those of root.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use testkit::certificates::Authority;
use testkit::confined::public_copy;
use testkit::daemon::code;
use testkit::web::{TLS, WebDir};

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
fn an_invalid_configuration_exits_with_78_and_one_line_with_file_and_line() {
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
fn a_web_configuration_is_checked_with_the_files_it_names() {
    let authority = Authority::new("ours");
    let dir = WebDir::tls(TLS, &authority);
    let flag = format!("--web.config.file={}", dir.web_config().display());
    let args = ["--config=config.example.toml", flag.as_str(), "--check"];
    let output = execsnoopd(&args);
    assert_eq!(code(output.status), 0, "{}", stderr(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    let web = dir.web_config().display().to_string();
    let expected =
        format!("execsnoopd: config.example.toml is valid\nexecsnoopd: {web} is valid\n");
    assert_eq!(printed, expected);

    let other = Authority::new("other").server();
    let key = dir.path().join("server.key");
    let cert = dir.path().join("server.crt");
    // Another program may be about to replace a certificate and its key, so a later start may succeed.
    for (file, text, status, message) in [
        (
            "server.key",
            other.key.as_str(),
            1,
            format!(
                "{web}:3: tls_server_config.key_file: {}: the key does not belong to the certificate",
                key.display()
            ),
        ),
        (
            "server.crt",
            "",
            1,
            format!(
                "{web}:2: tls_server_config.cert_file: {}: there is no certificate in it",
                cert.display()
            ),
        ),
        (
            "web.yml",
            "basic_auth_users:\n  a: b\n",
            78,
            format!("{web}:2: basic_auth_users.a: not a bcrypt hash"),
        ),
    ] {
        dir.write(file, text);
        let output = execsnoopd(&args);
        assert_eq!(code(output.status), status);
        let printed = stderr(&output);
        assert!(
            printed.starts_with(&format!("execsnoopd: {message}")),
            "{printed}"
        );
        // Without --check, the daemon exits with the same message.
        let started = execsnoopd(&args[..2]);
        assert_eq!(code(started.status), status);
        assert_eq!(stderr(&started), printed);
    }
    std::fs::remove_file(dir.web_config()).unwrap();
    let output = execsnoopd(&args);
    assert_eq!(code(output.status), 1);
    assert_eq!(
        stderr(&output),
        format!(
            "execsnoopd: cannot read the web configuration {web}: No such file or directory (os \
             error 2)\n"
        )
    );
}

#[test]
fn a_missing_configuration_exits_with_1() {
    let output = execsnoopd(&["--config", "/nonexistent/config.toml"]);
    assert_eq!(code(output.status), 1);
    assert_eq!(
        stderr(&output),
        "execsnoopd: cannot read the configuration /nonexistent/config.toml: No such file or \
         directory (os error 2)\n"
    );
}

#[test]
fn a_host_or_user_that_is_not_known_yet_exits_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    let name = file.to_str().unwrap();
    let host = "[web]\nlisten = [\"no-such-host.invalid:1\"]\n";
    let user = "[[view]]\nlabels = [\"user\"]\nalways = [\"no-such-user\"]\n";
    for (text, line) in [(host, 2), (user, 3)] {
        std::fs::write(&file, text).unwrap();
        let output = execsnoopd(&["--config", name]);
        assert_eq!(code(output.status), 1, "{text}");
        let message = stderr(&output);
        let expected = format!("execsnoopd: {name}:{line}: ");
        assert!(message.starts_with(&expected), "{message}");
    }
    // --check only warns about the unknown host, because a reload does not need it.
    std::fs::write(&file, host).unwrap();
    let output = execsnoopd(&["--config", name, "--check"]);
    assert_eq!(code(output.status), 0);
    let warning = stderr(&output);
    assert!(warning.contains("a start would fail now"), "{warning}");
}

#[test]
fn an_unknown_flag_exits_with_2() {
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
        "--web.config.file",
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
fn without_privileges_the_daemon_exits_with_77_and_names_them_on_one_line() {
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
