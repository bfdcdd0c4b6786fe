//! The watches of packaging/watches/facts.toml: each fires for its cause, and none for a day's normal
//! work.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::compiled::{nop, ways};
use testkit::daemon::{Daemon, configured};
use testkit::docs::packaged_watches;
use testkit::http::Scrape;
use testkit::programs::{Programs, exec_as, go};

use super::containers::Container;
use super::facts::{Namespace, on_disk, terminal};

/// A service user and a login user, who need not have names on this host.
const SERVICE: u32 = 33;
const LOGIN: u32 = 1000;

const VIEW: &str = "[[view]]\nlabels = [\"elevated\", \"loginuid\", \"uid\", \"comm\"]\n\
                    where = { comm = [\"sudo\", \"su-*\"] }\n";

fn watching() -> (Daemon, tempfile::TempDir) {
    let watches = toml::to_string(&packaged_watches()).unwrap();
    configured(&format!("{watches}\n{VIEW}"))
}

fn hits(scrape: &Scrape) -> Vec<(String, f64)> {
    let watches = packaged_watches().watch.into_iter();
    let count = |name: &str| format!("execsnoop_watch_execs_total{{watch=\"{name}\"}}");
    let hits = watches.map(|watch| (watch.name.clone(), scrape.value(&count(&watch.name))));
    hits.collect()
}

#[track_caller]
fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn sh(directory: &Path, script: &str) {
    run(Command::new("sh")
        .args(["-ec", script])
        .current_dir(directory));
}

/// Causes one hit of each watch.
fn cause_all(programs: &Programs, directory: &Path) {
    assert!(go("memfd", nop(), 50).success());

    let copy = |name: &str, owner: u32, mode: u32| {
        let copy = directory.join(name);
        run(Command::new("cp").arg(nop()).arg(&copy));
        chown(&copy, Some(owner), None).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).unwrap();
        copy
    };
    let in_memory = format!(
        "mkdir memory; mount -t tmpfs none memory; cp {} memory/su-tmpfs
         setpriv --reuid={SERVICE} --clear-groups memory/su-tmpfs",
        nop().display()
    );
    run(Command::new("unshare")
        .args(["--mount", "sh", "-ec", &in_memory])
        .current_dir(directory));
    exec_as(&copy("su-uploaded", SERVICE, 0o755), Some(SERVICE));
    exec_as(&copy("su-setuid", 0, 0o4755), Some(LOGIN));

    let namespace = Namespace::new();
    let (_emulator, inside) = terminal();
    let mut shell = Command::new("setsid");
    shell.args(["-c", "nsenter"]).args(namespace.enter());
    shell.args(["sh", "-c", "true"]).stdin(Stdio::from(inside));
    assert!(shell.status().unwrap().success());

    sudo(directory, &programs.named("su-by-login"));
}

/// Executes a program with sudo(8) as a login user, whom sudo has to know and who may execute everything.
fn sudo(directory: &Path, program: &Path) {
    // An unset loginuid can be set without privileges, so setpriv is not executed in the login.
    let login = format!("echo {LOGIN} >/proc/self/loginuid && exec sudo -n \"$0\"");
    let script = format!(
        "(echo 'somebody:*:{LOGIN}:{LOGIN}::/:/bin/sh'; cat /etc/passwd) >passwd
         echo '#{LOGIN} ALL = NOPASSWD: ALL' >sudoers
         chmod 644 passwd; chmod 440 sudoers
         mount --bind passwd /etc/passwd
         mount --bind sudoers /etc/sudoers
         echo 4294967295 >/proc/self/loginuid
         exec setpriv --reuid={LOGIN} --regid={LOGIN} --clear-groups sh -c \"$1\" \"$0\""
    );
    run(Command::new("unshare")
        .args(["--mount", "sh", "-ec", &script])
        .arg(program)
        .arg(login)
        .current_dir(directory));
}

/// Checks that sudo was executed with other privileges than those of the login user, and that its program
/// was executed as root in the login.
#[track_caller]
fn assert_became_root(scrape: &Scrape, comm: &str) {
    let name = "execsnoop_execs_by_elevated_loginuid_uid_comm_total";
    let execs = |elevated: bool, uid: u32, comm: &str| {
        let labels =
            format!("elevated=\"{elevated}\",loginuid=\"{LOGIN}\",uid=\"{uid}\",comm=\"{comm}\"");
        scrape.value(&format!("{name}{{{labels}}}"))
    };
    assert_eq!(
        [execs(true, LOGIN, "sudo"), execs(false, 0, comm)],
        [1.0, 1.0]
    );
}

