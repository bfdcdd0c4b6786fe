//! Storms on all CPUs: how many execs a tool counts, and the CPU time that it uses.

use std::thread;

use anyhow::Result;
use experiments::process;
use experiments::quartiles::Quartiles;

use crate::results::{Results, Row};
use crate::worker::Job;
use crate::workspace::{Program, Workspace};

const ROUNDS: u32 = 6;

/// A storm with a tool, paired with one without.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BigStorm {
    pub(crate) execs: u64,
    /// How many of the execs the tool counted.
    pub(crate) counted: u64,
    pub(crate) ledger_difference: Option<f64>,
    /// Seconds of the storm without and with the tool.
    alone: f64,
    with: f64,
    /// CPU time of the tool until it had processed its backlog.
    cpu_ns: u64,
    resident_kib: u64,
}

pub(crate) fn measure(workspace: &mut Workspace, results: &mut Results) -> Result<()> {
    for round in 0..ROUNDS {
        if !workspace.has_time() {
            break;
        }
        eprintln!("counting: round {} of {ROUNDS}", round + 1);
        let alone_first = round % 2 == 0;
        let program = workspace.program()?;
        let first = alone(workspace, &program)?;
        thread::sleep(process::DRAINED);
        let second = alone(workspace, &program)?;
        results.big_control.push(if alone_first {
            second / first
        } else {
            first / second
        });
        for row in &mut results.rows {
            row.attempt(|row| storm(workspace, row, alone_first));
        }
    }
    Ok(())
}

/// Seconds of a storm with no tool attached.
fn alone(workspace: &mut Workspace, program: &Program) -> Result<f64> {
    let job = Job::Exec(workspace.sizes.execs_each, &program.path);
    Ok(workspace.workers.all(job)?.as_secs_f64())
}

fn storm(workspace: &mut Workspace, row: &mut Row, alone_first: bool) -> Result<()> {
    let program = workspace.program()?;
    let job = Job::Exec(workspace.sizes.execs_each, &program.path);
    let before = if alone_first {
        Some(alone(workspace, &program)?)
    } else {
        None
    };

    let mut running = row.tool.start(workspace.dir())?;
    let cpu_before = process::cpu_ns(running.pid())?;
    let with = workspace.workers.all(job)?;
    running.settle()?;
    let cpu_after = process::cpu_ns(running.pid())?;
    let resident_kib = process::resident_kib(running.pid())?;
    let account = running.finish(&program.name)?;
    let alone = match before {
        Some(seconds) => seconds,
        None => alone(workspace, &program)?,
    };
    row.big_storms.push(BigStorm {
        execs: job.times() * workspace.workers.len() as u64,
        counted: account.execs,
        ledger_difference: account.ledger_difference,
        alone,
        with: with.as_secs_f64(),
        cpu_ns: cpu_after.saturating_sub(cpu_before),
        resident_kib,
    });
    Ok(())
}

impl Row {
    /// Execs counted and execs made, summed over all storms.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let storms = &self.big_storms;
        (
            storms.iter().map(|storm| storm.counted).sum(),
            storms.iter().map(|storm| storm.execs).sum(),
        )
    }

    /// The share of execs that were counted, in percent.
    pub(crate) fn share(&self) -> Option<f64> {
        let (counted, made) = self.counted();
        (made > 0).then(|| counted as f64 / made as f64 * 100.0)
    }

    /// The duration of the storms with the tool, divided by the duration without.
    pub(crate) fn big_slowdown(&self) -> Option<Quartiles> {
        Quartiles::of(self.big_storms.iter().map(|storm| storm.with / storm.alone))
    }

    /// Execs per second with the tool.
    pub(crate) fn rate(&self) -> Option<f64> {
        let seconds: f64 = self.big_storms.iter().map(|storm| storm.with).sum();
        (seconds > 0.0).then(|| self.counted().1 as f64 / seconds)
    }

    /// CPU time of the tool per exec, in nanoseconds.
    pub(crate) fn cpu_ns_per_exec(&self) -> Option<f64> {
        let cpu_ns: u64 = self.big_storms.iter().map(|storm| storm.cpu_ns).sum();
        let (_, made) = self.counted();
        (made > 0).then(|| cpu_ns as f64 / made as f64)
    }

    /// CPU time of the tool at this rate, in percent of one core.
    pub(crate) fn cpu_percent_at(&self, execs_per_second: f64) -> Option<f64> {
        Some(self.cpu_ns_per_exec()? * execs_per_second / 1e9 * 100.0)
    }

    /// The largest resident memory after a storm, in MB.
    pub(crate) fn resident_mb(&self) -> Option<f64> {
        let most = self
            .big_storms
            .iter()
            .map(|storm| storm.resident_kib)
            .max()?;
        Some(most as f64 * 1024.0 / 1e6)
    }

    /// Whether every exec of every storm was counted and the ledger closed.
    pub(crate) fn is_exact(&self) -> Option<bool> {
        let exact = |storm: &BigStorm| {
            storm.counted == storm.execs && storm.ledger_difference.unwrap_or(0.0) == 0.0
        };
        (!self.big_storms.is_empty()).then(|| self.big_storms.iter().all(exact))
    }
}
