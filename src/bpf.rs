//! The skeletons that `build.rs` generates from `bpf/`: the compiled programs and handles
//! on their maps, and the records of `bpf/execsnoop.h` in [`types`].

#![allow(
    // Generated code does not follow this crate's lints.
    missing_debug_implementations,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks
)]

include!(concat!(env!("OUT_DIR"), "/execsnoop.skel.rs"));

/// The programs of `bpf/preemption.bpf.c`.
pub mod preemption {
    include!(concat!(env!("OUT_DIR"), "/preemption.skel.rs"));
}
