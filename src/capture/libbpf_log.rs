//! libbpf's messages, in the daemon's log.

use libbpf_rs::PrintLevel;
use tracing::{Level, debug, enabled, trace};

/// Sends libbpf's messages to the log instead of standard error.
pub fn redirect() {
    // At its level debug, libbpf logs so much that formatting it would double the time of a start.
    let level = if enabled!(target: "libbpf", Level::TRACE) {
        PrintLevel::Debug
    } else {
        PrintLevel::Info
    };
    libbpf_rs::set_print(Some((level, log_libbpf)));
}

/// Logs libbpf's warnings at level debug, because this crate reports the same errors with a remedy.
#[allow(clippy::needless_pass_by_value)] // the signature is libbpf-rs's
fn log_libbpf(level: PrintLevel, message: String) {
    let message = message.trim_end();
    match level {
        PrintLevel::Warn | PrintLevel::Info => debug!(target: "libbpf", "{message}"),
        PrintLevel::Debug => trace!(target: "libbpf", "{message}"),
    }
}
