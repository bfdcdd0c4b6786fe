//! Programs that tests execute. They are compiled from C once and kept for later runs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::paths::scratch;

/// A static program that exits with 0 immediately. Copy it or link to it to execute it under another
/// name.
pub fn nop() -> &'static Path {
    static NOP: LazyLock<PathBuf> =
        LazyLock::new(|| compiled("nop", include_str!("../programs/nop.c"), &["-nostdlib"]));
    &NOP
}

/// [`nop`], compiled for 32-bit x86.
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

/// `ways.c`: a program that executes others, or fails to, in many ways.
pub fn ways() -> &'static Path {
    static WAYS: LazyLock<PathBuf> =
        LazyLock::new(|| compiled("ways", include_str!("../programs/ways.c"), &["-pthread"]));
    &WAYS
}

/// A static program that fails this many times to execute another one, by each system call in turn,
/// and then exits with this status. The system calls are execve and execveat and, on x86-64, those
/// of 32-bit programs.
pub fn failing(times: u32, status: u8) -> PathBuf {
    let constants = [format!("-DTIMES={times}"), format!("-DSTATUS={status}")];
    let mut options = vec!["-nostdlib"];
    options.extend(constants.iter().map(String::as_str));
    compiled("failing", include_str!("../programs/failing.c"), &options)
}

/// A shared library for `LD_PRELOAD`: `inside.c`, which tries to open files from inside the daemon.
pub fn inside() -> PathBuf {
    let source = include_str!("../programs/inside.c");
    compiled("inside", source, &["-shared", "-fPIC"])
}

/// Compiles C source to a program, which is static unless it is a shared library. A program that
/// already exists is not compiled again, because guests have no compiler.
pub fn compiled(name: &str, source: &str, options: &[&str]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (source, options).hash(&mut hasher);
    let dir = scratch();
    std::fs::create_dir_all(&dir).expect("the directory can be created");
    let program = dir.join(format!("{name}-{:016x}", hasher.finish()));
    if program.exists() {
        return program;
    }
    // Several test processes may compile it at the same time. Each writes to a separate file.
    let own = dir.join(format!("{name}.{}", std::process::id()));
    let c = own.with_extension("c");
    std::fs::write(&c, source).expect("the source can be written");
    let status = Command::new("clang")
        // The tests may be built for an architecture other than that of this host.
        .arg(format!("--target={}-linux-gnu", std::env::consts::ARCH))
        .args((!options.contains(&"-shared")).then_some("-static"))
        .args(["-O2", "-o"])
        .arg(&own)
        .arg(&c)
        .args(options)
        .status()
        .expect("clang runs: the build needs it too");
    assert!(status.success(), "clang compiles {name}");
    std::fs::rename(&own, &program).expect("the program is put in place");
    program
}
