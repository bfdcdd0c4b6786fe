//! Time in the kernel for each exec, as the kernel measures it (`kernel.bpf_stats_enabled`),
//! against a program that does nothing at the same place and time.

#![allow(clippy::cast_precision_loss)] // runs and nanoseconds far below 2^53

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libbpf_rs::{Link, ObjectBuilder, ProgramHandle};

use crate::process;
use crate::quartiles::Quartiles;
use crate::tool::{Running, Tool};
use crate::worker::Job;
use crate::workspace::Workspace;

const ROUNDS: u32 = 10;

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

const NOOP: &str = r#"
__attribute__((section("license"), used)) char LICENSE[] = "GPL";
__attribute__((section("tp_btf/sched_process_exec"), used)) int noop(void *ctx) { return 0; }
"#;

/// Nanoseconds for one run, in the same storm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelRound {
    ours: f64,
    noop: f64,
}

/// Nanoseconds of ours, of the no-op, and the one in units of the other; medians.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelTime {
    pub(crate) ours: Quartiles,
    pub(crate) noop: Quartiles,
    pub(crate) ratio: Quartiles,
}

impl KernelTime {
    /// None without any round.
    pub(crate) fn of(rounds: &[KernelRound]) -> Option<Self> {
        Some(Self {
            ours: Quartiles::of(rounds.iter().map(|round| round.ours))?,
            noop: Quartiles::of(rounds.iter().map(|round| round.noop))?,
            ratio: Quartiles::of(rounds.iter().map(|round| round.ours / round.noop))?,
        })
    }
}

/// Time and number of a program's runs.
#[derive(Debug, Clone, Copy)]
struct Runs {
    ns: f64,
    runs: f64,
}

impl Runs {
    fn ns_per_run_since(self, before: Self) -> Result<f64> {
        let runs = self.runs - before.runs;
        ensure!(runs > 0.0, "the kernel kept no statistics");
        Ok((self.ns - before.ns) / runs)
    }
}

/// All other measurements would contain the cost of these statistics.
pub(crate) fn require_stats_off() -> Result<()> {
    let state = fs::read_to_string(STATS).context("cannot read kernel.bpf_stats_enabled")?;
    if state.trim() != "0" {
        bail!("kernel.bpf_stats_enabled is on and would be measured too: turn it off first");
    }
    Ok(())
}

pub(crate) fn measure(workspace: &mut Workspace) -> Result<Vec<KernelRound>> {
    let _enabled = StatsEnabled::new()?;
    let object = compile(workspace.dir())?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        if !workspace.has_time() {
            break;
        }
        eprintln!("time in the kernel: round {} of {ROUNDS}", round + 1);
        rounds.push(one_round(workspace, &object, round % 2 == 0)?);
    }
    Ok(rounds)
}

/// Programs run in the order they were attached; what the first one finds cold is warm
/// for the second. So each is first in every other round.
fn one_round(workspace: &mut Workspace, object: &Path, noop_first: bool) -> Result<KernelRound> {
    let program = workspace.program()?;
    let start = || Tool::Execsnoopd.start(workspace.dir());
    let (noop, daemon) = if noop_first {
        let noop = Noop::attach(object)?;
        (noop, start()?)
    } else {
        let daemon = start()?;
        (Noop::attach(object)?, daemon)
    };
    let (ours_before, noop_before) = (runs_of(&daemon)?, noop.runs()?);
    workspace
        .workers
        .one(Job::Exec(workspace.sizes.execs, &program.path))?;
    let (ours_after, noop_after) = (runs_of(&daemon)?, noop.runs()?);
    daemon.finish(&program.name)?;
    Ok(KernelRound {
        ours: ours_after.ns_per_run_since(ours_before)?,
        noop: noop_after.ns_per_run_since(noop_before)?,
    })
}

/// By the daemon's own metrics, which are absent until its program has run.
fn runs_of(daemon: &Running) -> Result<Runs> {
    let scrape = daemon.scrape().context("not a daemon")?;
    Ok(Runs {
        ns: scrape.sum("execsnoop_program_run_seconds_total") * 1e9,
        runs: scrape.sum("execsnoop_program_runs_total"),
    })
}

/// Keeps `kernel.bpf_stats_enabled` set.
struct StatsEnabled;

impl StatsEnabled {
    fn new() -> Result<Self> {
        fs::write(STATS, "1").context("cannot set kernel.bpf_stats_enabled")?;
        Ok(Self)
    }
}

impl Drop for StatsEnabled {
    fn drop(&mut self) {
        if let Err(error) = fs::write(STATS, "0") {
            eprintln!("kernel.bpf_stats_enabled is still set: {error}");
        }
    }
}

fn compile(dir: &Path) -> Result<std::path::PathBuf> {
    let (source, object) = (dir.join("noop.bpf.c"), dir.join("noop.bpf.o"));
    fs::write(&source, NOOP)?;
    let status = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", "-c", "-o"])
        .args([&object, &source])
        .status()
        .context("cannot run clang")?;
    ensure!(status.success(), "clang: {status}");
    Ok(object)
}

/// The program that does nothing, attached.
struct Noop {
    program: ProgramHandle,
    _link: Link,
}

impl Noop {
    fn attach(object: &Path) -> Result<Self> {
        let object = ObjectBuilder::default().open_file(object)?.load()?;
        let program = object.progs_mut().next().context("no program")?;
        let link = program
            .attach()
            .context("cannot attach the no-op program")?;
        Ok(Self {
            program: ProgramHandle::try_from(&program)?,
            _link: link,
        })
    }

    fn runs(&self) -> Result<Runs> {
        let fd = self.program.as_fd().as_raw_fd();
        let fdinfo = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
        let value = |key| process::field(&fdinfo, key).context("no statistics in fdinfo");
        Ok(Runs {
            ns: value("run_time_ns")? as f64,
            runs: value("run_cnt")? as f64,
        })
    }
}
