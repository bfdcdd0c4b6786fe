//! Turns files into a validated configuration, and does the look-ups that it needs.
//!
//! The text of `config.toml` and of the web configuration file comes in, values go out. Every key
//! is optional, except `labels` of a view, and an unknown key is an error. The fields of [`Config`]
//! are the keys, with their defaults; `config.example.toml` shows them. The thread that starts or
//! reloads the daemon runs this code. `web.rs`, `view.rs` and `web_file` decide what is valid in
//! their sections, this file decides the rest.
//!
//! Parsing is pure. [`Config::resolve`] looks up users (NSS), once at the start, once per reload,
//! and for `--check`. [`Config::resolve_listen`] looks up hosts (DNS); a reload does not call it,
//! because a reload cannot change addresses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::pipeline::view::{Label, View, grouping, name};
use crate::sys::log::{LogFormat, LogLevel};
use crate::sys::user;

mod address;
mod error;
mod file;
mod readers;
mod suggest;
mod view;
mod web;
pub mod web_file;

pub use self::address::{Address, resolve};
pub use self::error::{Error, Fault};
pub use self::file::{DEFAULT_PATH, File};
pub use self::readers::notice as permission_notice;
pub use self::view::{MAX_SERIES, ViewConfig};
pub use self::web::{Listen, MAX_CONNECTIONS, Web};

/// The largest buffer of a CPU in pages: 64 MiB with pages of 4 KiB.
pub const MAX_BUFFER_PAGES: usize = 16_384;

/// The configuration file. [`Default`] provides the defaults.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The user that a daemon started as root becomes: a name or a user ID.
    pub run_as: String,
    pub capture: Capture,
    pub web: Web,
    pub log: Log,
    pub view: Vec<ViewConfig>,
}

/// A configuration whose users have been looked up.
#[derive(Debug)]
pub struct Resolved {
    /// The configuration, in which users are still written as names or IDs.
    pub config: Config,
    /// The views of `[[view]]`, without counts.
    pub views: Vec<View>,
}

/// Everything that the daemon needs to start.
#[derive(Debug)]
pub struct Start {
    pub resolved: Resolved,
    pub listen: Listen,
    /// The files that are read again while the daemon runs.
    pub files: Vec<PathBuf>,
}

/// `[capture]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    pub transport: Transport,
    /// Pages of each CPU's buffer: a power of two, at most [`MAX_BUFFER_PAGES`].
    pub buffer_pages: usize,
    pub failures: Failures,
    /// Whether process exits are counted.
    pub exits: bool,
    /// Whether attempts are counted by path, as the classic execsnoop does, instead of execs.
    pub classic: bool,
}

/// How events reach user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A perf buffer if the kernel allows it, else a ring buffer.
    Auto,
    Perf,
    Ringbuf,
}

/// How failed execs are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Failures {
    /// With fexit programs if the kernel supports them, else not at all.
    Auto,
    /// With fexit programs if the kernel supports them, else with tracepoints, which slow down
    /// every system call of every process.
    Tracepoint,
    Off,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The lowest level that is logged.
    pub level: LogLevel,
    pub format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            run_as: user::NOBODY.to_owned(),
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

impl Config {
    /// Parses and validates the text of a file. Errors name `path`. Looks up neither hosts nor
    /// users.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        Self::parse_file(&File {
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    /// Parses and validates a file. Looks up neither hosts nor users.
    pub fn parse_file(file: &File) -> Result<Self, Error> {
        let at = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let document = toml::de::DeTable::parse(&file.text)
            .map_err(|error| file.invalid(at(&error), error.message().to_owned()))?;
        // The defaults contain every key.
        let known = toml::Table::try_from(Self::default()).unwrap_or_default();
        if let Some(unknown) = suggest::unknown(document.get_ref(), &known) {
            return Err(file.invalid(unknown.offset, unknown.to_string()));
        }
        let document = toml::de::Deserializer::from(document);
        let mut config: Self = serde_path_to_error::deserialize(document).map_err(|error| {
            let key = suggest::key_at(error.path());
            let message = error::in_terms_of_toml(error.inner().message());
            file.invalid(at(error.inner()), format!("{key}: {message}"))
        })?;
        config.validate().map_err(|fault| file.locate(&fault))?;
        if config.web.config_file != Path::new("") {
            let dir = file.path.parent().unwrap_or(Path::new(""));
            config.web.config_file = dir.join(&config.web.config_file);
        }
        Ok(config)
    }

    /// Looks up the users of `always` (NSS), which can block.
    pub fn resolve(self) -> Result<Resolved, Fault> {
        let views = self.view.iter().enumerate().map(|(i, view)| {
            let fault = |message| Fault::unknown(&format!("view.{i}.always"), message);
            view.resolve().map_err(fault)
        });
        Ok(Resolved {
            views: views.collect::<Result<_, _>>()?,
            config: self,
        })
    }

    /// Looks up the hosts of `web.listen` and `web.probe_listen` (DNS), which can block.
    pub fn resolve_listen(&self) -> Result<Listen, Fault> {
        self.web.resolve()
    }

    /// Returns whether a view has a label that matches.
    pub fn has_label(&self, matches: impl Fn(Label) -> bool) -> bool {
        let mut labels = self.view.iter().flat_map(|view| &view.labels);
        labels.any(|&label| matches(label))
    }

    /// Checks everything that needs no look-up. Call it again after flags have replaced values of
    /// the file.
    pub fn validate(&self) -> Result<(), Fault> {
        self.faults().into_iter().next().map_or(Ok(()), Err)
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.run_as.is_empty() {
            faults.push(Fault::new("run_as", "needs the name or the ID of a user"));
        }
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
                        "an earlier view already has execsnoop_execs_by_{}_total",
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
