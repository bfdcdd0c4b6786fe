//! The skeleton that `build.rs` generates from `bpf/execsnoop.bpf.c`: the compiled
//! programs, handles on its maps, and the records of `bpf/execsnoop.h` in [`types`].

#![allow(
    // Generated code, not held to this crate's lints.
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks
)]

include!(concat!(env!("OUT_DIR"), "/execsnoop.skel.rs"));
