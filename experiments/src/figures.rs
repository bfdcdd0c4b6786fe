//! Writes the data that `docs/pictures/charts.py` draws: `docs/data/*.json`.

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;
use testkit::paths::repository;

/// Replaces `docs/data/NAME.json`.
pub fn write(name: &str, figures: &impl Serialize) -> Result<()> {
    let directory = repository().join("docs/data");
    let path = directory.join(name).with_extension("json");
    let json = serde_json::to_string(figures)? + "\n";
    fs::create_dir_all(&directory)?;
    fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))
}
