//! Turns files into a validated configuration, and does the look-ups that it needs.
//!
//! The text of `config.toml` and of the web configuration file comes in, values go out. Every key
//! is optional, except `labels` of a view, and an unknown key is an error. The fields of [`Config`]
//! are the keys, with their defaults; `config.example.toml` shows them. The thread that starts or
//! reloads the daemon runs this code. `web.rs`, `view.rs`, `label.rs`, `watch.rs` and `web_file` decide
//! what is valid in their sections, this file decides the rest.
//!
//! Parsing is pure. [`Config::resolve`] looks up users (NSS), once at the start, once per reload,
//! and for `--check`. [`Config::resolve_listen`] looks up hosts (DNS); a reload does not call it,
//! because a reload cannot change addresses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use self::conditions::Invalid;
use crate::names::own_label::OwnLabels;
use crate::pipeline::view::{Label, Metric, View, grouping, name};
use crate::pipeline::watch::Watch;
use crate::record::Kind;
use crate::sys::log::{LogFormat, LogLevel};
use crate::sys::user;

mod address;
mod conditions;
mod error;
mod file;
mod label;
mod readers;
mod rename;
mod suggest;
mod view;
mod watch;
mod web;
pub mod web_file;

pub use self::address::{Address, resolve};
pub use self::error::{Error, Fault};
pub use self::file::{DEFAULT_PATH, File};
pub use self::label::LabelConfig;
pub use self::readers::notice as permission_notice;
pub use self::view::{MAX_SERIES, ViewConfig};
pub use self::watch::WatchConfig;
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
    pub label: Vec<LabelConfig>,
    pub view: Vec<ViewConfig>,
    pub watch: Vec<WatchConfig>,
}

/// A configuration whose users have been looked up.
#[derive(Debug)]
pub struct Resolved {
    /// The configuration, in which users are still written as names or IDs.
    pub config: Config,
    /// The views of `[[view]]`, without counts.
    pub views: Vec<View>,
    /// The watches of `[[watch]]`, without counts.
    pub watches: Vec<Watch>,
    /// The labels of `[[label]]`.
    pub labels: OwnLabels,
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
            label: Vec::new(),
            view: vec![
                ViewConfig::by(&[Label::Comm]),
                ViewConfig::by(&[Label::Uid, Label::User]),
            ],
            watch: Vec::new(),
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

impl Capture {
    /// Returns the key of a view that needs what is not captured, and what is wrong.
    fn fault_of(&self, view: &ViewConfig) -> Option<Invalid> {
        view.metrics().iter().find_map(|metric| {
            let needed = match metric {
                Metric::Exits | Metric::LifetimeSeconds if !self.exits => "capture.exits = true",
                Metric::Failures if self.failures == Failures::Off => {
                    "capture.failures = \"auto\" or \"tracepoint\""
                }
                _ => return None,
            };
            let name = metric.name();
            Some(("metrics".to_owned(), format!("`{name}` needs `{needed}`")))
        })
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
        let known = Self::known_keys();
        if let Some(unknown) = suggest::unknown(document.get_ref(), &known) {
            return Err(file.invalid(unknown.offset, unknown.to_string()));
        }
        let document = toml::de::Deserializer::from(document);
        let mut config: Self = serde_path_to_error::deserialize(document).map_err(|error| {
            let key = suggest::key_at(error.path());
            let message = error::in_terms_of_toml(error.inner().message());
            file.invalid(at(error.inner()), format!("{key}: {message}"))
        })?;
        config
            .complete_views()
            .map_err(|fault| file.locate(&fault))?;
        config.validate().map_err(|fault| file.locate(&fault))?;
        if config.web.config_file != Path::new("") {
            let dir = file.path.parent().unwrap_or(Path::new(""));
            config.web.config_file = dir.join(&config.web.config_file);
        }
        Ok(config)
    }

    fn known_keys() -> toml::Table {
        // The defaults contain every key, except those of a label.
        let label = LabelConfig {
            name: String::new(),
            cgroup: String::new(),
        };
        let all = Self {
            label: vec![label],
            ..Self::default()
        };
        toml::Table::try_from(all).unwrap_or_default()
    }

