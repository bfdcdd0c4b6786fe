//! The watches of packaging/watches/jobs.toml: each counts its cause, and none counts what its service or
//! another job executes in normal operation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::cgroups::Cgroup;
use testkit::compiled::ways;
use testkit::daemon::{Daemon, configured};
use testkit::docs::packaged_jobs;
use testkit::http::Scrape;
use testkit::programs::{Programs, set_executable};

const NGINX: &str = "system.slice/nginx.service";
const BACKUP: &str = "system.slice/backup.service";
const CRON: &str = "system.slice/cron.service";
const SESSION: &str = "user.slice/user-1000.slice/session-7.scope";

/// A user of nginx's workers, who need not have a name on this host.
const WORKER: u32 = 33;

const OUTCOMES: [&str; 5] = ["success", "error", "signal", "crash", "oom"];

/// What a watch has counted: execs, and exits by outcome.
type Counts = (f64, [f64; 5]);

const NOTHING: Counts = (0.0, [0.0; 5]);

fn watching() -> (Daemon, tempfile::TempDir) {
    configured(&toml::to_string(&packaged_jobs()).unwrap())
}

fn counts(scrape: &Scrape, watch: &str) -> Counts {
    let labels = format!("watch=\"{watch}\"");
    let execs = scrape.value(&format!("execsnoop_watch_execs_total{{{labels}}}"));
    let exits = OUTCOMES.map(|outcome| {
        let labels = format!("{labels},outcome=\"{outcome}\"");
        scrape.value(&format!("execsnoop_watch_exits_total{{{labels}}}"))
    });
    (execs, exits)
}

/// Whether there is a time of the last success.
fn has_succeeded(scrape: &Scrape, watch: &str) -> bool {
    let metric = "execsnoop_watch_last_exit_timestamp_seconds";
    let success = format!("{metric}{{watch=\"{watch}\",outcome=\"success\"}}");
    scrape.find(&success).is_some()
}

/// Programs and scripts, and shells with the names of what starts them on a host.
struct Host {
    programs: Programs,
    systemd: PathBuf,
    cron: PathBuf,
    nginx: PathBuf,
}

impl Host {
    fn new() -> Self {
        let programs = Programs::new();
        let shell = |name| programs.copied(Path::new("/bin/sh"), name);
        let [systemd, cron, nginx] = ["systemd", "cron", "nginx"].map(shell);
        programs.copied(ways(), "restic");
        programs.copied(ways(), "ways");
        Self {
            programs,
            systemd,
            cron,
            nginx,
        }
    }

