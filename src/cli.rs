//! The command line. Flags beat the configuration file.

use std::path::PathBuf;

use clap::Parser;

use crate::config::{Config, Error, LogFormat, LogLevel};

/// Counts every program that this host executes, exactly, and serves the counts to
/// Prometheus.
///
/// Runs until SIGTERM or SIGINT. Needs root, or CAP_BPF and CAP_PERFMON, to start; gives
/// them up once it is attached (all but CAP_BPF on kernels before 5.19).
///
/// Exit status: 0 fine, 1 runtime failure, 2 usage, 69 the kernel cannot do it, 77 not
/// permitted, 78 bad configuration.
#[derive(Debug, Parser)]
#[allow(clippy::doc_markdown)] // shown as it is by --help
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Configuration file [default: /etc/execsnoopd/config.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Check the configuration and exit
    #[arg(long)]
    pub check: bool,

    /// Address to listen on, HOST:PORT or :PORT; may be given several times [default:
    /// 127.0.0.1:10190]
    #[arg(long = "web.listen-address", value_name = "ADDR")]
    pub listen: Vec<String>,

    /// Path of the metrics [default: /metrics]
    #[arg(long = "web.telemetry-path", value_name = "PATH")]
    pub telemetry_path: Option<String>,

    /// Least severe messages to log [default: info]
    #[arg(long = "log.level", value_name = "L")]
    pub log_level: Option<LogLevel>,

    /// How to log: lines on standard error, or to the journal [default: logfmt]
    #[arg(long = "log.format", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl Cli {
    /// The file's configuration with the flags over it.
    pub fn load_config(&self) -> Result<Config, Error> {
        let mut config = Config::load(self.config.as_deref())?;
        if !self.listen.is_empty() {
            config.web.listen.clone_from(&self.listen);
        }
        if let Some(path) = &self.telemetry_path {
            config.web.telemetry_path.clone_from(path);
        }
        if let Some(level) = self.log_level {
            config.log.level = level;
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
        config.validate()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_beat_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "[web]\nlisten = [\":1\"]\ntelemetry_path = \"/a\"\n").unwrap();
        let file = file.to_str().unwrap();
        let cli = Cli::parse_from([
            "execsnoopd",
            "--config",
            file,
            "--web.listen-address=127.0.0.1:2",
            "--web.listen-address=127.0.0.1:3",
            "--log.level=debug",
            "--log.format=json",
        ]);
        let config = cli.load_config().unwrap();
        assert_eq!(config.web.listen, ["127.0.0.1:2", "127.0.0.1:3"]);
        assert_eq!(config.web.telemetry_path, "/a");
        assert_eq!(config.log.level, LogLevel::Debug);
        assert_eq!(config.log.format, LogFormat::Json);
    }

    #[test]
    fn a_flag_is_validated_like_a_key() {
        let cli = Cli::parse_from(["execsnoopd", "--web.telemetry-path=metrics"]);
        let message = cli.load_config().unwrap_err().to_string();
        assert!(message.starts_with("web.telemetry_path: "), "{message}");
    }
}
