//! Containers and pods of podman. Its monitor, conmon, is a subreaper: it has adopted the first process of
//! a container when that executes the program.

use std::fs;
use std::process::Command;

use execsnoopd::record::Fact;
use tempfile::TempDir;
use testkit::compiled::{nop, ways};
use testkit::daemon::configured;
use testkit::programs::Programs;

use crate::facts::assert_only;

const CGROUP: &str = "execsnoopd-podman";

/// A podman with a state of its own: it does not see the containers of the host's, and the host's does not
/// see its containers.
struct Podman {
    dir: TempDir,
}

impl Podman {
    /// The containers have these programs. Those whose names begin with `sl` can sleep.
    fn new(programs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        fs::create_dir(&root).unwrap();
        for name in programs {
            let program = if name.starts_with("sl-") {
                ways()
            } else {
                nop()
            };
            let status = Command::new("cp")
                .arg(program)
                .arg(root.join(name))
                .status();
            assert!(status.unwrap().success());
        }
        let at = dir.path().display();
        // The limits need no privileges: without CAP_SYS_RESOURCE, those of podman cannot be set.
        let containers = format!(
            "[containers]
             default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]
             log_driver = \"none\"
             apparmor_profile = \"unconfined\"
             [engine]
             runtime = \"runc\"
             cgroup_manager = \"cgroupfs\"
             events_logger = \"none\"
             lock_type = \"file\"
             static_dir = \"{at}/storage/libpod\"
             tmp_dir = \"{at}/tmp\"
             volume_path = \"{at}/volumes\"\n"
        );
        let storage = format!(
            "[storage]
             driver = \"vfs\"
             graphroot = \"{at}/storage\"
             runroot = \"{at}/run\"\n"
        );
        fs::write(dir.path().join("containers.conf"), containers).unwrap();
        fs::write(dir.path().join("storage.conf"), storage).unwrap();
        Self { dir }
    }

    /// Runs commands, and waits for everything that they leave behind. In them, `run` has the options that
    /// all containers need.
    #[track_caller]
    fn run(&self, commands: &str) {
        let script = format!(
            "run() {{ podman run --network none --cgroup-parent /{CGROUP} \"$@\"; }}
             # podman does not wait until the first program is executed.
             await_sleep() {{
                 stat=/proc/$(podman inspect --format '{{{{.State.Pid}}}}' $1)/stat
                 until grep -q \" ($2) S \" $stat; do sleep 0.1; done
             }}
             exec 2>&1
             {commands}
             echo finished"
        );
        let output = Command::new(ways())
            .args(["measure", "-", "1", "/bin/sh", "-ec", &script])
            .current_dir(self.dir.path())
            .env("CONTAINERS_CONF", self.dir.path().join("containers.conf"))
            .env(
                "CONTAINERS_STORAGE_CONF",
                self.dir.path().join("storage.conf"),
            )
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.lines().any(|line| line == "finished"), "{text}");
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // podman does not remove the cgroups of conmon and of pods.
        let pattern = format!("/sys/fs/cgroup*/{CGROUP}*");
        let mut find = Command::new("find");
        find.args(["/sys/fs/cgroup/", "-depth", "-path", &pattern]);
        find.args(["-type", "d", "-delete"]);
        let _ = find.status();
    }
}

const VIEW: &str = "[[view]]\nlabels = [\"entry\", \"comm\"]\nmetrics = [\"execs\"]\n\
                    where = { comm = [\"pm-*\", \"sl-*\"] }\n";

#[test]
fn podman_run_is_the_first_and_podman_exec_is_injected() {
    let _programs = Programs::new();
    let expected = [
        ("sl-first", "init", 1.0),
        ("pm-exec", "injected", 2.0),
        ("pm-short", "init", 1.0),
        ("pm-joined", "injected", 1.0),
        ("pm-host", "", 1.0),
    ];
    let podman = Podman::new(&expected.map(|(name, _, _)| name));
    let (daemon, _config) = configured(VIEW);
    podman.run(
        "run --detach --name first --rootfs $PWD/rootfs /sl-first sleep - 60000
         await_sleep first sl-first
         podman exec first /pm-exec
         podman exec first /pm-exec
         run --rm --rootfs $PWD/rootfs /pm-short
         run --rm --pid container:first --rootfs $PWD/rootfs /pm-joined
         run --rm --pid host --rootfs $PWD/rootfs /pm-host
         podman rm --force --time 0 first",
    );
    assert_only(&daemon.scrape(), Fact::Entry, &expected);
}

#[test]
fn in_a_pod_of_podman_the_first_of_each_pid_namespace_is_the_first() {
    let _programs = Programs::new();
    let expected = [
        // They share the pid namespace.
        ("sl-infra", "init", 1.0),
        ("sl-member", "injected", 1.0),
        ("pm-member-exec", "injected", 1.0),
        // They do not.
        ("sl-apart", "init", 1.0),
        ("pm-own", "init", 1.0),
    ];
    let podman = Podman::new(&expected.map(|(name, _, _)| name));
    let (daemon, _config) = configured(VIEW);
    podman.run(&format!(
        "tar -C rootfs -c . | podman import --quiet - infra
         pod() {{
             podman pod create --name $1 --share $2 --cgroup-parent /{CGROUP} \\
                 --infra-image infra --infra-command \"$3 sleep - 60000\"
             podman pod start $1
             await_sleep $(podman pod inspect --format '{{{{.InfraContainerID}}}}' $1) ${{3#/}}
         }}
         pod together pid /sl-infra
         run --detach --pod together --name member --rootfs $PWD/rootfs /sl-member sleep - 60000
         await_sleep member sl-member
         podman exec member /pm-member-exec
         podman pod rm --force --time 0 together
         pod apart ipc /sl-apart
         run --rm --pod apart --rootfs $PWD/rootfs /pm-own
         podman pod rm --force --time 0 apart"
    ));
    assert_only(&daemon.scrape(), Fact::Entry, &expected);
}
