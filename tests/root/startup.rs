//! Starts that fail.

use std::process::Command;

use testkit::daemon::{Daemon, code};

#[test]
fn an_address_in_use_exits_with_1_and_names_the_flag() {
    let daemon = Daemon::start(&[]);
    let output = Command::new(env!("CARGO_BIN_EXE_execsnoopd"))
        .arg(format!("--web.listen-address={}", daemon.address))
        .output()
        .unwrap();
    assert_eq!(code(output.status), 1);
    let message = String::from_utf8(output.stderr).unwrap();
    let last = message.lines().last().unwrap();
    assert!(
        last.contains(&format!("cannot listen on {}", daemon.address)),
        "{last}"
    );
    assert!(last.contains("Address already in use"), "{last}");
    assert!(last.contains("--web.listen-address"), "{last}");
}

#[test]
fn a_buffer_that_the_kernel_refuses_exits_with_77_and_names_the_limit() {
    // 64 MiB per CPU exceed kernel.perf_event_mlock_kb without CAP_IPC_LOCK.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(
        &file,
        "[capture]\ntransport = \"perf\"\nbuffer_pages = 16384\n",
    )
    .unwrap();
    let output = Command::new("setpriv")
        .args(["--bounding-set=-ipc_lock,-sys_admin", "--inh-caps=-all"])
        .args([
            env!("CARGO_BIN_EXE_execsnoopd"),
            "--web.listen-address=127.0.0.1:0",
            "--config",
        ])
        .arg(&file)
        .output()
        .expect("setpriv (util-linux) runs");
    assert_eq!(code(output.status), 77);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("16384 pages per CPU"), "{message}");
    assert!(message.contains("perf_event_mlock_kb"), "{message}");
}
