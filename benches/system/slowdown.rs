//! How much slower execs and other system calls become, on one CPU.
//!
//! Always in pairs, one half with nothing attached. A machine's speed of exec may change
//! by half every few seconds by itself (a shared virtual machine's does): the halves of a
//! pair are cut in two and follow each other closely, without, with, with, without, so
//! that a steady drift cancels out; and there are many short pairs, not a few long ones.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::quartiles::Quartiles;
use crate::results::Results;
use crate::tool::Tool;
use crate::worker::Job;
use crate::workspace::{Program, Workspace};

/// Pairs of the defaults.
const ROUNDS: u32 = 36;
/// Everything else takes part in each so-many-th: starting peers takes long.
const OTHERS_EVERY: u32 = 4;

/// What a tool's start and end leave behind to do, in its process and in the kernel.
const AFTERMATH: Duration = Duration::from_millis(100);

/// Nanoseconds of one time, without and with a tool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    alone: f64,
    with: f64,
}

/// Pairs of the same kind.
#[derive(Debug, Default)]
pub(crate) struct Pairs(Vec<Pair>);

impl Pairs {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn ratio(&self) -> Option<Quartiles> {
        Quartiles::of(self.0.iter().map(|pair| pair.with / pair.alone))
    }

    /// What is added to one time, in nanoseconds.
    pub(crate) fn added(&self) -> Option<Quartiles> {
        Quartiles::of(self.0.iter().map(|pair| pair.with - pair.alone))
    }

    /// What one time takes with nothing attached, in nanoseconds.
    pub(crate) fn alone(&self) -> Option<Quartiles> {
        Quartiles::of(self.0.iter().map(|pair| pair.alone))
    }
}

/// What a tool does to execs and to `getppid`.
#[derive(Debug, Default)]
pub(crate) struct Slowdown {
    pub(crate) execs: Pairs,
    pub(crate) calls: Pairs,
}

/// Half a half of both pairs.
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
        ensure!(account.execs > 0, "saw nothing of a storm");
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
