//! Programs to execute, compiled once from C.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::paths::scratch;

/// A static program that exits with 0 at once. Copy or link it to give it a name.
pub fn nop() -> &'static Path {
    static NOP: LazyLock<PathBuf> =
        LazyLock::new(|| compiled("nop", include_str!("../programs/nop.c"), &["-nostdlib"]));
    &NOP
}

/// The same for 32-bit x86.
#[cfg(target_arch = "x86_64")]
pub fn nop32() -> &'static Path {
    static NOP: LazyLock<PathBuf> = LazyLock::new(|| {
        compiled(
            "nop32",
            include_str!("../programs/nop.c"),
            &["-nostdlib", "-m32"],
        )
    });
    &NOP
}

/// `ways.c`: executes a program in each way that there is.
pub fn ways() -> &'static Path {
    static WAYS: LazyLock<PathBuf> =
        LazyLock::new(|| compiled("ways", include_str!("../programs/ways.c"), &["-pthread"]));
    &WAYS
}

/// A static program that fails to execute this many times, by each of the system calls in
/// turn (execve, execveat, and the two as 32-bit programs call them), and then exits with
/// this status.
pub fn failing(times: u32, status: u8) -> PathBuf {
    let constants = [format!("-DTIMES={times}"), format!("-DSTATUS={status}")];
    let mut options = vec!["-nostdlib"];
    options.extend(constants.iter().map(String::as_str));
    compiled("failing", include_str!("../programs/failing.c"), &options)
}

/// The program of this C source. Where it has been compiled before, it is used as it is:
/// a guest has no compiler.
pub fn compiled(name: &str, source: &str, options: &[&str]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (source, options).hash(&mut hasher);
    let dir = scratch();
    std::fs::create_dir_all(&dir).expect("the directory can be created");
    let program = dir.join(format!("{name}-{:016x}", hasher.finish()));
    if program.exists() {
        return program;
    }
    // Several test processes may do this at once: each has its own until the rename.
    let own = dir.join(format!("{name}.{}", std::process::id()));
    let c = own.with_extension("c");
    std::fs::write(&c, source).expect("the source can be written");
    let status = Command::new("clang")
        // What the tests are built for, which need not be what this host is.
        .arg(format!("--target={}-linux-gnu", std::env::consts::ARCH))
        .args(["-O2", "-static", "-o"])
        .arg(&own)
        .arg(&c)
        .args(options)
        .status()
        .expect("clang runs: the build needs it too");
    assert!(status.success(), "clang compiles {name}");
    std::fs::rename(&own, &program).expect("the program is put in place");
    program
}
