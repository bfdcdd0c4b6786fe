//! Who logged in and whether there is a terminal, through su(1), sudo(8), screen(1) and cron(8). What
//! the kernel says about the same processes in /proc is the truth.
//!
//! Guests have none of these programs. There, `facts` has the same labels without them.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::daemon::with_transport;
use testkit::http::Scrape;
use testkit::programs::{Programs, set_executable};

use super::facts::terminal;

testkit::over_both_transports! {
    the_login_and_the_terminal_are_right_through_su_sudo_and_screen
    jobs_of_cron_belong_to_their_user_and_have_no_terminal
}

const VIEW: &str = "[[view]]\nlabels = [\"tty\", \"loginuid\", \"login_user\", \"uid\", \"comm\"]\n\
                    metrics = [\"execs\"]\nwhere = { comm = [\"lg-*\"] }\n";
const FAMILY: &str = "execsnoop_execs_by_tty_loginuid_uid_comm_total";

/// The loginuid of a process that does not belong to a login (`INVALID_UID` of the kernel).
const UNSET: &str = "4294967295";
/// The user nobody.
const NOBODY: u32 = 65_534;

/// Writes down what /proc says about its process, and executes a program in this process: for a process
/// that has no terminal, `tty_nr` is 0 (`proc_pid_stat(5)`).
const WITNESS: &str = "#!/bin/sh
read -r login </proc/$$/loginuid
read -r pid comm state parent group session terminal rest </proc/$$/stat
echo \"$terminal $login $(id -u) $1\" >>\"${0%/*}/seen\"
exec \"${0%/*}/$1\"
";

/// The program that does nothing, under these names, and a script that executes it by its name.
struct Witnessed {
    programs: Programs,
}

impl Witnessed {
    fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let programs = Programs::new();
        for name in names {
            programs.named(name);
        }
        let witnessed = Self { programs };
        fs::write(witnessed.script(), WITNESS).unwrap();
        set_executable(&witnessed.script());
        // Every user writes to it.
        let seen = witnessed.directory().join("seen");
        fs::write(&seen, "").unwrap();
        fs::set_permissions(&seen, Permissions::from_mode(0o666)).unwrap();
        witnessed
    }

    fn directory(&self) -> &Path {
        self.programs.path()
    }

    fn script(&self) -> PathBuf {
        self.directory().join("witness")
    }

    /// What the processes have seen, as the samples that the view must have.
    fn samples(&self) -> BTreeMap<String, f64> {
        let seen = fs::read_to_string(self.directory().join("seen")).unwrap();
        let mut samples = BTreeMap::new();
        for line in seen.lines() {
            let mut words = line.split(' ');
            let [terminal, login, uid, comm] = [(); 4].map(|()| words.next().unwrap());
            let login = if login == UNSET { "" } else { login };
            *samples
                .entry(sample(terminal != "0", login, uid, comm))
                .or_default() += 1.0;
        }
        samples
    }
}

fn sample(tty: bool, login: &str, uid: &str, comm: &str) -> String {
    let user = match login {
        "0" => "root",
        "65534" => "nobody",
        "" => "",
        other => panic!("a login of {other}, which no test makes"),
    };
    format!(
        "{FAMILY}{{tty=\"{tty}\",loginuid=\"{login}\",login_user=\"{user}\",uid=\"{uid}\",comm=\"{comm}\"}}"
    )
}

/// The samples of the programs of these tests.
fn labelled(scrape: &Scrape) -> BTreeMap<String, f64> {
    let samples = scrape.family(FAMILY);
    let own = samples.filter(|(sample, _)| sample.contains("comm=\"lg-"));
    own.map(|(sample, count)| (sample.to_owned(), count))
        .collect()
}

#[derive(Clone, Copy)]
enum Terminal {
    /// That of the session.
    Same,
    /// A new one, even if the session has none.
    New,
    /// None, even if the session has one.
    None,
}

/// The ways to execute a program. `$W` is the script and `$U` another user than who logged in. The last
/// word is the name of the program.
const WAYS: [(&str, Terminal); 9] = [
    // A shell, as without -c.
    (
        "echo exec $W lg-su-shell | su -s /bin/sh $U",
        Terminal::Same,
    ),
    // With -c, su starts a session, unless the user is root.
    ("su -s /bin/sh -c \"$W lg-su\" $U", Terminal::None),
    ("su -s /bin/sh -l -c \"$W lg-su-l\" $U", Terminal::None),
    ("su -s /bin/sh -P -c \"$W lg-su-pty\" $U", Terminal::New),
    ("su -c \"$W lg-su-root\"", Terminal::Same),
    // sudo makes a new one if there is one and use_pty is set.
    ("sudo -n $W lg-sudo", Terminal::Same),
    ("sudo -n -u $U $W lg-sudo-u", Terminal::Same),
    ("sudo -n -i $W lg-sudo-i", Terminal::Same),
    // As with -d -m, it is not attached to a terminal, but it does not go into the background. With -ln
    // it does not tell the host that somebody has logged in.
    (
        "TERM=vt100 SCREENDIR=$DIR/screens screen -c /dev/null -ln -D -m $W lg-screen",
        Terminal::New,
    ),
];

