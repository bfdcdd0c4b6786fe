//! Measures what execsnoopd costs and what it counts, side by side with other tools in one run.
//!
//! [`worker`] processes load the system, each pinned to a CPU, while one [`tool`] runs, or none.
//! [`slowdown`], [`counting`], [`kernel_time`] and [`idle`] measure. [`goals`] compares the results
//! with the goals of the design. [`report`] writes `docs/benchmarks.md`. `docs/pictures/charts.py`
//! draws `docs/benchmarks.svg` from the [`figures`](experiments::figures) in `docs/data`.
//!
//! Needs root. Starts no new measurement after `BENCH_SECONDS`, 420 by default.

mod counting;
mod goals;
mod idle;
mod kernel_time;
mod peer_tool;
mod pipeline;
mod report;
mod results;
mod slowdown;
mod tool;
mod worker;
mod workspace;

use std::env;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use experiments::{figures, machine};
use testkit::paths::repository;

use crate::results::Results;
use crate::workspace::Workspace;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [role, cpu] = &args[..]
        && role == worker::ROLE
    {
        return worker::serve(cpu.parse()?);
    }
    experiments::require_release_build()?;
    experiments::require_root()?;
    let seconds = match env::var("BENCH_SECONDS") {
        Ok(seconds) => seconds.parse().context("BENCH_SECONDS is not a number")?,
        Err(_) => 420,
    };
    run(Duration::from_secs(seconds))
}

fn run(budget: Duration) -> Result<()> {
    let mut results = Results::new(machine::Machine::here());
    machine::mount_tracefs();
    kernel_time::require_stats_off()?;
    let mut workspace = Workspace::new(budget)?;

    results.pipeline = pipeline::Pipeline::read();
    results.kernel_time = kernel_time::measure(&mut workspace).map_err(|e| format!("{e:#}"));
    idle::measure(&workspace, &mut results)?;
    counting::measure(&mut workspace, &mut results)?;
    slowdown::measure(&mut workspace, &mut results)?;
    results.took = workspace.elapsed();

    let page = repository().join("docs/benchmarks.md");
    fs::write(&page, report::markdown(&results)).context("cannot write docs/benchmarks.md")?;
    figures::write("benchmarks", &results.figures())?;
    println!("{}", report::summary(&results));
    println!("written: docs/benchmarks.md, docs/data/benchmarks.json");
    Ok(())
}
