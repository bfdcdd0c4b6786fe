//! Writes the generated part of a page of the documentation, which is between two marker comments.

use std::fs;

use anyhow::{Context, Result};
use testkit::paths::repository;

const END: &str = "<!-- End -->";

/// Replaces the part of this page that `make TARGET` writes.
pub fn write(page: &str, target: &str, text: &str) -> Result<()> {
    let begin = format!("<!-- Written by `make {target}` -->\n");
    let path = repository().join(page);
    let old = fs::read_to_string(&path).with_context(|| format!("cannot read {page}"))?;
    let (before, rest) = old
        .split_once(&begin)
        .context("the page has no mark for the beginning")?;
    let (_, after) = rest
        .split_once(END)
        .context("the page has no mark for the end")?;
    let new = format!("{before}{begin}{text}{END}{after}");
    fs::write(&path, new).with_context(|| format!("cannot write {page}"))
}