    /// Runs a script in a cgroup, with the directory of the programs as its current one. The last command is
    /// executed in a process of its own.
    fn run(&self, shell: &Path, cgroup: &str, script: &str) {
        let cgroup = Cgroup::new(cgroup);
        let status = Command::new(shell)
            .arg("-c")
            .arg(format!("echo 0 >\"$0/cgroup.procs\"\n{script}\n:"))
            .arg(cgroup.directory())
            .current_dir(self.programs.path())
            .stdin(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{script}");
    }

    /// Writes a script that has a subshell and exits with this status.
    fn script(&self, name: &str, interpreter: &str, status: u8) {
        let script = self.programs.path().join(name);
        let text = format!("#!{interpreter}\n(ways=$(./ways exit - 0); :)\nexit {status}\n");
        fs::write(&script, text).unwrap();
        set_executable(&script);
    }

    /// Runs a command line as cron does.
    fn cron(&self, line: &str) {
        self.run(&self.cron, CRON, &format!("/bin/sh -c '{line}'"));
    }
}

#[test]
fn a_program_that_the_service_does_not_list_is_counted() {
    let host = Host::new();
    let (mut daemon, _config) = watching();
    let worker = format!("setpriv --reuid={WORKER} --clear-groups");
    // The first exec is that of setpriv, as root.
    host.run(&host.nginx, NGINX, &format!("{worker} ./ways exit - 0"));
    let scrape = daemon.scrape();
    let once = (1.0, [1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(counts(&scrape, "nginx-unexpected"), once);
    let line = daemon.await_log("matches a watch");
    for part in ["nginx-unexpected", "\"ways\"", "nginx.service"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    // A process whose parent has ended is a child of systemd.
    host.run(&host.systemd, NGINX, &format!("{worker} ./ways exit - 1"));
    let scrape = daemon.scrape();
    let twice = (2.0, [1.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(counts(&scrape, "nginx-unexpected"), twice);
    scrape.assert_ledger_closes();
}

#[test]
fn each_run_of_a_job_is_one_exec_and_one_exit_by_its_outcome() {
    let host = Host::new();
    let (daemon, _config) = watching();
    host.run(&host.systemd, BACKUP, "./restic exit - 3");
    host.script("nightly-report", "/bin/sh", 1);
    host.cron("./nightly-report");
    let scrape = daemon.scrape();
    let failed = (1.0, [0.0, 1.0, 0.0, 0.0, 0.0]);
    for job in ["job-backup", "job-nightly-report"] {
        assert_eq!(counts(&scrape, job), failed, "{job}");
        assert!(!has_succeeded(&scrape, job), "{job}");
    }

    host.run(&host.systemd, BACKUP, "./restic exit - 0");
    host.run(&host.systemd, BACKUP, "./restic signal - 13");
    host.script("nightly-report", "/bin/sh", 0);
    host.cron("./nightly-report");
    host.cron("cd . && ./nightly-report && :");
    let scrape = daemon.scrape();
    let backup = (3.0, [1.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(counts(&scrape, "job-backup"), backup);
    let report = (3.0, [2.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(counts(&scrape, "job-nightly-report"), report);
    for job in ["job-backup", "job-nightly-report"] {
        assert!(has_succeeded(&scrape, job), "{job}");
    }
    scrape.assert_ledger_closes();
}

#[test]
fn a_job_that_systemd_cannot_execute_is_an_error() {
    let host = Host::new();
    let (daemon, _config) = watching();
    // What systemd forks has this name until it executes the program, and exits with 203 if it cannot.
    let fails = "sh -c \"printf \\(restic\\) >/proc/\\$\\$/comm; exit 203\"";
    host.run(&host.systemd, BACKUP, fails);
    let failed = (0.0, [0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(counts(&daemon.scrape(), "job-backup"), failed);
}

/// The kernel names a process after the script. With `env`, the same process executes the interpreter.
#[test]
fn a_script_that_env_starts_has_its_name_at_the_exec_but_not_at_the_exit() {
    let host = Host::new();
    let (daemon, _config) = watching();
    host.script("nightly-report", "/usr/bin/env sh", 0);
    host.cron("./nightly-report");
    let started = (1.0, [0.0; 5]);
    assert_eq!(counts(&daemon.scrape(), "job-nightly-report"), started);
}

#[test]
fn no_watch_counts_normal_operation() {
    let host = Host::new();
    let (daemon, _config) = watching();
    // Commands of the unit, and systemd's own program, which it executes by the number of a descriptor.
    host.run(
        &host.systemd,
        NGINX,
        "rm -f nothing; ./nginx -c :; exec 9<ways; /proc/self/fd/9 exit - 0",
    );
    // The binary is replaced, and a worker reopens its logs.
    let worker = format!("setpriv --reuid={WORKER} --clear-groups");
    host.run(&host.nginx, NGINX, &format!("{worker} ./nginx -c :"));
    let php = "system.slice/php-fpm.service";
    host.run(&host.systemd, php, &format!("{worker} ./ways exit - 0"));

    // What the job itself starts, what the unit executes before and after it, and runs by hand.
    host.run(
        &host.systemd,
        BACKUP,
        "./ways exit - 0; sh -c './restic exit - 0; :'; ./ways exit - 1",
    );
    host.run(&host.systemd, SESSION, "./restic exit - 0");
    host.script("nightly-report", "/bin/sh", 0);
    host.run(&host.cron, SESSION, "./nightly-report");
    // Other jobs, and a script that is an argument.
    host.cron("./ways exit - 1");
    host.cron("sh ./nightly-report");

    let scrape = daemon.scrape();
    for watch in packaged_jobs().watch {
        assert_eq!(counts(&scrape, &watch.name), NOTHING, "{}", watch.name);
    }
    scrape.assert_ledger_closes();
}
