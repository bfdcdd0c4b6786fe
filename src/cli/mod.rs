//! The command line. Flags take precedence over the configuration file.

mod load;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::names::parse;
use crate::record::{Comm, Fact, FactValue};
use crate::sys::log::{LogFormat, LogLevel};

/// Counts every program that this host executes, exactly, and serves the counts to Prometheus
///
/// Each exec is counted exactly once, from the time when the daemon is attached until it stops.
///
/// Runs until SIGTERM or SIGINT. Needs root, or CAP_BPF and CAP_PERFMON, to start. Once it is
/// attached, it drops all capabilities (except CAP_BPF on kernels before 5.19), and root becomes
/// the user nobody (`run_as` in the configuration file).
///
/// Exit status: 0 stopped by a signal, 1 failure that may be temporary, 2 invalid command line, 69
/// not supported by the kernel, 77 permission denied, 78 configuration that can never work.
#[derive(Debug, Clone, Parser)]
#[allow(clippy::doc_markdown)] // --help shows the text unchanged
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Configuration file [default: /etc/execsnoopd/config.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Check the configuration and exit. `doctor` checks what the host supports
    #[arg(long)]
    pub check: bool,

    /// Address to listen on: HOST:PORT, :PORT or unix:PATH. Can be repeated [default:
    /// 127.0.0.1:10190]
    #[arg(long = "web.listen-address", value_name = "ADDR")]
    pub listen: Vec<String>,

    /// Web configuration file of the exporter-toolkit (TLS, client certificates, users)
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config: Option<PathBuf>,

    /// Path of the metrics [default: /metrics]
    #[arg(long = "web.telemetry-path", value_name = "PATH")]
    pub telemetry_path: Option<String>,

    /// Lowest level to log [default: info]
    #[arg(long = "log.level", value_name = "L")]
    pub log_level: Option<LogLevel>,

    /// Format of the log: logfmt or json on standard error, journald, or auto, which is journald if
    /// standard error is connected to the journal and logfmt otherwise [default: auto]
    #[arg(long = "log.format", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, clap::Subcommand)]
#[allow(clippy::doc_markdown)] // --help shows the text unchanged
#[allow(clippy::large_enum_variant)] // there is only one command
pub enum Command {
    /// Show each exec as it happens
    ///
    /// Writes a table to standard output, sorted by time across all CPUs. All filters except --unit
    /// are applied in the kernel. Losses are reported on standard error when they happen and at the
    /// end. Needs root, or CAP_BPF and CAP_PERFMON, to start. Root becomes the user nobody.
    ///
    /// RETVAL is 0 for an exec, the negative errno for a failed exec, and for a process exit the
    /// exit status, or 128 plus the number of the signal that killed the process.
    Trace(Trace),
    /// Report what this host supports and what would change that
    ///
    /// Examines the host and tries each hook and each buffer as the daemon does. Exit status: 0 if
    /// the daemon can run on this host with its defaults, else the daemon's exit status.
    Doctor(Doctor),
}

#[derive(Debug, Clone, clap::Args)]
pub struct Doctor {
    /// Write the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Default, clap::Args)]
#[allow(clippy::doc_markdown)] // --help shows the text unchanged
#[allow(clippy::struct_excessive_bools)] // flags
pub struct Trace {
    /// Show the arguments as the new program receives them, up to 1408 bytes. Not shown for failed
    /// execs
    #[arg(long)]
    pub args: bool,

    /// Show the path as given by the caller (the script's path for a script): the first 511 bytes
    #[arg(long)]
    pub path: bool,

    /// Also show failed execs, with fexit programs or else with tracepoints (which need tracefs)
    #[arg(long)]
    pub failed: bool,

    /// Also show process exits. With =failed, only those of processes that did not succeed
    #[arg(
        long,
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all"
    )]
    pub exits: Option<Exits>,

    /// Only this user: real user ID or name. Can be repeated, like --comm and --unit
    #[arg(long, value_name = "USER", value_parser = parse::uid)]
    pub uid: Vec<u32>,

    /// Only programs with this name, at most 15 bytes
    #[arg(long, value_name = "NAME", value_parser = parse_comm)]
    pub comm: Vec<Name>,

    /// Only execs of a file with this name (for a script, that of its interpreter). Can be repeated
    #[arg(long, value_name = "NAME", value_parser = parse_exe)]
    pub exe: Vec<FileName>,

    /// Only programs whose parent has this name
    #[arg(long, value_name = "NAME", value_parser = parse_comm)]
    pub parent: Option<Name>,

    /// Only in this systemd unit. A name without a type, such as ssh, means the service. A dash
    /// means outside of any unit
    #[arg(long, value_name = "UNIT", value_parser = parse_unit)]
    pub unit: Vec<Unit>,

    /// Only in the cgroup with this directory and in those below it
    #[arg(long, value_name = "DIRECTORY", value_hint = clap::ValueHint::DirPath)]
    pub cgroup: Option<PathBuf>,

    /// Only the process with this ID and its descendants
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,

    /// Only files that are unlinked, on a tmpfs, in an overlay's upper layer, or not owned by root
    #[arg(
        long,
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = of_fact(Fact::Origin)
    )]
    pub origin: Vec<FactValue>,

    /// Only the first processes of containers (init), or those put into one (injected)
    #[arg(long, value_name = "ENTRY", value_parser = of_fact(Fact::Entry))]
    pub entry: Option<FactValue>,

    /// Only execs that the kernel treats as privileged: setuid, setgid or file capabilities
    #[arg(long)]
    pub elevated: bool,

    /// Only processes with a controlling terminal
    #[arg(long)]
    pub tty: bool,

    /// Only processes of this user's logins, also after su and sudo. A dash selects processes
    /// without a login
    #[arg(long, value_name = "USER", value_parser = parse_loginuid)]
    pub loginuid: Option<u32>,

    /// Add a column with the names of the ancestors, up to eight
    #[arg(long)]
    pub ancestors: bool,

    /// Indent each name below that of its nearest ancestor shown
    #[arg(long)]
    pub tree: bool,

    /// Columns to add
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub show: Vec<Column>,

    /// Write one JSON object per line instead of a table
    #[arg(long)]
    pub json: bool,

    /// Format of the time
    #[arg(long, value_name = "FORM", default_value = "rfc3339")]
    pub timestamps: Timestamps,

    /// Stop after N rows
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Stop after this time, for example 90s or 5m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// Exit with status 1 if any details were lost
    #[arg(long)]
    pub strict: bool,
}

