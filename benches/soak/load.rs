//! What a busy host executes, and how often: the truth that the daemon is held to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::schedule::{Schedule, Storm};
use testkit::cgroups::Cgroup;
use testkit::compiled::{nop, ways};
use testkit::programs::Programs;

/// What is done each second: execs of the same programs again and again, ...
const FAMILIAR: u64 = 100;
/// ... of programs with names that never come again, by as many users, ...
const NEW: u64 = 200;
/// ... in so many services and containers that come and go, ...
const CGROUPS: u64 = 12;
/// ... each of which executes this often, ...
const IN_CGROUP: u64 = 3;
/// ... and execs that fail.
const FAILING: u64 = 1000;

/// How they fail.
const ERRORS: [&str; 5] = ["ENOENT", "EACCES", "EFAULT", "ENAMETOOLONG", "E2BIG"];

/// With which a process ends each second; nobody else's do.
pub(crate) const STATUS: u64 = 214;

/// By which signal another one ends.
const SIGNAL: u64 = 15;

/// Who executes in a storm, for each CPU: more than one, as other work wants its share, too.
const RAGING: usize = 2;

/// Names at a time, in a storm.
const BATCH: u64 = 500;

/// What was executed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Truth {
    /// In the load's own unit, by whatever name.
    pub(crate) in_unit: u64,
    /// By the name of the program, of those that come again.
    pub(crate) by_program: BTreeMap<String, u64>,
    /// Services and containers that came and went.
    pub(crate) cgroups: u64,
    /// Names that do not come again.
    pub(crate) names: u64,
    pub(crate) failed: u64,
    /// Processes that ended with [`STATUS`].
    pub(crate) with_status: u64,
}

pub(crate) struct Load<'a> {
    programs: &'a Programs,
    /// What every name of this run begins with.
    prefix: String,
    familiar: Vec<PathBuf>,
    in_cgroups: PathBuf,
    in_storms: PathBuf,
    seconds: usize,
    truth: Truth,
}

impl<'a> Load<'a> {
    /// To be made before the load's unit is entered.
    pub(crate) fn new(programs: &'a Programs) -> Self {
        let prefix = format!("soak{}", std::process::id());
        ways(); // compiled
        Self {
            programs,
            familiar: (0..10)
                .map(|n| programs.named(format!("{prefix}-{n}")))
                .collect(),
            in_cgroups: programs.named(format!("{prefix}-unit")),
            in_storms: programs.named(format!("{prefix}-all")),
            prefix,
            seconds: 0,
            truth: Truth::default(),
        }
    }

    /// The unit that it is to run in, which `execsnoop_execs_by_unit_container_total` calls so.
    pub(crate) fn unit(&self) -> String {
        format!("{}.service", self.prefix)
    }

    /// Execute every program that comes again once: from then on it has a series.
    pub(crate) fn introduce(&mut self) -> Result<()> {
        let programs = [&self.in_cgroups, &self.in_storms];
        for program in self
            .familiar
            .clone()
            .iter()
            .chain(programs.map(Clone::clone).iter())
        {
            self.execute(program, 1)?;
        }
        Ok(())
    }

    /// Load the host until the end.
    pub(crate) fn run(mut self, schedule: &Schedule) -> Result<Truth> {
        let mut storms = schedule.storms().into_iter().peekable();
        let mut next = Duration::ZERO;
        while schedule.wait_until(next) {
            match storms.next_if(|storm| storm.at <= schedule.elapsed()) {
                Some(storm) => self.storm(storm)?,
                None => self.second()?,
            }
            // What was missed is not made up for.
            next = schedule.elapsed().max(next + Duration::from_secs(1));
        }
        Ok(self.truth)
    }

    fn second(&mut self) -> Result<()> {
        for program in self.familiar.clone() {
            self.execute(&program, FAMILIAR / self.familiar.len() as u64)?;
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

    /// A service, or a container, that comes, executes something, and goes.
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

    /// On all CPUs, for as long as it shall last.
    fn storm(&mut self, storm: Storm) -> Result<()> {
        let raging = RAGING * thread::available_parallelism()?.get();
        let end = Instant::now() + storm.length;
        let (program, names) = (self.in_storms.clone(), self.programs.path().join("s"));
        let rage = || -> Result<u64> {
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
            let rages: Vec<_> = (0..raging).map(|_| scope.spawn(rage)).collect();
            let counts = rages.into_iter().map(|rage| rage.join().expect("no panic"));
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
    command.env_clear(); // posix_spawn() and nothing more
    for _ in 0..times {
        let status = command.status()?;
        ensure!(status.success(), "{}: {status}", program.display());
    }
    Ok(())
}

/// Programs with names that begin so, each executed once by another user.
fn new_names(beginning: &Path, times: u64) -> Result<()> {
    let mut command = Command::new(ways());
    command.arg("names").arg(beginning).arg(times.to_string());
    let status = command.status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// A way that does not execute the program it is given.
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