#[test]
fn each_watch_counts_its_cause() {
    let programs = Programs::new();
    let (daemon, _config) = watching();
    let before = hits(&daemon.scrape());
    let directory = on_disk();
    cause_all(&programs, directory.path());
    let scrape = daemon.scrape();
    for ((watch, before), (_, after)) in before.iter().zip(hits(&scrape)) {
        // The tests may run in a login, and then everything that root executes matches.
        let expected = if watch == "root-by-login" {
            after.max(before + 1.0)
        } else {
            before + 1.0
        };
        assert_eq!(after, expected, "{watch}");
    }
    assert_became_root(&scrape, "su-by-login");
    scrape.assert_ledger_closes();
    let exits = "execsnoop_watch_exits_total{watch=\"exec-from-memory\",outcome=\"success\"}";
    assert_eq!(scrape.find(exits), None);
}

/// Builds a package, installs it below a directory, and removes it.
fn upgrade_a_package(directory: &Path) {
    sh(
        directory,
        "mkdir -p package/DEBIAN package/usr/bin root/var/lib/dpkg/info root/var/lib/dpkg/updates
         touch root/var/lib/dpkg/status root/var/lib/dpkg/available
         printf 'Package: daily\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@example.org>\\nDescription: a\\n' \\
             >package/DEBIAN/control
         for script in preinst postinst prerm postrm; do
             printf '#!/bin/sh\\ntrue | cat\\n' >package/DEBIAN/$script
             chmod 755 package/DEBIAN/$script
         done
         printf '#!/bin/sh\\ntrue\\n' >package/usr/bin/daily
         dpkg-deb --root-owner-group --build package daily.deb >/dev/null
         for n in 1 2; do
             dpkg --root=$PWD/root --force-script-chrootless --install daily.deb >/dev/null 2>&1
         done
         dpkg --root=$PWD/root --force-script-chrootless --purge daily >/dev/null 2>&1",
    );
}

/// Runs jobs as cron does, of the system and of a service user.
fn run_jobs(directory: &Path) {
    sh(
        directory,
        "mkdir jobs
         printf '#!/bin/sh\\nfind /etc -maxdepth 1 | sort | head -n 3 >/dev/null\\n' >jobs/daily
         chmod 755 jobs/daily
         run-parts jobs",
    );
    let job = directory.join("jobs/daily");
    run(Command::new("sh")
        .arg("-c")
        .arg(job)
        .uid(SERVICE)
        .gid(SERVICE));
}

/// Builds a program as a user. A service user does not run it, because that is what a watch is for.
fn build(directory: &Path, user: u32) {
    let directory = directory.join(format!("build-{user}"));
    fs::create_dir(&directory).unwrap();
    chown(&directory, Some(user), None).unwrap();
    let script = "echo 'int main(void) { return 0; }' >main.c
                  printf 'main: main.c\\n\\tcc -o main main.c\\n' >Makefile
                  make >/dev/null";
    let run_it = if user == SERVICE { "" } else { "; ./main" };
    run(Command::new("sh")
        .args(["-ec", &format!("{script}{run_it}")])
        .env("TMPDIR", &directory)
        .current_dir(&directory)
        .uid(user));
}

#[test]
fn no_watch_counts_a_days_normal_work() {
    let programs = Programs::new();
    let (daemon, _config) = watching();
    let directory = on_disk();
    upgrade_a_package(directory.path());
    run_jobs(directory.path());
    for user in [0, SERVICE, LOGIN] {
        build(directory.path(), user);
    }
    // A login user who becomes root.
    sudo(directory.path(), &programs.named("su-daily"));
    // A container with an exec probe, and a runtime that executes a copy of itself in memory.
    let container = Container::sleeping();
    container.exec(&["/probe"]);
    drop(container);
    let runc = programs.copied(Path::new("/bin/sh"), "runc");
    let clone = "\"$0\" memfd \"$1\" 50; true";
    run(Command::new(runc)
        .args(["-c", clone])
        .arg(ways())
        .arg(nop()));
    let scrape = daemon.scrape();
    let hits = hits(&scrape).into_iter();
    let hits: Vec<_> = hits
        .filter(|(watch, count)| *count > 0.0 && watch != "root-by-login")
        .collect();
    assert_eq!(hits, []);
    assert_became_root(&scrape, "su-daily");
    scrape.assert_ledger_closes();
}
