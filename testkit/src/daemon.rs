//! The daemon as a child process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use tempfile::TempDir;

use crate::http::Scrape;
use crate::paths;

/// How many names two storms at a time can each execute between two scrapes. Each name has up to three
/// entries in the tally, for its exec, its exit and its CPU time. The tally has 16 384 (`bpf/ledger.h`).
pub const NAMES_BETWEEN_SCRAPES: u32 = 2_000;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon on a free port, killed when the value is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Receiver<String>,
    start_log: Vec<String>,
    pub address: SocketAddr,
}

impl Daemon {
    /// Starts a daemon with these arguments.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, |_| ())
    }

    /// Starts a daemon after `prepare` has changed the command.
    pub fn start_with(args: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(paths::daemon());
        command.args(args);
        prepare(&mut command);
        Self::spawn(command)
    }

    /// Starts a daemon with this command. Returns once the daemon listens.
    pub fn spawn(command: Command) -> Self {
        Self::spawn_with(command, |_| ())
    }

    /// Like [`spawn`](Self::spawn). `further` can add arguments after the first listen address.
    pub fn spawn_with(mut command: Command, further: impl FnOnce(&mut Command)) -> Self {
        command
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .stderr(Stdio::piped());
        further(&mut command);
        let mut child = command.spawn().expect("the daemon can be started");
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let mut daemon = Self {
            child,
            log,
            start_log: Vec::new(),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let (before, line) = daemon.lines_until("\"message\":\"listening\"");
        daemon.start_log = before;
        daemon.address = field(&line, "address").parse().expect("an address");
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn scrape(&self) -> Scrape {
        Scrape::of(self.address)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the daemon can be signalled");
    }

    /// Kills the daemon with this signal.
    pub fn kill(mut self, signal: Signal) {
        self.signal(signal);
        let status = self.wait();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
    }

    /// The log lines before the daemon listened.
    pub fn start_log(&self) -> &[String] {
        &self.start_log
    }

    /// Waits for a log line that contains `part`.
    #[track_caller]
    pub fn await_log(&mut self, part: &str) -> String {
        self.lines_until(part).1
    }

    /// Waits for a log line that contains `part`. Also returns the lines before it.
    #[track_caller]
    fn lines_until(&mut self, part: &str) -> (Vec<String>, String) {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return (seen, line),
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no {part:?} in time after {seen:#?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the log ended without {part:?}: {seen:#?}")
                }
            }
        }
    }

    /// Stops the daemon with SIGTERM, and returns its last log line. Panics unless the daemon exits
    /// with 0.
    pub fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let last = self.await_log("\"message\":\"stopped\"");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}");
        last
    }

    /// Like [`stop`](Self::stop), but returns every line that [`await_log`](Self::await_log) has not
    /// read.
    pub fn stop_logging(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}");
        self.log.iter().collect()
    }

    /// Scrapes until a sample is above `value`, and returns that scrape. The kernel frees a process some
    /// milliseconds after it was reaped, and only then its CPU time is counted.
    #[track_caller]
    pub fn await_above(&self, sample: &str, value: f64) -> Scrape {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let scrape = self.scrape();
            if scrape.find(sample).is_some_and(|now| now > value) {
                return scrape;
            }
            assert!(
                Instant::now() < deadline,
                "{sample} stays below: {scrape:#?}"
            );
            sleep(Duration::from_millis(10));
        }
    }

    /// The number of open descriptors.
    pub fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid()));
        open.expect("it runs, and we are root").count()
    }

    /// Waits until this many descriptors are open.
    #[track_caller]
    pub fn await_descriptors(&self, number: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.descriptors() != number {
            let now = self.descriptors();
            assert!(Instant::now() < deadline, "{now} descriptors, not {number}");
            sleep(Duration::from_millis(10));
        }
    }

    /// The peak of the resident memory, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse().unwrap()
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("the daemon can be waited for")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // `self.child` may be a program that runs the daemon as its own child, such as
            // unshare(1). The --kill-child of unshare has no effect once the daemon has become
            // another user, which clears the parent death signal (PR_SET_PDEATHSIG(2const)).
            let pid = self.pid();
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            for child in children.unwrap_or_default().split_whitespace() {
                if let Some(child) = child.parse().ok().and_then(Pid::from_raw) {
                    let _ = kill_process(child, Signal::KILL);
                }
            }
            // SIGKILL: a process that is stopped by SIGSTOP does not react to SIGTERM.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The value of a field of a JSON log line, as text.
#[track_caller]
pub fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let start = line
        .find(&format!("\"{name}\":"))
        .unwrap_or_else(|| panic!("no {name} in {line}"))
        + name.len()
        + 3;
    line[start..]
        .split([',', '}'])
        .next()
        .unwrap()
        .trim_matches('"')
}

/// The exit status of a program that was not killed by a signal.
#[track_caller]
pub fn code(status: ExitStatus) -> i32 {
    assert_eq!(status.signal(), None);
    status.code().unwrap()
}

/// A daemon with this configuration, and the directory of its configuration file.
pub fn configured(config: &str) -> (Daemon, TempDir) {
    let dir = paths::public_dir();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, config).unwrap();
    let daemon = Daemon::start(&["--config", file.to_str().unwrap()]);
    (daemon, dir)
}

/// A daemon with this transport. The text of `config` follows in the section `[capture]`.
pub fn with_transport(transport: &str, config: &str) -> (Daemon, TempDir) {
    configured(&format!("[capture]\ntransport = \"{transport}\"\n{config}"))
}

/// Executes this number of programs, each with a new name that begins with `program`, as up to a
/// thousand users. `ways` is [`ways`](crate::compiled::ways) or a copy of it. A scrape after each
/// [round](NAMES_BETWEEN_SCRAPES) empties the tally, so no exec is unattributed, however slow the daemon
/// is.
pub fn exec_names(daemon: SocketAddr, ways: &Path, program: &Path, number: u32) {
    let mut left = number;
    while left > 0 {
        let round = left.min(NAMES_BETWEEN_SCRAPES);
        let mut storm = Command::new(ways);
        storm.arg("names").arg(program).arg(round.to_string());
        assert!(storm.status().expect("ways can be executed").success());
        Scrape::of(daemon);
        left -= round;
    }
}
