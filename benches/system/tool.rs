//! The tools compared, and one of them while it runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::peer::Peer;
use crate::process;
use testkit::daemon::Daemon;
use testkit::http::Scrape;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The daemon, configured so.
    Execsnoopd(Setup),
    LibbpfTools,
    Bpftrace,
    Forkstat,
}

/// What of the daemon's configuration is not at its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    Defaults,
    /// Without the program at the end of processes.
    NoExits,
    /// Over the other road.
    Ring,
    RingNoExits,
    /// Each label in one view at least: all that the kernel side can be asked for.
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

    /// The version, of the Debian package where it is one.
    pub(crate) fn version(self) -> String {
        let package = match self {
            Self::Execsnoopd(_) => return env!("CARGO_PKG_VERSION").to_owned(),
            Self::LibbpfTools => "libbpf-tools",
            Self::Bpftrace => "bpftrace",
            Self::Forkstat => "forkstat",
        };
        Command::new("dpkg-query")
            .args(["--show", "--showformat=${Version}", package])
            .output()
            .ok()
            .filter(|output| output.status.success())
            .and_then(|output| String::from_utf8(output.stdout).ok())
            .unwrap_or_else(|| "unknown".to_owned())
    }

    /// Start it and wait until it watches.
    pub(crate) fn start(self, dir: &Path) -> Result<Running> {
        let setup = match self {
            Self::Execsnoopd(setup) => setup,
            // Not by their names alone: bcc's tool has the same.
            Self::LibbpfTools => {
                return Peer::start(&["/usr/sbin/execsnoop"], dir).map(Running::Peer);
            }
            Self::Bpftrace => {
                return Peer::start(&["/usr/sbin/execsnoop.bt"], dir).map(Running::Peer);
            }
            Self::Forkstat => {
                return Peer::start(&["/usr/bin/forkstat", "-e", "exec"], dir).map(Running::Peer);
            }
        };
        // Whatever is configured on this machine, this is what is measured.
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

/// A tool that watches. Ended with the value.
#[derive(Debug)]
pub(crate) enum Running {
    Ours(Box<Daemon>),
    Peer(Peer),
}

/// What a tool knew in the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// Execs of the program that was asked for.
    pub(crate) execs: u64,
    /// The daemon's own `execsnoop_ledger_difference`.
    pub(crate) ledger_difference: Option<f64>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Ours(daemon) => daemon.pid(),
            Self::Peer(peer) => peer.pid(),
        }
    }

    /// Wait until it has worked off what it had to, without asking it anything.
    pub(crate) fn settle(&mut self) -> Result<()> {
        match self {
            Self::Ours(daemon) => process::settle(daemon.pid(), None, process::WORKED_OFF),
            Self::Peer(peer) => peer.settle(process::WORKED_OFF),
        }
    }

    /// What it exposes, if it does.
    pub(crate) fn scrape(&self) -> Option<Scrape> {
        match self {
            Self::Ours(daemon) => Some(daemon.scrape()),
            Self::Peer(_) => None,
        }
    }

    /// End it. Returns what it knew of the execs of a program: a peer that has not
    /// [settled](Self::settle) may know of more.
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
            Self::Peer(peer) => Ok(Account {
                execs: peer.finish(program)?,
                ledger_difference: None,
            }),
        }
    }
}
