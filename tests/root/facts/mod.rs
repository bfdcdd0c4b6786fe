//! Facts about execs that the names of programs do not show.

mod entry; // how a process came into its pid namespace
mod exe; // the name of the file
mod hooks; // at all hooks for execs
mod origin; // where the file is from

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use execsnoopd::record::Fact;
use rustix::fs::{XattrFlags, setxattr};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;
use testkit::compiled::{nop, ways};
use testkit::daemon::with_transport;
use testkit::guest::in_a_guest;
use testkit::http::Scrape;
use testkit::programs::{Programs, exec, exec_as};

pub(crate) use self::entry::Namespace;

testkit::over_both_transports! {
    only_a_file_that_gives_privileges_is_elevated
    a_process_with_a_terminal_has_one_in_all_of_its_counts
    the_user_who_logged_in_is_kept_when_the_user_changes
    the_parent_is_the_process_not_the_thread_that_forked
}

/// A directory on a disk: in a guest, the root directory is in memory.
pub(crate) fn on_disk() -> TempDir {
    let parent = if in_a_guest() {
        Path::new("/disk").to_owned()
    } else {
        testkit::paths::scratch()
    };
    let dir = TempDir::with_prefix_in("facts-", parent).expect("a directory on a disk");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn copy(program: &Path, to: &Path, owner: u32) {
    // Another process writes it: see Programs::copied().
    let status = Command::new("cp").arg(program).arg(to).status();
    assert!(status.unwrap().success());
    chown(to, Some(owner), Some(owner)).unwrap();
}

/// Runs shell commands. In them, the path of setpriv is absolute, because busybox's shell has another one
/// built in. `$0` is the program that does nothing.
#[track_caller]
fn sh(dir: &Path, script: &str) {
    let script = format!("set -e; {script}");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(nop());
    let status = command.current_dir(dir).status().unwrap();
    assert!(status.success(), "{script}: {status}");
}

fn by(fact: &str, value: &str, comm: &str) -> String {
    format!("execsnoop_execs_by_{fact}_comm_total{{{fact}=\"{value}\",comm=\"{comm}\"}}")
}

/// Checks how often each program was executed with each value of a fact, and with no other.
#[track_caller]
pub(crate) fn assert_only(scrape: &Scrape, fact: Fact, expected: &[(&str, &str, f64)]) {
    for (comm, _, _) in expected {
        for value in fact.values() {
            let expected = expected.iter().find(|of| of.0 == *comm && of.1 == *value);
            let times = scrape.find(&by(fact.name(), value, comm)).unwrap_or(0.0);
            let wanted = expected.map_or(0.0, |of| of.2);
            assert_eq!(times, wanted, "{comm}: {} {value:?}", fact.name());
        }
    }
    scrape.assert_ledger_closes();
}

/// A value of `security.capability` (`struct vfs_cap_data` of `include/uapi/linux/capability.h`,
/// version 2): `CAP_NET_RAW`, permitted and effective.
fn capability() -> [u8; 20] {
    let mut value = [0; 20];
    value[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
    value[4..8].copy_from_slice(&(1_u32 << 13).to_le_bytes());
    value
}

fn only_a_file_that_gives_privileges_is_elevated(transport: &str) {
    const USER: u32 = 710_010;
    let _programs = Programs::new();
    let (daemon, _config) =
        with_transport(transport, "[[view]]\nlabels = [\"elevated\", \"comm\"]\n");
    let dir = on_disk();
    let file = |name: &str, owner: u32, mode: u32| -> PathBuf {
        let path = dir.path().join(name);
        copy(nop(), &path, owner);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let setuid = file("el-setuid", 0, 0o4755);
    let setgid = file("el-setgid", 65_534, 0o2755);
    let plain = file("el-plain", 0, 0o755);
    let capable = file("el-capable", 0, 0o755);
    setxattr(
        &capable,
        "security.capability",
        &capability(),
        XattrFlags::empty(),
    )
    .unwrap();
    for program in [&setuid, &setgid, &plain, &capable] {
        exec_as(program, Some(USER));
        exec(program);
        let mut no_new_privs = Command::new("setpriv");
        no_new_privs.args([
            &format!("--reuid={USER}"),
            "--clear-groups",
            "--no-new-privs",
        ]);
        assert!(no_new_privs.arg(program).status().unwrap().success());
    }
    sh(
        dir.path(),
        &format!(
            "mkdir none; mount -t tmpfs -o nosuid none none; cp el-setuid none/el-nosuid
             chmod 4755 none/el-nosuid; /usr/bin/setpriv --reuid={USER} --clear-groups none/el-nosuid"
        ),
    );
    let expected = [
        ("el-setuid", "true", 1.0),
        ("el-setuid", "false", 2.0),
        // Not even root has the group before.
        ("el-setgid", "true", 2.0),
        ("el-setgid", "false", 1.0),
        ("el-plain", "false", 3.0),
        ("el-capable", "true", 1.0),
        ("el-capable", "false", 2.0),
        ("el-nosuid", "false", 1.0),
    ];
    assert_only(&daemon.scrape(), Fact::Elevated, &expected);
}

/// Opens a new terminal. Returns the side of the emulator and that of the processes.
pub(crate) fn terminal() -> (OwnedFd, fs::File) {
    let emulator = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&emulator).unwrap();
    unlockpt(&emulator).unwrap();
    let name = ptsname(&emulator, Vec::new()).unwrap();
    let mut options = fs::File::options();
    let inside = options.read(true).write(true).open(name.to_str().unwrap());
    (emulator, inside.unwrap())
}

fn a_process_with_a_terminal_has_one_in_all_of_its_counts(transport: &str) {
    let programs = Programs::new();
    let view = "[[view]]\nlabels = [\"tty\", \"comm\"]\nmetrics = [\"execs\", \"exits\", \"cpu_seconds\"]\n";
    let (daemon, _config) = with_transport(transport, view);
    let program = programs.copied(ways(), "tt-burn");
    let (_emulator, inside) = terminal();
    // The session's leader, whose terminal is that of all processes in the session.
    let status = Command::new("setsid")
        .args(["-c", "sh", "-c", "\"$0\" burn - 20; \"$0\" burn - 20"])
        .arg(&program)
        .stdin(Stdio::from(inside))
        .status();
    assert!(status.unwrap().success());
    let status = Command::new("setsid")
        .arg(&program)
        .args(["burn", "-", "20"])
        .status();
    assert!(status.unwrap().success());
    let scrape = daemon.scrape();
    assert_only(
        &scrape,
        Fact::Tty,
        &[("tt-burn", "true", 2.0), ("tt-burn", "false", 1.0)],
    );
    let of = |metric: &str, tty: &str, more: &str| {
        let labels = format!("{{tty=\"{tty}\",comm=\"tt-burn\"{more}}}");
        scrape.value(&format!("execsnoop_{metric}_by_tty_comm_total{labels}"))
    };
    let success = ",outcome=\"success\"";
    assert_eq!(
        [of("exits", "true", success), of("exits", "false", success)],
        [2.0, 1.0]
    );
    let cpu = |tty: &str| {
        let labels = format!("{{tty=\"{tty}\",comm=\"tt-burn\"}}");
        format!("execsnoop_cpu_seconds_by_tty_comm_total{labels}")
    };
    daemon.await_above(&cpu("true"), 0.039);
    daemon.await_above(&cpu("false"), 0.019);
}

fn the_user_who_logged_in_is_kept_when_the_user_changes(transport: &str) {
    let programs = Programs::new();
    let view = "[[view]]\nlabels = [\"loginuid\", \"login_user\", \"comm\"]\n\
                metrics = [\"execs\", \"exits\", \"cpu_seconds\"]\n\
                [[view]]\nlabels = [\"login_user\", \"uid\"]\n";
    let (daemon, _config) = with_transport(transport, view);
    let program = programs.named("lo-nop");
    for (login, times) in [("65534", 2), ("710020", 1)] {
        // As PAM's module pam_loginuid does. Then as another user, like su and sudo.
        let script = format!(
            "echo {login} >/proc/self/loginuid
             for i in $(seq {times}); do /usr/bin/setpriv --reuid=710021 --clear-groups \"$0\"; done"
        );
        let status = Command::new("sh")
            .args(["-c", &script])
            .arg(&program)
            .status();
        assert!(status.unwrap().success());
    }
    // Programs that no login has started. The tests may run in a login.
    let nobody = "echo 4294967295 >/proc/self/loginuid && exec \"$0\"";
    let status = Command::new("sh")
        .args(["-c", nobody])
        .arg(&program)
        .status();
    assert!(status.unwrap().success());
    let scrape = daemon.scrape();
    for (login, user, times) in [("65534", "nobody", 2.0), ("710020", "", 1.0), ("", "", 1.0)] {
        let labels = format!("loginuid=\"{login}\",login_user=\"{user}\",comm=\"lo-nop\"");
        let of = |metric: &str, more: &str| {
            let name = format!("execsnoop_{metric}_by_loginuid_comm_total");
            scrape.value(&format!("{name}{{{labels}{more}}}"))
        };
        assert_eq!(of("execs", ""), times, "{labels}");
        assert_eq!(of("exits", ",outcome=\"success\""), times, "{labels}");
        let cpu = format!("execsnoop_cpu_seconds_by_loginuid_comm_total{{{labels}}}");
        daemon.await_above(&cpu, 0.0);
    }
    let by_user = |user: &str| {
        let labels = format!("{{login_user=\"{user}\",uid=\"710021\"}}");
        scrape.value(&format!("execsnoop_execs_by_login_user_uid_total{labels}"))
    };
    assert_eq!([by_user("nobody"), by_user("")], [2.0, 1.0]);
    scrape.assert_ledger_closes();
}

fn the_parent_is_the_process_not_the_thread_that_forked(transport: &str) {
    let programs = Programs::new();
    let view = "[[view]]\nlabels = [\"parent_comm\", \"comm\"]\n\
                metrics = [\"execs\", \"exits\", \"cpu_seconds\"]\n";
    let (daemon, _config) = with_transport(transport, view);
    let pool = programs.copied(ways(), "pa-pool");
    let program = programs.named("pa-nop");
    for _ in 0..3 {
        let status = Command::new(&pool).args(["pool"]).arg(&program).status();
        assert!(status.unwrap().success());
    }
    let scrape = daemon.scrape();
    let of = |metric: &str, parent: &str, more: &str| {
        let labels = format!("{{parent_comm=\"{parent}\",comm=\"pa-nop\"{more}}}");
        scrape.find(&format!(
            "execsnoop_{metric}_by_parent_comm_comm_total{labels}"
        ))
    };
    assert_eq!(of("execs", "pa-pool", ""), Some(3.0));
    assert_eq!(of("exits", "pa-pool", ",outcome=\"success\""), Some(3.0));
    let cpu = "{parent_comm=\"pa-pool\",comm=\"pa-nop\"}";
    let cpu = format!("execsnoop_cpu_seconds_by_parent_comm_comm_total{cpu}");
    daemon.await_above(&cpu, 0.0);
    assert_eq!(of("execs", "pool-worker", ""), None);
    scrape.assert_ledger_closes();
}
