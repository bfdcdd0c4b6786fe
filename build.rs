//! Compiles `bpf/execsnoop.bpf.c` and generates its skeleton into `OUT_DIR`.
//!
//! Needs clang (14 or newer) with the BPF target: the one in `CLANG`, or `clang`. The libbpf headers come with the
//! libbpf-sys crate; no bpftool and no dumped vmlinux.h are involved.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "bpf/execsnoop.bpf.c";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?).join("execsnoop.skel.rs");
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    SkeletonBuilder::new()
        .source(SOURCE)
        .clang(clang)
        .clang_args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"])
        .build_and_generate(&out)?;
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=CLANG");
    Ok(())
}
