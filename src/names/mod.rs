//! Text for what the kernel numbers or leaves raw.

pub mod cgroup;
pub mod errno;
pub mod escape;
pub mod users;
