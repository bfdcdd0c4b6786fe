//! Logging with `tracing`: to standard error or to systemd's journal.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tracing::error;
use tracing::field::display;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use self::stderr::Stderr;

mod stderr;

/// The environment variable in which systemd names the file that is connected to the journal,
/// as `DEVICE:INODE` (`systemd.exec(5)`).
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// The prefix of the daemon's fields in the journal, where all services share one namespace.
const JOURNAL_PREFIX: &str = "EXECSNOOPD";

/// The handle through which [`set_level`] changes the level.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// The least severe messages that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// To the journal if standard error is connected to it, else `logfmt`.
    Auto,
    /// `key=value` lines on standard error.
    Logfmt,
    /// JSON objects on standard error, one per line.
    Json,
    /// Structured fields to systemd's journal.
    Journald,
}

/// Starts logging messages of this level and above, in this format.
pub fn init(log_level: LogLevel, format: LogFormat) -> Result<()> {
    let format = match format {
        LogFormat::Auto => {
            let stream = std::env::var(JOURNAL_STREAM).unwrap_or_default();
            if is_stream(&stream, Path::new("/proc/self/fd/2")) && tracing_journald::layer().is_ok()
            {
                LogFormat::Journald
            } else {
                LogFormat::Logfmt
            }
        }
        format => format,
    };
    let layer = match format {
        LogFormat::Auto | LogFormat::Logfmt => tracing_logfmt::builder()
            .with_target(false)
            .layer()
            .with_writer(|| Stderr)
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_writer(|| Stderr)
            .boxed(),
        LogFormat::Journald => tracing_journald::layer()
            .context("cannot log to the journal: is systemd-journald running?")?
            .with_field_prefix(Some(JOURNAL_PREFIX.to_owned()))
            .boxed(),
    };
    let (filter, handle) = reload::Layer::new(level(log_level));
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .context("cannot set up logging")?;
    // Only the first call gets here.
    let _ = LEVEL.set(handle);
    // The default hook would block if standard error is a full pipe that nobody reads.
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let is_wanted = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = is_wanted.then(|| display(backtrace));
    let thread = thread::current();
    error!(thread = thread.name(), backtrace, "{panic}");
}

/// Writes a line to standard error, without the log and without blocking.
pub fn print_error(line: impl Display) {
    // `Stderr` never fails.
    let _ = Stderr.write_all(format!("execsnoopd: {line}\n").as_bytes());
}

/// Returns how many lines were lost because standard error did not accept them.
pub fn lost_lines() -> u64 {
    stderr::lost()
}

/// Changes the level if logging has been started.
pub fn set_level(to: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // Fails only if the subscriber is gone, but it is global and never dropped.
        let _ = handle.modify(|filter| *filter = level(to));
    }
}

/// Returns whether this file is the one that `stream` names as `DEVICE:INODE`.
fn is_stream(stream: &str, file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_recognized_by_device_and_inode() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, other) = (dir.path().join("journal"), dir.path().join("other"));
        for file in [&journal, &other] {
            fs::write(file, "").unwrap();
        }
        let metadata = fs::metadata(&journal).unwrap();
        let stream = format!("{}:{}", metadata.dev(), metadata.ino());
        assert!(is_stream(&stream, &journal));
        // Standard error has been redirected to another file, or systemd has not set the variable.
        assert!(!is_stream(&stream, &other));
        assert!(!is_stream("", &journal));
        assert!(!is_stream(&stream, &dir.path().join("closed")));
    }
}
