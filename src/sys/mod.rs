//! The operating system: clocks, privileges, threads, memory, the log and the saved state.
//!
//! Small wrappers of what the kernel and the C library offer, without knowledge of execs. They
//! run on the thread that calls them; only `thread` starts one.

pub mod clock;
pub mod inherited;
pub mod log;
pub mod malloc;
pub mod privileges;
pub mod sandbox;
pub mod state_file;
pub mod thread;
pub mod throttle;
pub mod user;