/// A program name as the kernel stores it: at most 15 bytes, filled up with NUL bytes.
#[derive(Debug, Clone, Copy)]
pub struct Name(pub Comm);

fn parse_comm(text: &str) -> Result<Name, String> {
    parse::comm(text).map(Name)
}

/// The name of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(pub Vec<u8>);

/// Parses the name of a file. What the kernel side does not know cannot be asked for.
fn parse_exe(text: &str) -> Result<FileName, String> {
    let name = parse::exe(text)?;
    if name.is_empty() {
        return Err(
            "`unknown` stands for names that are not known, and a filter cannot select these; for a \
             file that is named `unknown`, write \"\\x75nknown\""
                .to_owned(),
        );
    }
    Ok(FileName(name))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text);
    duration.map_err(|_| "expected a duration such as 90s or 5m".to_owned())
}

/// The name of a systemd unit. Empty for processes outside of any unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit(pub Vec<u8>);

fn parse_unit(text: &str) -> Result<Unit, String> {
    // The table shows a dash for an empty name.
    let text = if text == "-" { "" } else { text };
    parse::unit(text).map(Unit)
}

/// Parses a value of a fact. What the kernel side does not know cannot be asked for.
fn of_fact(fact: Fact) -> impl TypedValueParser<Value = FactValue> {
    let named = |value: &&&str| !matches!(**value, "" | "unknown");
    let values = fact.values().iter().filter(named).copied();
    let parser = PossibleValuesParser::new(values.collect::<Vec<_>>());
    parser.try_map(move |text| parse::fact(fact, &text))
}

fn parse_loginuid(text: &str) -> Result<u32, String> {
    // As in the table.
    let text = if text == "-" { "" } else { text };
    parse::loginuid(text)
}

/// The exits to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Exits {
    /// All
    All,
    /// Those of processes that did not succeed
    Failed,
}

/// An additional column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Column {
    /// Name of the parent process
    #[value(name = "parent_comm")]
    ParentComm,
    /// Name of the file of an exec
    Exe,
    /// systemd unit
    Unit,
    /// Short container ID
    Container,
    /// How an exec came into its container: init or injected
    Entry,
    /// Where the file of an exec is from
    Origin,
    /// Whether an exec is privileged
    Elevated,
    /// Whether there is a controlling terminal
    Tty,
    /// ID of the user who logged in
    Loginuid,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Timestamps {
    /// Date and time, in UTC
    #[default]
    Rfc3339,
    /// Seconds since the start
    Relative,
    /// No time
    None,
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
    fn flags_of_the_daemon_cannot_be_combined_with_a_subcommand() {
        assert!(Cli::try_parse_from(["execsnoopd", "trace", "--json"]).is_ok());
        assert!(Cli::try_parse_from(["execsnoopd", "--check", "trace"]).is_err());
        assert!(Cli::try_parse_from(["execsnoopd", "trace", "--check"]).is_err());
    }

    #[test]
    fn a_unit_without_a_type_is_a_service() {
        for (given, expected) in [
            ("ssh", "ssh.service"),
            ("a@b.socket", "a@b.socket"),
            ("snap.lxd.daemon", "snap.lxd.daemon.service"),
            ("-", ""),
        ] {
            let cli = Cli::parse_from(["execsnoopd", "trace", "--unit", given]);
            let Some(Command::Trace(trace)) = cli.command else {
                panic!("expected trace");
            };
            assert_eq!(trace.unit, [Unit(expected.into())]);
        }
    }

    #[test]
    fn a_filter_that_can_never_match_is_refused() {
        for (flag, name) in [
            ("--comm", "longer than 15 bytes"),
            ("--parent", "longer than 15 bytes"),
            ("--unit", "logrotate.timer"),
            ("--uid", "4294967295"),
        ] {
            let error = Cli::try_parse_from(["execsnoopd", "trace", flag, name]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{flag} {name}");
        }
    }
}
