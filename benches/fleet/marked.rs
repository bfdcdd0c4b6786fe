//! What is written into a page of the documentation by a program: the part between two marks.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const END: &str = "<!-- End -->";

/// Replace what `make TARGET` has written into this page.
pub(crate) fn write(page: &str, target: &str, text: &str) -> Result<()> {
    let begin = format!("<!-- Written by `make {target}` -->\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let old = fs::read_to_string(&path).with_context(|| format!("cannot read {page}"))?;
    let (before, rest) = old.split_once(&begin).context("no mark to write after")?;
    let (_, after) = rest.split_once(END).context("no mark to write before")?;
    let new = format!("{before}{begin}{text}{END}{after}");
    fs::write(&path, new).with_context(|| format!("cannot write {page}"))
}