    /// Completes the views: their labels that `[[label]]` defines, and metrics that they do not name.
    fn complete_views(&mut self) -> Result<(), Fault> {
        for (i, view) in self.view.iter_mut().enumerate() {
            label::define(&mut view.labels, &self.label)
                .map_err(|message| Fault::new(&format!("view.{i}.labels"), message))?;
            view.complete();
        }
        Ok(())
    }

    /// Looks up the users of views and watches (NSS), which can block.
    pub fn resolve(self) -> Result<Resolved, Fault> {
        let views = self.view.iter().enumerate().map(|(i, view)| {
            let fault = |(key, message)| Fault::unknown(&format!("view.{i}.{key}"), message);
            view.resolve(&self.label).map_err(fault)
        });
        let watches = self.watch.iter().enumerate().map(|(i, watch)| {
            let fault = |(key, message)| Fault::unknown(&format!("watch.{i}.{key}"), message);
            let watch = watch.resolve(&self.label).map_err(fault)?;
            Ok(if self.capture.exits {
                watch
            } else {
                watch.without_exits()
            })
        });
        let labels = OwnLabels::compile(self.label.iter().map(LabelConfig::own));
        Ok(Resolved {
            views: views.collect::<Result<_, _>>()?,
            watches: watches.collect::<Result<_, _>>()?,
            labels: labels.map_err(|unfit| Fault::new("label", unfit.to_string()))?,
            config: self,
        })
    }

    /// Looks up the hosts of `web.listen` and `web.probe_listen` (DNS), which can block.
    pub fn resolve_listen(&self) -> Result<Listen, Fault> {
        self.web.resolve()
    }

    /// Returns the labels that views and watches use, each with the key of the table.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, Label)> {
        let views = self.view.iter();
        let views = views.flat_map(|view| view.used_labels(&self.label));
        let watches = self.watch.iter();
        let watches = watches.flat_map(|watch| watch.labels(&self.label));
        let views = views.map(|label| ("view", label));
        views.chain(watches.map(|label| ("watch", label)))
    }

    /// Returns whether a view or a watch uses a label that matches.
    pub fn has_label(&self, matches: impl Fn(&Label) -> bool) -> bool {
        self.labels().any(|(_, label)| matches(&label))
    }

    /// Returns whether a view has a metric that matches.
    pub fn has_metric(&self, matches: impl Fn(Metric) -> bool) -> bool {
        let mut metrics = self.view.iter().flat_map(ViewConfig::metrics);
        metrics.any(|&metric| matches(metric))
    }

    /// Returns whether a view counts failed execs.
    pub fn has_failures(&self) -> bool {
        self.has_metric(|metric| metric == Metric::Failures)
    }

    /// Returns whether a view or a watch counts exits.
    pub fn has_exits(&self) -> bool {
        self.capture.exits
            && (self.has_metric(|metric| metric.kind() == Kind::Exit)
                || self.watch.iter().any(WatchConfig::counts_exits))
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
        for (i, label) in self.label.iter().enumerate() {
            if let Some((key, message)) = label.fault(&self.label[..i]) {
                faults.push(Fault::new(&format!("label.{i}.{key}"), message));
            }
        }
        let mut seen: Vec<&ViewConfig> = Vec::new();
        for (i, view) in self.view.iter().enumerate() {
            let not_captured = || self.capture.fault_of(view);
            let fault = view.fault(&self.label).or_else(not_captured);
            if let Some((key, message)) = fault {
                faults.push(Fault::new(&format!("view.{i}.{key}"), message));
            }
            let groups: BTreeSet<_> = grouping(&view.labels).collect();
            let mut others = seen.iter();
            // Names of labels that are joined can give the name of another label.
            let same = others.find(|other| {
                grouping(&other.labels).collect::<BTreeSet<_>>() == groups
                    || name(&other.labels) == name(&view.labels)
            });
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
        for (i, watch) in self.watch.iter().enumerate() {
            if let Some((key, message)) = watch.fault(&self.watch[..i], &self.label) {
                faults.push(Fault::new(&format!("watch.{i}.{key}"), message));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests;
