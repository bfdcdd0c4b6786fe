//! What all measurements share: the workers, a directory, program names, and the time budget.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;
use testkit::compiled::nop;
use testkit::paths::scratch;

use crate::worker::{Job, Workers};

/// Duration of a storm on one CPU with no tool attached.
const STORM: Duration = Duration::from_millis(200);
/// Duration of a storm on all CPUs with no tool attached.
const BIG_STORM: Duration = Duration::from_secs(1);
/// Duration of a `getppid` loop with no tool attached.
const LOOP: Duration = Duration::from_millis(50);

/// A program to execute, with a unique name.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// Numbers of repetitions, calibrated so that the durations above are reached on this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Execs of a storm on one CPU.
    pub(crate) execs: u64,
    /// Execs of a storm on all CPUs, per CPU.
    pub(crate) execs_each: u64,
    /// Calls of `getppid`.
    pub(crate) calls: u64,
}

#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) workers: Workers,
    pub(crate) sizes: Sizes,
    dir: TempDir,
    programs: u32,
    began: Instant,
    /// After this time no new measurement is started. A running one may take another minute.
    budget: Duration,
}

impl Workspace {
    pub(crate) fn new(budget: Duration) -> Result<Self> {
        // On the file system of `nop`, because the programs to execute are hard links to it.
        let scratch = scratch();
        fs::create_dir_all(&scratch)?;
        let dir = tempfile::tempdir_in(scratch)?;
        let mut workspace = Self {
            workers: Workers::start()?,
            sizes: Sizes {
                execs: 200,
                execs_each: 200,
                calls: 200_000,
            },
            dir,
            programs: 0,
            began: Instant::now(),
            budget,
        };
        workspace.calibrate()?;
        Ok(workspace)
    }

    fn calibrate(&mut self) -> Result<()> {
        let program = self.program()?;
        let sizes = self.sizes;
        let exec = Job::Exec(sizes.execs, &program.path);
        self.workers.one(exec)?; // warms up
        let exec_ns = self.workers.one(exec)?;
        let exec_each = self.workers.all(exec)?;
        let call_ns = self.workers.one(Job::Getppid(sizes.calls))?;
        self.sizes = Sizes {
            execs: times(STORM, exec_ns, 200, 20_000),
            execs_each: times(
                BIG_STORM,
                exec_each.as_secs_f64() * 1e9 / 200.0,
                500,
                100_000,
            ),
            calls: times(LOOP, call_ns, 100_000, 10_000_000),
        };
        Ok(())
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether there is time for another measurement.
    pub(crate) fn has_time(&self) -> bool {
        self.elapsed() < self.budget
    }

    /// A new name for the program that does nothing. It has at most 15 bytes, so that `comm` is not
    /// truncated.
    pub(crate) fn program(&mut self) -> Result<Program> {
        self.programs += 1;
        let name = format!("bx{:x}z{:x}z", process::id(), self.programs);
        let path = self.dir().join(&name);
        fs::hard_link(nop(), &path).context("cannot link the program to execute")?;
        Ok(Program { name, path })
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)] // clamped
fn times(time: Duration, each_ns: f64, least: u64, most: u64) -> u64 {
    (time.as_nanos() as f64 / each_ns).clamp(least as f64, most as f64) as u64
}
