//! What holds of execsnoopd whatever the bytes are that come from outside: of the kernel's
//! records, names, files and connections. A target of libFuzzer for each, in `targets/`.
//!
//! None of them only waits for a panic: each says what must be true of the result.

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
