//! Writes the data that `docs/pictures/charts.py` draws: `docs/data/*.json`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Replaces `docs/data/NAME.json`.
pub(crate) fn write(name: &str, figures: &impl Serialize) -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/data");
    let path = directory.join(name).with_extension("json");
    let json = serde_json::to_string(figures)? + "\n";
    fs::create_dir_all(&directory)?;
    fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))
}
