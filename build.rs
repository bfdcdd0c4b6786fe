//! Compiles `bpf/execsnoop.bpf.c` and generates its skeleton into `OUT_DIR`.
//!
//! Needs clang (14 or newer) with the BPF target. The libbpf headers come with the
//! libbpf-sys crate; no bpftool and no dumped vmlinux.h are involved.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "bpf/execsnoop.bpf.c";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?).join("execsnoop.skel.rs");
    SkeletonBuilder::new()
        .source(SOURCE)
        .clang_args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"])
        .build_and_generate(&out)?;
    println!("cargo:rerun-if-changed=bpf");
    Ok(())
}
