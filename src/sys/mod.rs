//! The operating system: clocks, privileges, threads, memory and the log.

pub mod clock;
pub mod log;
pub mod malloc;
pub mod privileges;
pub mod thread;
pub mod throttle;
