//! The time that our BPF programs take per process, as measured by the kernel
//! (`kernel.bpf_stats_enabled`), compared with the time of a program that does nothing, at the same
//! attach point and in the same storm.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use experiments::process;
use experiments::quartiles::Quartiles;
use libbpf_rs::{Link, ObjectBuilder, ProgramHandle};

use crate::tool::{Running, Setup, Tool};
use crate::worker::Job;
use crate::workspace::Workspace;

/// The configurations that differ in what an exec event costs in the kernel. Those without exits are
/// left out, because an exec event costs the same in them.
pub(crate) const TOOLS: [Tool; 3] = [
    Tool::DEFAULTS,
    Tool::Execsnoopd(Setup::EveryView),
    Tool::Execsnoopd(Setup::Ring),
];

const ROUNDS: u32 = 24;

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

const NOOP: &str = r#"
__attribute__((section("license"), used)) char LICENSE[] = "GPL";
__attribute__((section("tp_btf/sched_process_exec"), used)) int noop(void *ctx) { return 0; }
"#;

/// Nanoseconds per run of our programs at execs and exits and of the no-op program, in the same storm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelRound {
    tool: Tool,
    ours: f64,
    exit: f64,
    cpu_time: f64,
    noop: f64,
}

/// Nanoseconds per run of our program and of the no-op program, and their ratio.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelTime {
    pub(crate) ours: Quartiles,
    pub(crate) noop: Quartiles,
    pub(crate) ratio: Quartiles,
    /// Nanoseconds per run of our program at process exits.
    pub(crate) exit: Quartiles,
    /// Our program where the kernel frees processes.
    pub(crate) cpu_time: Quartiles,
    /// All three programs together, as a multiple of the no-op program.
    pub(crate) process: Quartiles,
}

impl KernelTime {
    /// Summarizes the rounds with this configuration of the daemon. None if there are none.
    pub(crate) fn of(rounds: &[KernelRound], tool: Tool) -> Option<Self> {
        let rounds = || rounds.iter().filter(|round| round.tool == tool);
        Some(Self {
            ours: Quartiles::of(rounds().map(|round| round.ours))?,
            noop: Quartiles::of(rounds().map(|round| round.noop))?,
            ratio: Quartiles::of(rounds().map(|round| round.ours / round.noop))?,
            exit: Quartiles::of(rounds().map(|round| round.exit))?,
            cpu_time: Quartiles::of(rounds().map(|round| round.cpu_time))?,
            process: Quartiles::of(
                rounds().map(|round| (round.ours + round.exit + round.cpu_time) / round.noop),
            )?,
        })
    }
}

/// Total time and number of a program's runs.
#[derive(Debug, Clone, Copy)]
struct Runs {
    ns: f64,
    runs: f64,
}

impl Runs {
    fn ns_per_run_since(self, before: Self) -> Result<f64> {
        let runs = self.runs - before.runs;
        ensure!(runs > 0.0, "the kernel has no statistics of the program");
        Ok((self.ns - before.ns) / runs)
    }
}

/// Fails if the statistics are enabled: all other measurements would contain their cost.
pub(crate) fn require_stats_off() -> Result<()> {
    let state = fs::read_to_string(STATS).context("cannot read kernel.bpf_stats_enabled")?;
    if state.trim() != "0" {
        bail!(
            "kernel.bpf_stats_enabled is set and would add its cost to the results: set it to 0 first"
        );
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
        let tool = TOOLS[round as usize / 2 % TOOLS.len()];
        rounds.push(one_round(workspace, &object, tool, round % 2 == 0)?);
    }
    Ok(rounds)
}

/// Measures one storm. Programs run in the order in which they were attached, and the first one warms
/// the caches for the second. Each of the two is therefore attached first in every other round.
fn one_round(
    workspace: &mut Workspace,
    object: &Path,
    tool: Tool,
    noop_first: bool,
) -> Result<KernelRound> {
    let program = workspace.program()?;
    let start = || tool.start(workspace.dir());
    let (noop, daemon) = if noop_first {
        let noop = Noop::attach(object)?;
        (noop, start()?)
    } else {
        let daemon = start()?;
        (Noop::attach(object)?, daemon)
    };
    let ours_before = runs_of(&daemon, "exec_tp_btf")?;
    let exit_before = runs_of(&daemon, "exit_tp_btf")?;
    let cpu_time_before = runs_of(&daemon, "cpu_tp_btf")?;
    let noop_before = noop.runs()?;
    workspace
        .workers
        .one(Job::Exec(workspace.sizes.execs, &program.path))?;
    let ours_after = runs_of(&daemon, "exec_tp_btf")?;
    let exit_after = runs_of(&daemon, "exit_tp_btf")?;
    // The kernel frees the last processes of the storm after an RCU grace period.
    thread::sleep(Duration::from_millis(200));
    let cpu_time_after = runs_of(&daemon, "cpu_tp_btf")?;
    let noop_after = noop.runs()?;
    daemon.finish(&program.name)?;
    Ok(KernelRound {
        tool,
        ours: ours_after.ns_per_run_since(ours_before)?,
        exit: exit_after.ns_per_run_since(exit_before)?,
        cpu_time: cpu_time_after.ns_per_run_since(cpu_time_before)?,
        noop: noop_after.ns_per_run_since(noop_before)?,
    })
}

/// The runs of one of the daemon's programs, from the daemon's metrics. A program has no such metrics
/// until it has run.
fn runs_of(daemon: &Running, program: &str) -> Result<Runs> {
    let scrape = daemon.scrape().context("not a daemon")?;
    let of = |family| {
        let sample = format!("{family}{{program=\"{program}\"}}");
        scrape.find(&sample).unwrap_or(0.0)
    };
    Ok(Runs {
        ns: of("execsnoop_program_run_seconds_total") * 1e9,
        runs: of("execsnoop_program_runs_total"),
    })
}

/// Sets `kernel.bpf_stats_enabled` until the value is dropped.
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
            eprintln!("cannot reset kernel.bpf_stats_enabled: {error}");
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

/// The attached program that does nothing.
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
