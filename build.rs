//! Compiles the programs in `bpf/` and generates their skeletons into `OUT_DIR`.
//!
//! Needs clang (14 or newer) with the BPF target: the program that the environment variable `CLANG` names, or else
//! `clang`. The libbpf headers come with the libbpf-sys crate. Neither bpftool nor a vmlinux.h that it generates is
//! needed.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::error::Error;
use std::fs;
use std::hash::Hasher;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const OBJECTS: [&str; 2] = ["execsnoop", "preemption"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    for object in OBJECTS {
        SkeletonBuilder::new()
            .source(format!("bpf/{object}.bpf.c"))
            .clang(&clang)
            .clang_args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"])
            .build_and_generate(out.join(format!("{object}.skel.rs")))?;
    }
    // By this, a daemon recognizes whether the programs that an earlier one has left attached are its own.
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(out.join("execsnoop.skel.rs"))?);
    println!("cargo:rustc-env=EXECSNOOP_OBJECT={:016x}", hasher.finish());
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=CLANG");
    Ok(())
}
