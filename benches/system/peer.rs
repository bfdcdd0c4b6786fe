//! Another tool, as a child process that writes to a file.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

/// How long it may take to write out what it has, once asked to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running peer, ended with the value.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl Peer {
    /// Start it and wait until it watches.
    pub(crate) fn start(command: &[&str], dir: &Path) -> Result<Self> {
        let output = dir.join("peer.out");
        let errors = dir.join("peer.err");
        let (program, args) = command.split_first().context("no command")?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&errors)?)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let mut peer = Self {
            child,
            output,
            errors,
        };
        peer.settle(process::SET_UP)?;
        Ok(peer)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Wait until it has been quiet for so long.
    pub(crate) fn settle(&mut self, quiet: Duration) -> Result<()> {
        let settled = process::settle(self.pid(), Some(&self.output), quiet);
        if let Some(status) = self.child.try_wait()? {
            bail!("ended by itself ({status}): {}", self.last_words());
        }
        settled
    }

    /// End it gently, so that it writes what it holds back. For an exact account, wait
    /// until it has [settled](Self::settle). Returns how many lines of its
    /// output bear the name.
    pub(crate) fn finish(mut self, name: &str) -> Result<u64> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if asked.elapsed() > PATIENCE {
                bail!("did not end within {PATIENCE:?} of SIGINT");
            }
            thread::sleep(Duration::from_millis(20));
        };
        if status
            .signal()
            .is_some_and(|signal| signal != Signal::INT.as_raw())
        {
            bail!("{status}: {}", self.last_words());
        }
        let output = fs::read(&self.output)?;
        let lines = output.split(|&byte| byte == b'\n');
        Ok(lines.filter(|line| contains(line, name.as_bytes())).count() as u64)
    }

    /// The end of what it wrote on standard error, in one line.
    fn last_words(&self) -> String {
        let errors = fs::read(&self.errors).unwrap_or_default();
        let errors = String::from_utf8_lossy(&errors);
        let lines: Vec<_> = errors.lines().filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join("; ")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn contains(line: &[u8], name: &[u8]) -> bool {
    line.windows(name.len()).any(|window| window == name)
}
