//! Containers that runc runs.

mod entry; // who has started a container, and whose pid namespace it has
mod podman; // containers and pods of podman

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use testkit::compiled::{nop, ways};
use testkit::daemon::configured;
use testkit::host;

use super::facts::terminal;

const ID: &str = "1357924680abcdef1357924680abcdef1357924680abcdef1357924680abcdef";
const OTHER_ID: &str = "2468013579abcdef2468013579abcdef2468013579abcdef2468013579abcdef";

/// The pid namespace of a container.
enum PidNamespace {
    Own,
    OfHost,
    /// That of another process.
    Of(u32),
}

/// Writes a bundle for runc: a root directory with a program and another one that does nothing, and a
/// configuration with the namespaces that change which IDs and cgroup the program sees.
fn bundle(dir: &Path, program: &Path, arguments: &[&str], id: &str, pid: &PidNamespace) {
    let root = dir.join("rootfs");
    fs::create_dir(&root).unwrap();
    for (program, name) in [(program, "contained"), (nop(), "probe")] {
        let status = Command::new("cp")
            .arg(program)
            .arg(root.join(name))
            .status();
        assert!(status.unwrap().success());
    }
    let pid_namespace = match pid {
        PidNamespace::Own => Some(json!({"type": "pid"})),
        PidNamespace::OfHost => None,
        PidNamespace::Of(pid) => {
            Some(json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")}))
        }
    };
    let mut namespaces = vec![
        json!({"type": "mount"}),
        json!({"type": "cgroup"}),
        json!({"type": "ipc"}),
    ];
    namespaces.extend(pid_namespace);
    let args = [&["/contained"], arguments].concat();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 700_300, "gid": 0},
            "args": args,
            "cwd": "/",
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            // For terminals.
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts"},
        ],
        "linux": {"cgroupsPath": format!("/{id}"), "namespaces": namespaces},
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

/// A container whose first program sleeps. It ends when the value is dropped.
pub(crate) struct Container {
    dir: TempDir,
    id: &'static str,
}

impl Container {
    pub(crate) fn sleeping() -> Self {
        Self::sleeping_in(ID, &PidNamespace::Own)
    }

    fn sleeping_in(id: &'static str, pid: &PidNamespace) -> Self {
        let dir = tempfile::tempdir().unwrap();
        bundle(dir.path(), ways(), &["sleep", "-", "60000"], id, pid);
        let container = Self { dir, id };
        let pid_file = container.dir.path().join("pid");
        let bundle = container.dir.path().to_str().unwrap();
        let pid_file = pid_file.to_str().unwrap();
        container.runc(&[
            "run",
            "--detach",
            "--pid-file",
            pid_file,
            "--bundle",
            bundle,
            id,
        ]);
        container.await_sleep();
        container
    }

    /// Puts a program into the container. Options of runc come before it.
    pub(crate) fn exec(&self, arguments: &[&str]) {
        let (options, program) = arguments.split_at(arguments.len() - 1);
        self.runc(&[&["exec"], options, &[self.id], program].concat());
    }

    /// The first process of the container, as the host numbers it.
    fn pid(&self) -> u32 {
        let pid = fs::read_to_string(self.dir.path().join("pid"));
        pid.unwrap().parse().unwrap()
    }

    /// Waits until the first program sleeps: runc does not wait until it is executed.
    fn await_sleep(&self) {
        let stat = format!("/proc/{}/stat", self.pid());
        while !fs::read_to_string(&stat)
            .unwrap()
            .contains(" (contained) S ")
        {
            sleep(Duration::from_millis(10));
        }
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
        self.runc(&["delete", "--force", self.id]);
    }
}

#[test]
fn execs_in_a_container_are_counted_under_its_short_id() {
    const TIMES: u32 = 3;
    let _exclusive = host::exclusive();
    let (daemon, _config) =
        configured("[[view]]\nlabels = [\"container\", \"comm\"]\n[[view]]\nlabels = [\"uid\"]\n");
    let dir = tempfile::tempdir().unwrap();
    bundle(dir.path(), nop(), &[], ID, &PidNamespace::Own);
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
    let probe =
        "execsnoop_execs_by_entry_origin_comm_total{entry=\"injected\",origin=\"\",comm=\"probe\"}";
    daemon.await_above(probe, 2.0);
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

/// A container has the login of who starts it, and a terminal only if it is given one.
#[test]
fn a_container_keeps_the_login_and_gets_a_terminal_of_its_own() {
    let _exclusive = host::exclusive();
    let (daemon, _config) = configured(
        "[[view]]\nlabels = [\"tty\", \"loginuid\", \"comm\"]\nmetrics = [\"execs\"]\n\
         where = { comm = [\"contained\", \"probe\"] }\n",
    );
    let dir = tempfile::tempdir().unwrap();
    bundle(
        dir.path(),
        ways(),
        &["sleep", "-", "60000"],
        ID,
        &PidNamespace::Own,
    );
    let script = "echo 65534 >/proc/self/loginuid
                  runc --root state run --detach --pid-file pid $0 >/dev/null 2>&1
                  until grep -q '(contained) S' /proc/$(cat pid)/stat; do sleep 0.1; done
                  runc --root state exec $0 /probe
                  runc --root state exec --tty $0 /probe
                  runc --root state delete --force $0";
    let (_emulator, inside) = terminal();
    let status = Command::new("setsid")
        .args(["-c", "sh", "-ec", script, ID])
        .current_dir(dir.path())
        .stdin(Stdio::from(inside))
        .status();
    assert!(status.unwrap().success());
    let scrape = daemon.scrape();
    let of = |tty: bool, comm: &str| {
        let labels = format!("tty=\"{tty}\",loginuid=\"65534\",comm=\"{comm}\"");
        scrape.find(&format!(
            "execsnoop_execs_by_tty_loginuid_comm_total{{{labels}}}"
        ))
    };
    assert_eq!(
        [of(true, "contained"), of(false, "contained")],
        [None, Some(1.0)]
    );
    assert_eq!(
        [of(true, "probe"), of(false, "probe")],
        [Some(1.0), Some(1.0)]
    );
    scrape.assert_ledger_closes();
}
