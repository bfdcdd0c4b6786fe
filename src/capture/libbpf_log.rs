//! libbpf's messages, in the daemon's log.

use libbpf_rs::PrintLevel;
use tracing::{Level, debug, enabled, trace};

/// Have libbpf's messages in our log instead of on standard error.
pub fn redirect() {
    // libbpf says much at this level, and to format it takes as long as all else here.
    let level = if enabled!(target: "libbpf", Level::TRACE) {
        PrintLevel::Debug
    } else {
        PrintLevel::Info
    };
    libbpf_rs::set_print(Some((level, log_libbpf)));
}

/// libbpf's own messages. What it warns of we report ourselves, with a remedy.
#[allow(clippy::needless_pass_by_value)] // the signature is libbpf-rs's
fn log_libbpf(level: PrintLevel, message: String) {
    let message = message.trim_end();
    match level {
        PrintLevel::Warn | PrintLevel::Info => debug!(target: "libbpf", "{message}"),
        PrintLevel::Debug => trace!(target: "libbpf", "{message}"),
    }
}
