//! The load of a busy host, and the true counts, with which those of the daemon are compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::cgroups::Cgroup;
use testkit::compiled::{nop, ways};
use testkit::programs::Programs;

use crate::schedule::{Schedule, Storm};

/// Execs per second of recurring programs.
const RECURRING: u64 = 100;
/// Execs per second under names that are used only once, each as a different user.
const NEW: u64 = 200;
/// Number of services and containers that are created and removed per second.
const CGROUPS: u64 = 12;
/// Execs in each such service or container.
const IN_CGROUP: u64 = 3;
/// Execs per second that fail.
const FAILING: u64 = 1000;

/// The errors of the execs that fail.
const ERRORS: [&str; 5] = ["ENOENT", "EACCES", "EFAULT", "ENAMETOOLONG", "E2BIG"];

/// The exit status of one process of the load per second, and of no other process on the host.
pub(crate) const STATUS: u64 = 214;

/// The signal that kills one process of the load per second.
const SIGNAL: u64 = 15;

/// Threads per CPU that execute in a storm: more than one, because other work uses the CPUs as well.
const STORM_THREADS: usize = 2;

/// Execs of one batch in a storm.
const BATCH: u64 = 500;

/// The true counts.
#[derive(Debug, Default, Clone)]
pub(crate) struct Truth {
    /// Execs in the load's own unit.
    pub(crate) in_unit: u64,
    /// Execs of the recurring programs, by name.
    pub(crate) by_program: BTreeMap<String, u64>,
    /// Services and containers that were created and removed.
    pub(crate) cgroups: u64,
    /// Names that were used only once.
    pub(crate) names: u64,
    pub(crate) failed: u64,
    /// Processes that exited with [`STATUS`].
    pub(crate) with_status: u64,
}

pub(crate) struct Load<'a> {
    programs: &'a Programs,
    /// The prefix of all names of this run.
    prefix: String,
    recurring: Vec<PathBuf>,
    in_cgroups: PathBuf,
    in_storms: PathBuf,
    seconds: usize,
    truth: Truth,
}

impl<'a> Load<'a> {
    /// Must be called before this process enters the load's unit: it compiles programs, and the
    /// compiler's execs must not be counted in the unit.
    pub(crate) fn new(programs: &'a Programs) -> Self {
        let prefix = format!("soak{}", std::process::id());
        ways(); // compiles it
        Self {
            programs,
            recurring: (0..10)
                .map(|n| programs.named(format!("{prefix}-{n}")))
                .collect(),
            in_cgroups: programs.named(format!("{prefix}-unit")),
            in_storms: programs.named(format!("{prefix}-all")),
            prefix,
            seconds: 0,
            truth: Truth::default(),
        }
    }

    /// The unit of the load: its value of the label `unit` in
    /// `execsnoop_execs_by_unit_container_total`.
    pub(crate) fn unit(&self) -> String {
        format!("{}.service", self.prefix)
    }

    /// Executes every program whose name recurs once, so that it has a series from the beginning.
    pub(crate) fn introduce(&mut self) -> Result<()> {
        let programs = [&self.in_cgroups, &self.in_storms];
        for program in self
            .recurring
            .clone()
            .iter()
            .chain(programs.map(Clone::clone).iter())
        {
            self.execute(program, 1)?;
        }
        Ok(())
    }

    /// Loads the host until the end of the run.
    pub(crate) fn run(mut self, schedule: &Schedule) -> Result<Truth> {
        let mut storms = schedule.storms().into_iter().peekable();
        let mut next = Duration::ZERO;
        while schedule.wait_until(next) {
            match storms.next_if(|storm| storm.at <= schedule.elapsed()) {
                Some(storm) => self.storm(storm)?,
                None => self.second()?,
            }
            // Seconds that were missed are not made up for.
            next = schedule.elapsed().max(next + Duration::from_secs(1));
        }
        Ok(self.truth)
    }

