//! The tools that are compared, and a running one.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;
use experiments::process;
use testkit::daemon::Daemon;
use testkit::http::Scrape;
use testkit::paths::daemon;

use crate::peer_tool::PeerTool;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The daemon with this configuration.
    Execsnoopd(Setup),
    LibbpfTools,
    Bpftrace,
    Forkstat,
}

/// How the daemon's configuration differs from the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    Defaults,
    /// Without the BPF program at process exits.
    NoExits,
    /// Over the ring buffer.
    Ring,
    RingNoExits,
    /// With each label in at least one view: the kernel side reads everything that it can.
    EveryView,
}

const EVERY_VIEW: &str = r#"
[[view]]
labels = ["comm"]

[[view]]
labels = ["parent_comm", "comm"]

[[view]]
labels = ["uid", "user"]

[[view]]
labels = ["unit", "comm"]

[[view]]
labels = ["slice"]

[[view]]
labels = ["container"]
"#;

impl Setup {
    fn config(self) -> &'static str {
        match self {
            Self::Defaults => "",
            Self::NoExits => "[capture]\nexits = false\n",
            Self::Ring => "[capture]\ntransport = \"ringbuf\"\n",
            Self::RingNoExits => "[capture]\ntransport = \"ringbuf\"\nexits = false\n",
            Self::EveryView => EVERY_VIEW,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Defaults => "execsnoopd",
            Self::NoExits => "execsnoopd, exits off",
            Self::Ring => "execsnoopd, ring buffer",
            Self::RingNoExits => "execsnoopd, ring, exits off",
            Self::EveryView => "execsnoopd, every view",
        }
    }
}

impl Tool {
    pub(crate) const DEFAULTS: Self = Self::Execsnoopd(Setup::Defaults);

    pub(crate) const ALL: [Self; 8] = [
        Self::DEFAULTS,
        Self::Execsnoopd(Setup::NoExits),
        Self::Execsnoopd(Setup::EveryView),
        Self::Execsnoopd(Setup::Ring),
        Self::Execsnoopd(Setup::RingNoExits),
        Self::LibbpfTools,
        Self::Bpftrace,
        Self::Forkstat,
    ];

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Execsnoopd(_))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Execsnoopd(setup) => setup.name(),
            Self::LibbpfTools => "execsnoop (libbpf-tools)",
            Self::Bpftrace => "execsnoop.bt (bpftrace)",
            Self::Forkstat => "forkstat -e exec",
        }
    }

    /// The version of the daemon, or of the Debian package of another tool.
    pub(crate) fn version(self) -> String {
        let output = match self {
            Self::Execsnoopd(_) => Command::new(daemon()).arg("--version").output(),
            Self::LibbpfTools => query_package("libbpf-tools"),
            Self::Bpftrace => query_package("bpftrace"),
            Self::Forkstat => query_package("forkstat"),
        };
        output
            .ok()
            .filter(|output| output.status.success())
            .and_then(|output| String::from_utf8(output.stdout).ok())
            .and_then(|text| Some(text.split_whitespace().last()?.to_owned()))
            .unwrap_or_else(|| "unknown".to_owned())
    }

    /// Starts the tool and waits until it counts or reports execs.
    pub(crate) fn start(self, dir: &Path) -> Result<Running> {
        let setup = match self {
            Self::Execsnoopd(setup) => setup,
            // By its path, because bcc has a tool of the same name.
            Self::LibbpfTools => {
                return PeerTool::start(&["/usr/sbin/execsnoop"], dir).map(Running::PeerTool);
            }
            Self::Bpftrace => {
                return PeerTool::start(&["/usr/sbin/execsnoop.bt"], dir).map(Running::PeerTool);
            }
            Self::Forkstat => {
                return PeerTool::start(&["/usr/bin/forkstat", "-e", "exec"], dir)
                    .map(Running::PeerTool);
            }
        };
        // The configuration of this machine must not change what is measured.
        let config = dir.join("config.toml");
        fs::write(&config, setup.config())?;
        let daemon = Daemon::start(&[
            "--config",
            &config.display().to_string(),
            "--log.level=info",
        ]);
        Ok(Running::Ours(Box::new(daemon)))
    }
}

fn query_package(package: &str) -> io::Result<Output> {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${Version}", package])
        .output()
}

/// A running tool. Dropping it kills the process.
#[derive(Debug)]
pub(crate) enum Running {
    Ours(Box<Daemon>),
    PeerTool(PeerTool),
}

/// What a tool had counted when it was stopped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// Execs of the requested program.
    pub(crate) execs: u64,
    /// The daemon's own `execsnoop_ledger_difference`.
    pub(crate) ledger_difference: Option<f64>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Ours(daemon) => daemon.pid(),
            Self::PeerTool(tool) => tool.pid(),
        }
    }

    /// Waits until the tool has processed its backlog, without sending it a request.
    pub(crate) fn settle(&mut self) -> Result<()> {
        match self {
            Self::Ours(daemon) => process::settle(daemon.pid(), None, process::DRAINED),
            Self::PeerTool(tool) => tool.settle(process::DRAINED),
        }
    }

    /// The metrics of the daemon. None for a peer tool.
    pub(crate) fn scrape(&self) -> Option<Scrape> {
        match self {
            Self::Ours(daemon) => Some(daemon.scrape()),
            Self::PeerTool(_) => None,
        }
    }

    /// Stops the tool. Returns what it counted of the execs of a program: a lower bound if the tool
    /// has not [settled](Self::settle).
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
    pub(crate) fn finish(self, program: &str) -> Result<Account> {
        match self {
            Self::Ours(daemon) => {
                let scrape = daemon.scrape();
                daemon.stop();
                Ok(Account {
                    execs: scrape.execs_of(program) as u64,
                    ledger_difference: scrape.find("execsnoop_ledger_difference{kind=\"exec\"}"),
                })
            }
            Self::PeerTool(tool) => Ok(Account {
                execs: tool.finish(program)?,
                ledger_difference: None,
            }),
        }
    }
}