fn name_of(way: &str) -> &str {
    let from = way.find("lg-").unwrap();
    let name = &way[from..];
    &name[..name.find(['"', ' ']).unwrap_or(name.len())]
}

/// Runs all ways in one session.
fn go_all_ways(witnessed: &Witnessed, loginuid: &str, with_terminal: bool) {
    let ways: Vec<_> = WAYS.iter().map(|(way, _)| *way).collect();
    let script = format!(
        "set -e; echo {loginuid} >/proc/self/loginuid\n{}",
        ways.join("\n")
    );
    let pseudo_terminal = with_terminal.then(terminal);
    let mut session = Command::new("setsid");
    session
        .args(with_terminal.then_some("-c"))
        .args(["sh", "-c", &script])
        .env("W", witnessed.script())
        .env("U", "daemon")
        .env("DIR", witnessed.directory())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let _emulator = pseudo_terminal.map(|(emulator, inside)| {
        session.stdin(Stdio::from(inside));
        emulator
    });
    let status = session.status().unwrap();
    assert!(status.success(), "{status}");
}

fn the_login_and_the_terminal_are_right_through_su_sudo_and_screen(transport: &str) {
    let witnessed = Witnessed::new(WAYS.map(|(way, _)| name_of(way)));
    let screens = witnessed.directory().join("screens");
    fs::create_dir(&screens).unwrap();
    // screen demands it.
    fs::set_permissions(screens, Permissions::from_mode(0o700)).unwrap();
    let (daemon, _config) = with_transport(transport, VIEW);
    for loginuid in ["65534", UNSET] {
        for with_terminal in [true, false] {
            go_all_ways(&witnessed, loginuid, with_terminal);
        }
    }
    let scrape = daemon.scrape();
    let labelled = labelled(&scrape);
    assert_eq!(labelled, witnessed.samples());
    for (way, terminal) in WAYS {
        let of = |tty: bool, login: &str| -> f64 {
            let labels = format!("tty=\"{tty}\",loginuid=\"{login}\",");
            let comm = format!("comm=\"{}\"", name_of(way));
            let samples = labelled.iter();
            let same =
                samples.filter(|(sample, _)| sample.contains(&labels) && sample.contains(&comm));
            same.map(|(_, count)| count).sum()
        };
        let expected = match terminal {
            Terminal::Same => [1.0, 1.0],
            Terminal::New => [2.0, 0.0],
            Terminal::None => [0.0, 2.0],
        };
        for login in ["65534", ""] {
            assert_eq!([of(true, login), of(false, login)], expected, "{way}");
        }
    }
    scrape.assert_ledger_closes();
}

/// cron(8) with tables of its own: it does not see those of the host, and the host does not see it.
struct Cron(Child);

impl Cron {
    /// It executes jobs of `@reboot` when it starts, because its /run does not tell of an earlier start.
    fn start(directory: &Path, system: &str, tables: &[(&str, u32, String)]) -> Self {
        let (jobs, spool) = (directory.join("cron.d"), directory.join("crontabs"));
        fs::create_dir(&jobs).unwrap();
        fs::create_dir(&spool).unwrap();
        fs::write(jobs.join("jobs"), system).unwrap();
        for (user, uid, table) in tables {
            let path = spool.join(user);
            fs::write(&path, table).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(*uid), None).unwrap();
        }
        let script = format!(
            "mount -t tmpfs none /run
             mount --bind /dev/null /etc/crontab
             mount --bind cron.d /etc/cron.d
             mount --bind crontabs /var/spool/cron/crontabs
             echo {UNSET} >/proc/self/loginuid
             exec setsid cron -f"
        );
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-ec", &script])
            .current_dir(directory);
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// Waits until no job runs.
    fn finish_jobs(&self) {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        while !fs::read_to_string(&children).unwrap().is_empty() {
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Cron {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

fn jobs_of_cron_belong_to_their_user_and_have_no_terminal(transport: &str) {
    // In the table of the system, and in those of the users.
    let jobs = [
        ("lg-cron-system", "0"),
        ("lg-cron-nobody", "65534"),
        ("lg-cron-root", "0"),
        ("lg-cron-user", "65534"),
    ];
    let witnessed = Witnessed::new(jobs.map(|(name, _)| name));
    let (daemon, _config) = with_transport(transport, VIEW);
    let script = witnessed.script();
    let script = script.to_str().unwrap();
    let system =
        format!("@reboot root {script} lg-cron-system\n@reboot nobody {script} lg-cron-nobody\n");
    let tables = [
        ("root", 0, format!("@reboot {script} lg-cron-root\n")),
        ("nobody", NOBODY, format!("@reboot {script} lg-cron-user\n")),
    ];
    let cron = Cron::start(witnessed.directory(), &system, &tables);
    let expected = jobs.map(|(name, uid)| (sample(false, uid, uid, name), 1.0));
    for (sample, _) in &expected {
        daemon.await_above(sample, 0.0);
    }
    cron.finish_jobs();
    drop(cron);
    let scrape = daemon.scrape();
    assert_eq!(labelled(&scrape), BTreeMap::from(expected));
    assert_eq!(labelled(&scrape), witnessed.samples());
    scrape.assert_ledger_closes();
}
