//! A container that runc runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use testkit::compiled::{nop, ways};
use testkit::daemon::configured;
use testkit::host;

const ID: &str = "1357924680abcdef1357924680abcdef1357924680abcdef1357924680abcdef";

/// Writes a bundle for runc: a root directory with a program and another one that does nothing, and a
/// configuration with the namespaces that change which IDs and cgroup the program sees.
fn bundle(dir: &Path, program: &Path, arguments: &str, cgroup: &str) {
    let root = dir.join("rootfs");
    fs::create_dir(&root).unwrap();
    for (program, name) in [(program, "contained"), (nop(), "probe")] {
        let status = Command::new("cp")
            .arg(program)
            .arg(root.join(name))
            .status();
        assert!(status.unwrap().success());
    }
    let config = format!(
        r#"{{
            "ociVersion": "1.0.2",
            "process": {{
                "user": {{"uid": 700300, "gid": 0}},
                "args": ["/contained"{arguments}],
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

/// A container whose first program sleeps. It ends when the value is dropped.
pub(crate) struct Container {
    dir: TempDir,
}

impl Container {
    pub(crate) fn sleeping() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let arguments = ", \"sleep\", \"-\", \"60000\"";
        bundle(dir.path(), ways(), arguments, &format!("/{ID}"));
        let container = Self { dir };
        let bundle = container.dir.path().to_str().unwrap();
        container.runc(&["run", "--detach", "--bundle", bundle, ID]);
        container
    }

    /// Puts a program into the container. Options of runc come before it.
    pub(crate) fn exec(&self, arguments: &[&str]) {
        let (options, program) = arguments.split_at(arguments.len() - 1);
        self.runc(&[&["exec"], options, &[ID], program].concat());
    }

    fn runc(&self, arguments: &[&str]) {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.dir.path().join("state"));
        // A container in the background keeps these open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.args(arguments).status();
        let status = status.expect("runc can be executed");
        assert!(status.success(), "{arguments:?}: {status}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.runc(&["delete", "--force", ID]);
    }
}

#[test]
fn execs_in_a_container_are_counted_under_its_short_id() {
    const TIMES: u32 = 3;
    let _exclusive = host::exclusive();
    let (daemon, _config) =
        configured("[[view]]\nlabels = [\"container\", \"comm\"]\n[[view]]\nlabels = [\"uid\"]\n");
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), nop(), "", &format!("/{ID}"));
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

#[test]
fn the_first_program_of_a_container_and_one_put_into_it_are_told_apart() {
    let _exclusive = host::exclusive();
    let (daemon, _config) = configured(
        "[[view]]\nlabels = [\"entry\", \"origin\", \"comm\"]\nwhere = { not_entry = [\"\"] }\n",
    );
    let container = Container::sleeping();
    for _ in 0..2 {
        container.exec(&["/probe"]);
    }
    container.exec(&["--detach", "/probe"]);
    drop(container);
    let scrape = daemon.scrape();
    let of = |entry: &str, comm: &str| {
        let labels = format!("entry=\"{entry}\",origin=\"\",comm=\"{comm}\"");
        scrape.find(&format!(
            "execsnoop_execs_by_entry_origin_comm_total{{{labels}}}"
        ))
    };
    assert_eq!(
        [of("init", "contained"), of("injected", "contained")],
        [Some(1.0), None]
    );
    assert_eq!(
        [of("init", "probe"), of("injected", "probe")],
        [None, Some(3.0)]
    );
    scrape.assert_ledger_closes();
}
