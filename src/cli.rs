//! The command line. Flags beat the configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use crate::config::{Config, DEFAULT_PATH, Error, File, Resolved};
use crate::http::live_config;
use crate::pipeline::view;
use crate::record::Comm;
use crate::sys::log::{LogFormat, LogLevel};

/// Counts every program that this host executes, exactly, and serves the counts to
/// Prometheus.
///
/// Runs until SIGTERM or SIGINT. Needs root, or CAP_BPF and CAP_PERFMON, to start; gives
/// them up once it is attached (all but CAP_BPF on kernels before 5.19).
///
/// Exit status: 0 fine, 1 runtime failure, 2 usage, 69 the kernel cannot do it, 77 not
/// permitted, 78 bad configuration.
#[derive(Debug, Clone, Parser)]
#[allow(clippy::doc_markdown)] // shown as it is by --help
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of running the daemon
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Configuration file [default: /etc/execsnoopd/config.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Check the configuration and exit. What the host can do of it, `doctor` says
    #[arg(long)]
    pub check: bool,

    /// Address to listen on, HOST:PORT, :PORT or unix:PATH; may be given several times [default:
    /// 127.0.0.1:10190]
    #[arg(long = "web.listen-address", value_name = "ADDR")]
    pub listen: Vec<String>,

    /// The exporter-toolkit's web configuration file: TLS, client certificates, users
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config: Option<PathBuf>,

    /// Path of the metrics [default: /metrics]
    #[arg(long = "web.telemetry-path", value_name = "PATH")]
    pub telemetry_path: Option<String>,

    /// Least severe messages to log [default: info]
    #[arg(long = "log.level", value_name = "L")]
    pub log_level: Option<LogLevel>,

    /// How to log: lines on standard error, or fields to the journal; auto: to the journal where
    /// standard error goes there, else logfmt [default: auto]
    #[arg(long = "log.format", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// What else there is to do.
#[derive(Debug, Clone, clap::Subcommand)]
#[allow(clippy::doc_markdown)] // shown as it is by --help
pub enum Command {
    /// Show each exec as it happens
    ///
    /// A table on standard output, in the order of time across all CPUs. Filters are applied in
    /// the kernel, but for --unit. What is lost is said on standard error, when it happens and
    /// at the end. Needs root, or CAP_BPF and CAP_PERFMON, to start.
    ///
    /// RETVAL is 0 for an exec, the negative errno for a failed one, and for the end of a
    /// process its status, or 128 and the signal that ended it.
    Trace(Trace),
    /// Say what this host can do, what that means, and what would change it
    ///
    /// Looks at the host and tries each hook and each buffer as the daemon does. Exit status: 0
    /// if the daemon runs here on its defaults, else what the daemon would end with.
    Doctor(Doctor),
}

/// What there is to say of `doctor`.
#[derive(Debug, Clone, clap::Args)]
pub struct Doctor {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What there is to say of `trace`.
#[derive(Debug, Clone, Default, clap::Args)]
#[allow(clippy::doc_markdown)] // shown as it is by --help
#[allow(clippy::struct_excessive_bools)] // flags
pub struct Trace {
    /// The arguments, too, as the new program finds them (of a failed exec, none); the first 1408
    /// bytes
    #[arg(long)]
    pub args: bool,

    /// The path, too, as it was given (of a script, the script's); the first 511 bytes
    #[arg(long)]
    pub path: bool,

    /// Failed execs, too: by fexit programs, else by tracepoints (these need tracefs)
    #[arg(long)]
    pub failed: bool,

    /// Ends of processes, too
    #[arg(long)]
    pub exits: bool,

    /// Only of this user: real uid or name
    #[arg(long, value_name = "USER", value_parser = view::uid)]
    pub uid: Option<u32>,

    /// Only programs of this name, at most 15 bytes
    #[arg(long, value_name = "NAME", value_parser = parse_comm)]
    pub comm: Option<Name>,

    /// Only what a program of this name started
    #[arg(long, value_name = "NAME", value_parser = parse_comm)]
    pub parent: Option<Name>,

    /// Only in this unit of systemd's; without a type, a service
    #[arg(long, value_name = "UNIT", value_parser = parse_unit)]
    pub unit: Option<String>,

    /// Only in this cgroup and below: its directory
    #[arg(long, value_name = "DIRECTORY", value_hint = clap::ValueHint::DirPath)]
    pub cgroup: Option<PathBuf>,

    /// More columns
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub show: Vec<Column>,

    /// One JSON object a line instead of a table
    #[arg(long)]
    pub json: bool,

    /// How to write the time
    #[arg(long, value_name = "FORM", default_value = "rfc3339")]
    pub timestamps: Timestamps,

    /// Stop after so many rows
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Stop after so long, as 90s or 5m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,

    /// Exit with 1 if the details of anything were lost
    #[arg(long)]
    pub strict: bool,
}

/// A program's name, as the kernel keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Name(pub Comm);

fn parse_comm(value: &str) -> Result<Name, String> {
    if value.is_empty() {
        return Err("a program's name is not empty".to_owned());
    }
    view::comm(value).map(Name)
}

/// As systemctl takes it.
#[allow(clippy::unnecessary_wraps)] // clap's signature
fn parse_unit(value: &str) -> Result<String, String> {
    Ok(if value.contains('.') {
        value.to_owned()
    } else {
        format!("{value}.service")
    })
}

/// A column that is there on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Column {
    /// The parent's name
    #[value(name = "parent_comm")]
    ParentComm,
    /// systemd's unit
    Unit,
    /// The container's short id
    Container,
}

/// How to write the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Timestamps {
    /// Date and time, in UTC
    #[default]
    Rfc3339,
    /// Seconds since the start
    Relative,
    /// Not at all
    None,
}

