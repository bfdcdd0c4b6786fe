//! TOML to a validated configuration.
//!
//! Every key is optional and unknown keys are refused. The keys that exist, with their
//! defaults, are the fields of [`Config`]; `config.example.toml` shows them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::{Deserialize, Serialize};

use crate::pipeline::view::{Label, View, grouping, name};
use crate::sys::log::{LogFormat, LogLevel};

mod address;
mod suggest;
mod view;
mod web;
pub mod web_file;

pub use self::address::{Address, resolve};
pub(crate) use self::suggest::nearest;
pub use self::view::ViewConfig;
pub use self::web::{MAX_CONNECTIONS, Web};

/// Read where no `--config` is given, if it exists.
pub const DEFAULT_PATH: &str = "/etc/execsnoopd/config.toml";

/// The hard cap on `max_series` of a view.
pub const MAX_SERIES: usize = 100_000;

/// The most pages of a CPU's ring: 64 MiB at 4 KiB a page.
pub const MAX_BUFFER_PAGES: usize = 16_384;

/// The configuration, with its defaults.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[capture]`
    pub capture: Capture,
    /// `[web]`
    pub web: Web,
    /// `[log]`
    pub log: Log,
    /// `[[view]]`
    pub view: Vec<ViewConfig>,
}

/// `[capture]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// How events cross into user space.
    pub transport: Transport,
    /// Pages of each CPU's buffer: a power of two, at most [`MAX_BUFFER_PAGES`].
    pub buffer_pages: usize,
    /// Whether and how failed execs are counted.
    pub failures: Failures,
    /// Whether ends of processes are counted.
    pub exits: bool,
    /// Count attempts, as the classic execsnoop does, instead of execs.
    pub classic: bool,
}

/// How events cross into user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// By a perf buffer where the kernel lets us open one, else by a ring buffer.
    Auto,
    /// By a perf buffer.
    Perf,
    /// By a ring buffer.
    Ringbuf,
}

/// Whether and how failed execs are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Failures {
    /// By fexit programs where the kernel runs them.
    Auto,
    /// Else by tracepoints, which slow every system call of every process.
    Tracepoint,
    /// Not at all.
    Off,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least severe messages that are logged.
    pub level: LogLevel,
    /// How messages are written.
    pub format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capture: Capture::default(),
            web: Web::default(),
            log: Log::default(),
            view: vec![
                ViewConfig::by(&[Label::Comm]),
                ViewConfig::by(&[Label::Uid, Label::User]),
            ],
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            transport: Transport::Auto,
            buffer_pages: 64,
            failures: Failures::Auto,
            exits: true,
            classic: false,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Auto,
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What the file says makes no sense.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Which key, what is wrong, and what would be right.
        message: String,
    },
    /// The web configuration file cannot be used.
    #[error(transparent)]
    Web(#[from] web_file::Error),
    /// What a flag says makes no sense.
    #[error("{0}")]
    Flag(String),
}

/// A key that is wrong: its path in the document, and why.
#[derive(Debug, PartialEq)]
struct Fault {
    key: Vec<String>,
    message: String,
}

impl Fault {
    fn new(key: &str, message: impl Into<String>) -> Self {
        Self {
            key: key.split('.').map(str::to_owned).collect(),
            message: message.into(),
        }
    }
}

impl Config {
    /// Read and validate a file; without one, the one at [`DEFAULT_PATH`] where it exists,
    /// else the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, Error> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|error| Error::Read {
                path: path.to_owned(),
                error,
            })
        };
        let default = Path::new(DEFAULT_PATH);
        match path.map(read) {
            Some(text) => Self::parse(&text?, path.unwrap_or(default)),
            None => match read(default) {
                Ok(text) => Self::parse(&text, default),
                Err(Error::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                    Ok(Self::default())
                }
                // It is there, and not to be read: that is not the same as the defaults.
                Err(error) => Err(error),
            },
        }
    }

    /// Validate the text of a file; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let invalid = |line, message| Error::Invalid {
            path: path.to_owned(),
            line,
            message,
        };
        let at = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let document = toml::de::DeTable::parse(text).map_err(|error| {
            invalid(
                suggest::line_at(text, at(&error)),
                error.message().to_owned(),
            )
        })?;
        if let Some(unknown) = suggest::unknown(document.get_ref()) {
            return Err(invalid(
                suggest::line_at(text, unknown.offset),
                unknown.to_string(),
            ));
        }
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let line = suggest::line_at(text, at(&error));
            let key = suggest::key_at(document.get_ref(), at(&error)).join(".");
            let message = error.message();
            let named = format!("{key}: {message}");
            // A key that is missing stands nowhere.
            invalid(
                line,
                if key.is_empty() {
                    message.to_owned()
                } else {
                    named
                },
            )
        })?;
        if let Some(fault) = config.faults().into_iter().next() {
            let offset = suggest::offset(document.get_ref(), &fault.key);
            let message = format!("{}: {}", fault.key.join("."), fault.message);
            return Err(invalid(suggest::line_at(text, offset), message));
        }
        if config.web.config_file != Path::new("") {
            let dir = path.parent().unwrap_or(Path::new(""));
            config.web.config_file = dir.join(&config.web.config_file);
        }
        Ok(config)
    }

    /// The views without any count yet; or why a user of `always` is not found any more.
    pub fn build_views(&self) -> anyhow::Result<Vec<View>> {
        let views = self.view.iter().map(ViewConfig::build);
        let views: Result<_, _> = views.collect();
        views.map_err(|error| anyhow!(error).context("cannot reserve a series"))
    }

    /// Whether some view has such a label.
    pub fn has_label(&self, such: impl Fn(Label) -> bool) -> bool {
        let mut labels = self.view.iter().flat_map(|view| &view.labels);
        labels.any(|&label| such(label))
    }

    /// Validate once more, after flags have changed what the file says.
    pub fn validate(&self) -> Result<(), Error> {
        match self.faults().into_iter().next() {
            Some(fault) => Err(Error::Flag(format!(
                "{}: {}",
                fault.key.join("."),
                fault.message
            ))),
            None => Ok(()),
        }
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let pages = self.capture.buffer_pages;
        if !pages.is_power_of_two() || pages > MAX_BUFFER_PAGES {
            faults.push(Fault::new(
                "capture.buffer_pages",
                format!("{pages} is not a power of two from 1 to {MAX_BUFFER_PAGES}"),
            ));
        }
        faults.extend(self.web.faults());
        let mut seen: Vec<&ViewConfig> = Vec::new();
        for (i, view) in self.view.iter().enumerate() {
            if let Some((key, message)) = view.fault() {
                faults.push(Fault::new(&format!("view.{i}.{key}"), message));
            }
            let groups: BTreeSet<_> = grouping(&view.labels).collect();
            let mut others = seen.iter();
            let same =
                others.find(|other| grouping(&other.labels).collect::<BTreeSet<_>>() == groups);
            if let Some(other) = same {
                faults.push(Fault::new(
                    &format!("view.{i}.labels"),
                    format!(
                        "a view of the same labels already gives execsnoop_execs_by_{}_total",
                        name(&other.labels)
                    ),
                ));
            }
            seen.push(view);
        }
        faults
    }
}

#[cfg(test)]
mod tests;
