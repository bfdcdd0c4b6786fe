//! Properties that must hold for any input from outside: the kernel's records, names, files and
//! connections. Each module has a libFuzzer target in `targets/`.
//!
//! Each module checks the result and does not only look for panics.

pub mod cgroup;
pub mod config;
pub mod event;
pub mod http;
pub mod label;
pub mod tls;
pub mod users;
pub mod web_config;

mod answers;
mod hint;
mod server;
mod up_to_the_edge;
