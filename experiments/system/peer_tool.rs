//! A peer tool: a program of another project that execsnoopd is compared with. It runs as a child
//! process and writes its output to a file.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use experiments::process;
use rustix::process::{Pid, Signal, kill_process};

/// How long a tool may take to write its remaining output after SIGINT.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running peer tool. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct PeerTool {
    child: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl PeerTool {
    /// Starts the tool and waits until it reports execs.
    pub(crate) fn start(command: &[&str], dir: &Path) -> Result<Self> {
        let output = dir.join("tool.out");
        let errors = dir.join("tool.err");
        let (program, args) = command.split_first().context("no command")?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&errors)?)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let mut tool = Self {
            child,
            output,
            errors,
        };
        tool.settle(process::SET_UP)?;
        Ok(tool)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the tool has been quiet for this long.
    pub(crate) fn settle(&mut self, quiet: Duration) -> Result<()> {
        let settled = process::settle(self.pid(), Some(&self.output), quiet);
        if let Some(status) = self.child.try_wait()? {
            bail!("exited unexpectedly ({status}): {}", self.last_errors());
        }
        settled
    }

    /// Stops the tool with SIGINT, so that it writes its buffered output. Returns how many lines of
    /// its output contain the name. Execs may be missing unless the tool has
    /// [settled](Self::settle) before.
    pub(crate) fn finish(mut self, name: &str) -> Result<u64> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if asked.elapsed() > PATIENCE {
                bail!("did not exit within {PATIENCE:?} of SIGINT");
            }
            thread::sleep(Duration::from_millis(20));
        };
        if status
            .signal()
            .is_some_and(|signal| signal != Signal::INT.as_raw())
        {
            bail!("{status}: {}", self.last_errors());
        }
        let output = fs::read(&self.output)?;
        let lines = output.split(|&byte| byte == b'\n');
        Ok(lines.filter(|line| contains(line, name.as_bytes())).count() as u64)
    }

    /// The last lines that the tool wrote to standard error, as one line.
    fn last_errors(&self) -> String {
        let errors = fs::read(&self.errors).unwrap_or_default();
        let errors = String::from_utf8_lossy(&errors);
        let lines: Vec<_> = errors.lines().filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join("; ")
    }
}

impl Drop for PeerTool {
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
