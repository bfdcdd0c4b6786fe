//! A container that runc runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::daemon::configured;
use testkit::host;

const ID: &str = "1357924680abcdef1357924680abcdef1357924680abcdef1357924680abcdef";

/// Writes a bundle for runc: a root directory with one program, and a configuration with the
/// namespaces that change which IDs and cgroup the program sees.
fn bundle(dir: &Path, program: &Path, cgroup: &str) {
    let root = dir.join("rootfs");
    fs::create_dir(&root).unwrap();
    let status = Command::new("cp")
        .arg(program)
        .arg(root.join("contained"))
        .status();
    assert!(status.unwrap().success());
    let config = format!(
        r#"{{
            "ociVersion": "1.0.2",
            "process": {{
                "user": {{"uid": 700300, "gid": 0}},
                "args": ["/contained"],
                "cwd": "/"
            }},
            "root": {{"path": "rootfs"}},
            "mounts": [{{"destination": "/proc", "type": "proc", "source": "proc"}}],
            "linux": {{
                "cgroupsPath": "{cgroup}",
                "namespaces": [{{"type": "pid"}}, {{"type": "mount"}}, {{"type": "cgroup"}}, {{"type": "ipc"}}]
            }}
        }}"#
    );
    fs::write(dir.join("config.json"), config).unwrap();
}

#[test]
fn execs_in_a_container_are_counted_under_its_short_id() {
    const TIMES: u32 = 3;
    let _exclusive = host::exclusive();
    let (daemon, _config) =
        configured("[[view]]\nlabels = [\"container\", \"comm\"]\n[[view]]\nlabels = [\"uid\"]\n");
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), testkit::compiled::nop(), &format!("/{ID}"));
    for _ in 0..TIMES {
        let output = Command::new("runc")
            .arg("--root")
            .arg(dir.path().join("state"))
            .args(["run", "--bundle"])
            .arg(dir.path())
            .arg(ID)
            .output()
            .expect("runc can be executed");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let scrape = daemon.scrape();
    let sample = format!(
        "execsnoop_execs_by_container_comm_total{{container=\"{}\",comm=\"contained\"}}",
        &ID[..12]
    );
    assert_eq!(scrape.value(&sample), f64::from(TIMES));
    assert_eq!(
        scrape.value("execsnoop_execs_by_uid_total{uid=\"700300\"}"),
        f64::from(TIMES)
    );
    scrape.assert_ledger_closes();
}
