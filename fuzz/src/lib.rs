//! Properties that must hold for any input from outside: the kernel's records, names, files and
//! connections, and for any metrics. Each public module has a libFuzzer target in `targets/`, and checks the results of
//! the code under test in addition to looking for panics.

pub mod cgroup;
pub mod config;
pub mod event;
pub mod http;
pub mod label;
pub mod metrics;
pub mod tls;
pub mod users;
pub mod web_config;

mod answers;
mod hint;
mod server;
mod up_to_the_edge;
