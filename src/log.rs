//! Logging, by `tracing`.

use anyhow::{Context, Result};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat, LogLevel};

/// From now on, log as configured.
pub fn init(log: &Log) -> Result<()> {
    let layer = match log.format {
        LogFormat::Logfmt => tracing_logfmt::builder()
            .with_target(false)
            .layer()
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Journald => tracing_journald::layer()
            .context("cannot log to the journal: is systemd-journald running?")?
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(level(log.level)))
        .try_init()
        .context("cannot set up logging")
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
