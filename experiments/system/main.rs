//! Measures what execsnoopd costs and what it counts, side by side with other tools in one run.
//!
//! [`worker`] processes load the system, each pinned to a CPU, while one [`tool`] watches, or none.
//! [`slowdown`], [`counting`], [`kernel_time`] and [`idle`] measure. [`goals`] compares the results
//! with the goals of the design. [`report`] writes `docs/benchmarks.md`; `docs/pictures/charts.py` draws `docs/benchmarks.svg` from
//! the [`figures`] in `docs/data`.
//!
//! Needs root. Takes about seven minutes: after that, no new measurement is started.

mod counting;
mod figures;
mod goals;
mod idle;
mod kernel_time;
mod machine;
mod peer_tool;
mod pipeline;
mod process;
mod quartiles;
mod report;
mod results;
mod slowdown;
mod tool;
mod worker;
mod workspace;

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::results::Results;
use crate::workspace::Workspace;

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    if let [role, cpu] = &args[..]
        && role == worker::ROLE
    {
        return worker::serve(cpu.parse()?);
    }
    // `cargo test --all-targets` starts benchmarks too, without this.
    if !args.iter().any(|arg| arg == "--bench") {
        println!("nothing measured: this runs by `cargo bench` only");
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("attaching to the kernel needs root: run `cargo bench --bench system` as root");
    }
    run()
}

fn run() -> Result<()> {
    let mut results = Results::new(machine::Machine::here());
    machine::mount_tracefs();
    kernel_time::require_stats_off()?;
    let mut workspace = Workspace::new()?;

    results.pipeline = pipeline::Pipeline::read();
    results.kernel_time = kernel_time::measure(&mut workspace).map_err(|e| format!("{e:#}"));
    idle::measure(&workspace, &mut results)?;
    counting::measure(&mut workspace, &mut results)?;
    slowdown::measure(&mut workspace, &mut results)?;
    results.took = workspace.elapsed();

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md");
    fs::write(&page, report::markdown(&results)).context("cannot write docs/benchmarks.md")?;
    figures::write("benchmarks", &results.figures())?;
    println!("{}", report::summary(&results));
    println!("written: docs/benchmarks.md, docs/data/benchmarks.json");
    Ok(())
}