    fn second(&mut self) -> Result<()> {
        for program in self.recurring.clone() {
            self.execute(&program, RECURRING / self.recurring.len() as u64)?;
        }
        for _ in 0..CGROUPS {
            self.cgroup();
        }
        new_names(&self.programs.path().join("n"), NEW)?;
        self.truth.in_unit += NEW + 1;
        self.truth.names += NEW;
        let error = ERRORS[self.seconds % ERRORS.len()];
        way(error, FAILING, |status| status.success())?;
        self.truth.failed += FAILING;
        way("exit", STATUS, |status| {
            status.code() == i32::try_from(STATUS).ok()
        })?;
        self.truth.with_status += 1;
        way("signal", SIGNAL, |status| status.code().is_none())?;
        self.truth.in_unit += 3;
        self.seconds += 1;
        Ok(())
    }

    /// Creates a service or a container, executes in it, and removes it.
    fn cgroup(&mut self) {
        let n = self.truth.cgroups;
        let path = if n.is_multiple_of(3) {
            format!("system.slice/docker-{n:064x}.scope")
        } else {
            format!("system.slice/{}-{n}.service", self.prefix)
        };
        let cgroup = Cgroup::new(&path);
        let times = u32::try_from(IN_CGROUP).unwrap_or(u32::MAX);
        cgroup.exec_times(&self.in_cgroups, times);
        self.truth.in_unit += 1; // the shell
        self.truth.cgroups += 1;
        *self.count_of(&self.in_cgroups.clone()) += IN_CGROUP;
    }

    /// Executes programs on all CPUs until the storm is over.
    fn storm(&mut self, storm: Storm) -> Result<()> {
        let threads = STORM_THREADS * thread::available_parallelism()?.get();
        let end = Instant::now() + storm.length;
        let (program, names) = (self.in_storms.clone(), self.programs.path().join("s"));
        let execute_until_end = || -> Result<u64> {
            let mut batches = 0;
            while Instant::now() < end {
                if storm.has_new_names {
                    new_names(&names, BATCH)?;
                } else {
                    execute(&program, BATCH)?;
                }
                batches += 1;
            }
            Ok(batches)
        };
        let batches = thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|_| scope.spawn(execute_until_end))
                .collect();
            let counts = handles
                .into_iter()
                .map(|handle| handle.join().expect("no panic"));
            counts.sum::<Result<u64>>()
        })?;
        self.truth.in_unit += batches * BATCH;
        if storm.has_new_names {
            self.truth.in_unit += batches;
            self.truth.names += batches * BATCH;
        } else {
            *self.count_of(&program) += batches * BATCH;
        }
        Ok(())
    }

    fn execute(&mut self, program: &Path, times: u64) -> Result<()> {
        execute(program, times)?;
        self.truth.in_unit += times;
        *self.count_of(program) += times;
        Ok(())
    }

    fn count_of(&mut self, program: &Path) -> &mut u64 {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        self.truth.by_program.entry(name.into_owned()).or_default()
    }
}

fn execute(program: &Path, times: u64) -> Result<()> {
    let mut command = Command::new(program);
    command.env_clear(); // makes the exec cheaper: the kernel has no environment to copy
    for _ in 0..times {
        let status = command.status()?;
        ensure!(status.success(), "{}: {status}", program.display());
    }
    Ok(())
}

/// Executes programs whose names are this prefix and a number, each once and as a different user.
fn new_names(beginning: &Path, times: u64) -> Result<()> {
    let mut command = Command::new(ways());
    command.arg("names").arg(beginning).arg(times.to_string());
    let status = command.status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Runs [`ways`] with a way that does not execute its program.
fn way(
    name: &str,
    number: u64,
    is_right: impl FnOnce(std::process::ExitStatus) -> bool,
) -> Result<()> {
    let mut command = Command::new(ways());
    command.arg(name).arg(nop()).arg(number.to_string());
    let status = command.status().context("a way to execute")?;
    ensure!(is_right(status), "{command:?}: {status}");
    Ok(())
}
