//! The skeletons that `build.rs` generates from `bpf/`: the compiled programs and handles
//! on their maps, and the records of `bpf/execsnoop.h` in [`types`].

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

/// The questions of `bpf/probe.bpf.c`.
pub mod probe {
    include!(concat!(env!("OUT_DIR"), "/probe.skel.rs"));
}