impl Cli {
    /// What [`load_config`](Self::load_config) reads, for people.
    pub fn what_is_configured(&self) -> String {
        let default = Path::new(DEFAULT_PATH);
        match &self.config {
            Some(path) => format!("{} is", path.display()),
            None if default.try_exists().unwrap_or(true) => format!("{DEFAULT_PATH} is"),
            None => format!("there is no {DEFAULT_PATH}: the defaults are"),
        }
    }

    /// The file's configuration with the flags over it, hosts and users looked up.
    pub fn load_config(&self) -> Result<Resolved, Error> {
        let file = File::read(self.config.as_deref())?;
        let config = file.as_ref().map(Config::parse_file);
        let mut config = config.transpose()?.unwrap_or_default();
        if !self.listen.is_empty() {
            config.web.listen.clone_from(&self.listen);
        }
        if let Some(path) = &self.web_config {
            config.web.config_file.clone_from(path);
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
        let resolved = config.resolve().map_err(|fault| {
            let is_flag = !self.listen.is_empty() && fault.is_in("web.listen");
            match &file {
                Some(file) if !is_flag => file.locate(&fault),
                _ => Error::Flag(fault),
            }
        })?;
        // Checks the web configuration and the files that it names.
        live_config::validate(&resolved.config.web.config_file)?;
        Ok(resolved)
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
        let config = cli.load_config().unwrap().config;
        assert_eq!(config.web.listen, ["127.0.0.1:2", "127.0.0.1:3"]);
        assert_eq!(config.web.telemetry_path, "/a");
        assert_eq!(config.log.level, LogLevel::Debug);
        assert_eq!(config.log.format, LogFormat::Json);
    }

    #[test]
    fn flags_of_the_daemon_do_not_go_with_a_subcommand() {
        assert!(Cli::try_parse_from(["execsnoopd", "trace", "--json"]).is_ok());
        assert!(Cli::try_parse_from(["execsnoopd", "--check", "trace"]).is_err());
        assert!(Cli::try_parse_from(["execsnoopd", "trace", "--check"]).is_err());
    }

    #[test]
    fn a_unit_without_a_type_is_a_service() {
        for (given, meant) in [("ssh", "ssh.service"), ("a@b.socket", "a@b.socket")] {
            let cli = Cli::parse_from(["execsnoopd", "trace", "--unit", given]);
            let Some(Command::Trace(trace)) = cli.command else {
                panic!("trace is meant");
            };
            assert_eq!(trace.unit.as_deref(), Some(meant));
        }
    }

    #[test]
    fn what_no_program_can_be_called_is_refused() {
        for flag in ["--comm", "--parent"] {
            for name in ["", "longer than 15 bytes"] {
                assert!(Cli::try_parse_from(["execsnoopd", "trace", flag, name]).is_err());
            }
        }
    }

    #[test]
    fn a_flag_is_validated_like_a_key() {
        let cli = Cli::parse_from(["execsnoopd", "--web.telemetry-path=metrics"]);
        let message = cli.load_config().unwrap_err().to_string();
        assert!(message.starts_with("web.telemetry_path: "), "{message}");
    }

    #[test]
    fn a_host_that_does_not_resolve_is_reported_where_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "[web]\nlisten = [\"no-such-host.invalid:1\"]\n").unwrap();
        let file = file.to_str().unwrap();
        let cli = Cli::parse_from(["execsnoopd", "--config", file]);
        let message = cli.load_config().unwrap_err().to_string();
        let expected = format!("{file}:2: web.listen: \"no-such-host.invalid:1\" is not ");
        assert!(message.starts_with(&expected), "{message}");

        let flag = "--web.listen-address=other-host.invalid:1";
        let cli = Cli::parse_from(["execsnoopd", "--config", file, flag]);
        let message = cli.load_config().unwrap_err().to_string();
        let expected = "web.listen: \"other-host.invalid:1\" is not ";
        assert!(message.starts_with(expected), "{message}");
    }
}
