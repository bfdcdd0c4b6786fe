//! How much slower execs and other system calls become on one CPU.
//!
//! They are measured in pairs, with a tool and without. On a shared virtual machine, the duration of
//! an exec can change by half every few seconds. There are therefore many short pairs instead of a
//! few long ones, and a pair consists of four measurements: without, with, with, without. A steady
//! drift cancels out.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use experiments::quartiles::Quartiles;

use crate::results::Results;
use crate::tool::Tool;
use crate::worker::Job;
use crate::workspace::{Program, Workspace};

/// Number of pairs with the daemon in its default configuration.
const ROUNDS: u32 = 36;
/// All other tools take part only in one of this many rounds, because they are slow to start.
const OTHERS_EVERY: u32 = 4;

/// The pause after a tool has started or stopped, for deferred work in the kernel and in the tool.
const AFTERMATH: Duration = Duration::from_millis(100);

/// Nanoseconds of one repetition, without and with a tool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    alone: f64,
    with: f64,
}

#[derive(Debug, Default)]
pub(crate) struct Pairs(Vec<Pair>);

impl Pairs {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn ratio(&self) -> Option<Quartiles> {
        Quartiles::of(self.0.iter().map(|pair| pair.with / pair.alone))
    }

    /// What a tool adds to one repetition, in nanoseconds.
    pub(crate) fn added(&self) -> Option<Quartiles> {
        Quartiles::of(self.0.iter().map(|pair| pair.with - pair.alone))
    }

    /// One repetition with no tool attached, in nanoseconds.
    pub(crate) fn alone(&self) -> Option<Quartiles> {
        Quartiles::of(self.0.iter().map(|pair| pair.alone))
    }
}

/// The effect of a tool on execs and on `getppid`.
#[derive(Debug, Default)]
pub(crate) struct Slowdown {
    pub(crate) execs: Pairs,
    pub(crate) calls: Pairs,
}

/// One of the four measurements of a pair: nanoseconds per exec and per call of `getppid`.
#[derive(Debug, Clone, Copy)]
struct Sample {
    exec: f64,
    call: f64,
}

impl Sample {
    fn mean(self, other: Self) -> Self {
        Self {
            exec: f64::midpoint(self.exec, other.exec),
            call: f64::midpoint(self.call, other.call),
        }
    }
}

pub(crate) fn measure(workspace: &mut Workspace, results: &mut Results) -> Result<()> {
    for round in 0..ROUNDS {
        if !workspace.has_time() {
            break;
        }
        if round % OTHERS_EVERY == 0 {
            eprintln!("slowdown: round {} of {ROUNDS}", round + 1);
        }
        one_pair(workspace, None, &mut results.control)?;
        for row in &mut results.rows {
            if row.tool == Tool::DEFAULTS || round % OTHERS_EVERY == 0 {
                row.attempt(|row| one_pair(workspace, Some(row.tool), &mut row.slowdown));
            }
        }
    }
    Ok(())
}

fn one_pair(workspace: &mut Workspace, tool: Option<Tool>, slowdown: &mut Slowdown) -> Result<()> {
    let program = workspace.program()?;
    let before = sample(workspace, &program)?;
    let running = tool.map(|tool| tool.start(workspace.dir())).transpose()?;
    thread::sleep(AFTERMATH);
    let first = sample(workspace, &program)?;
    let second = sample(workspace, &program)?;
    if let Some(running) = running {
        let account = running.finish(&program.name)?;
        ensure!(account.execs > 0, "counted no exec of a storm");
    }
    thread::sleep(AFTERMATH);
    let after = sample(workspace, &program)?;
    let (alone, with) = (before.mean(after), first.mean(second));
    slowdown.execs.0.push(Pair {
        alone: alone.exec,
        with: with.exec,
    });
    slowdown.calls.0.push(Pair {
        alone: alone.call,
        with: with.call,
    });
    Ok(())
}

fn sample(workspace: &mut Workspace, program: &Program) -> Result<Sample> {
    let sizes = workspace.sizes;
    let workers = &mut workspace.workers;
    Ok(Sample {
        exec: workers.one(Job::Exec(sizes.execs, &program.path))?,
        call: workers.one(Job::Getppid(sizes.calls))?,
    })
}
