//! What the experiments share: they measure processes and the machine, and write pages and data of the
//! documentation.
//!
//! An experiment measures the daemon of the release build, `target/release/execsnoopd`: `make` builds
//! it first.

pub mod busy;
pub mod figures;
pub mod machine;
pub mod marked;
pub mod process;
pub mod prometheus_answer;
pub mod quartiles;

use anyhow::{Result, ensure};
use rustix::process::geteuid;

/// Fails in a debug build, because a debug build of the daemon is not what is shipped.
pub fn require_release_build() -> Result<()> {
    ensure!(
        !cfg!(debug_assertions),
        "an experiment measures the release build: run it with `make`, or `cargo run --release`"
    );
    Ok(())
}

/// Fails unless this process may load BPF programs.
pub fn require_root() -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "loading BPF programs needs root: run this experiment as root"
    );
    Ok(())
}
