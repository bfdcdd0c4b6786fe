//! A program to execute: `nop.c`, compiled once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// A static program that exits with 0 at once. Copy or link it to give it a name.
pub(crate) fn nop() -> &'static Path {
    static NOP: LazyLock<PathBuf> = LazyLock::new(compile);
    &NOP
}

fn compile() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let nop = dir.join("nop");
    // Several test processes may do this at once: each has its own until the rename.
    let own = dir.join(format!("nop.{}", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/nop.c");
    let status = Command::new("clang")
        .args(["-O2", "-static", "-nostdlib", "-o"])
        .args([&own, &source])
        .status()
        .expect("clang runs: the build needs it too");
    assert!(status.success(), "clang compiles tests/common/nop.c");
    std::fs::rename(&own, &nop).expect("the program is put in place");
    nop
}
