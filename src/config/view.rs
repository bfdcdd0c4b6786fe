//! The tables `[[view]]` of the configuration file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conditions::{Conditions, Invalid, Users};
use super::label::LabelConfig;
use super::rename::RenameConfig;
use crate::names::parse;
use crate::names::rename::Rules;
use crate::pipeline::view::{self, Label, Metric, View};

/// The upper limit of `max_series`.
pub const MAX_SERIES: usize = 100_000;

/// `[[view]]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ViewConfig {
    pub labels: Vec<Label>,
    /// None only while a file is parsed.
    pub metrics: Option<Vec<Metric>>,
    /// The number of slots for series, at most [`MAX_SERIES`]. Execs whose series gets no slot are
    /// counted as `other`.
    #[serde(default = "ViewConfig::default_max_series")]
    pub max_series: usize,
    /// How long a series must be idle before any new one can evict it.
    #[serde(default = "ViewConfig::default_idle_after", with = "humantime_serde")]
    pub idle_after: Duration,
    /// The share of the slots that a user can keep if others need them, above 0 and at most 1.
    #[serde(default = "ViewConfig::default_user_share")]
    pub user_share: f64,
    /// In a view with one label: values that have a series from the start and keep it.
    #[serde(default)]
    pub always: Vec<String>,
    /// What an observation must have to be counted in a series. All others are `other`.
    #[serde(default, rename = "where")]
    pub filter: Conditions,
    #[serde(default)]
    pub rename: RenameConfig,
}

impl ViewConfig {
    /// Returns a view by these labels, with defaults for all other keys.
    pub fn by(labels: &[Label]) -> Self {
        let mut view = Self {
            labels: labels.to_vec(),
            metrics: None,
            max_series: Self::default_max_series(),
            idle_after: Self::default_idle_after(),
            user_share: Self::default_user_share(),
            always: Vec::new(),
            filter: Conditions::default(),
            rename: RenameConfig::default(),
        };
        view.complete();
        view
    }

    fn default_max_series() -> usize {
        1000
    }

    fn default_idle_after() -> Duration {
        Duration::from_secs(3600)
    }

    fn default_user_share() -> f64 {
        0.5
    }

    /// Returns the first key with an invalid value, and what is wrong. `defined` are the labels that the
    /// file defines. Looks up no users.
    pub(super) fn fault(&self, defined: &[LabelConfig]) -> Option<Invalid> {
        let of_view = self
            .own_fault()
            .map(|(key, message)| (key.to_owned(), message));
        of_view.or_else(|| self.fault_of_values(defined).err())
    }

    fn own_fault(&self) -> Option<(&'static str, String)> {
        let labels = &self.labels;
        let twice = first_twice(labels);
        let metrics = self.metrics();
        let metric_twice = first_twice(metrics);
        if labels.is_empty() {
            Some(("labels", "a view needs at least one label".to_owned()))
        } else if let Some(label) = twice {
            Some(("labels", format!("`{}` is listed twice", label.name())))
        } else if metrics.is_empty() {
            Some(("metrics", "a view needs at least one metric".to_owned()))
        } else if let Some(metric) = metric_twice {
            Some(("metrics", format!("`{}` is listed twice", metric.name())))
        } else if let Some(message) = self.uncountable() {
            Some(("metrics", message))
        } else if !(1..=MAX_SERIES).contains(&self.max_series) {
            Some((
                "max_series",
                format!("{} is not from 1 to {MAX_SERIES}", self.max_series),
            ))
        } else if !(self.user_share > 0.0 && self.user_share <= 1.0) {
            Some((
                "user_share",
                format!("{} is not above 0 and at most 1", self.user_share),
            ))
        } else if self.always.len() > self.max_series {
            Some((
                "always",
                format!(
                    "has {} values, but max_series is {}",
                    self.always.len(),
                    self.max_series
                ),
            ))
        } else if self.is_by_user() {
            // Only numbers are checked here. Whether a named user exists needs a look-up.
            let has_none = view::grouping(&self.labels).all(Label::is_of_login);
            let is_number = |value: &&String| {
                value.bytes().all(|byte| byte.is_ascii_digit()) && !(has_none && value.is_empty())
            };
            let mut numbers = self.always.iter().filter(is_number);
            let invalid = numbers.find(|value| matches!(value.parse(), Err(_) | Ok(u32::MAX)));
            invalid.map(|value| ("always", format!("{value:?} is not a uid")))
        } else {
            let fault = self.reserved().err().or_else(|| self.doubt());
            fault.map(|message| ("always", message))
        }
    }

    /// Checks `where` and `rename`, and that the series of `always` can be counted in.
    fn fault_of_values(&self, defined: &[LabelConfig]) -> Result<(), Invalid> {
        let filter = self.filter.matcher(defined, &[], Users::Ignore);
        let filter = filter.map_err(|(key, message)| (format!("where.{key}"), message))?;
        let rename = self.rename.compile(&self.labels, defined);
        let rename = rename.map_err(|(key, message)| (format!("rename.{key}"), message))?;
        if let Some((_, rules)) = rename.first() {
            // A value of `always` can be a new name, but `where` sees the names before they are renamed.
            let mut values = self.always.iter().zip(self.reserved_names());
            let fault = values.find_map(|(value, name)| ambiguity(value, &name, rules));
            return fault.map_or(Ok(()), |message| Err(("always".to_owned(), message)));
        }
        let label = view::grouping(&self.labels).next();
        for (value, name) in self.always.iter().zip(self.reserved_names()) {
            if label.is_some_and(|label| filter.excludes(label, &name)) {
                let message =
                    format!("{value:?} is left out by `where`, so its series would stay 0");
                return Err(("always".to_owned(), message));
            }
        }
        Ok(())
    }

    /// Returns the values of `always` as series have them, except for users.
    fn reserved_names(&self) -> Vec<Vec<u8>> {
        match view::grouping(&self.labels).next() {
            Some(Label::Uid | Label::Loginuid) => {
                self.always.iter().map(|uid| uid.clone().into()).collect()
            }
            Some(label) if !self.is_by_user() => {
                let keys = self.reserved().unwrap_or_default();
                keys.iter()
                    .map(|key| key.name_of(label, &self.labels).to_vec())
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns why a value of `always` is almost certainly not what was meant, although a cgroup or
    /// a process can have this name.
    fn doubt(&self) -> Option<String> {
        let label = view::grouping(&self.labels).next()?;
        self.always.iter().find_map(|value| match label {
            Label::Comm | Label::ParentComm => parse::program_of_path(value)
                .map(|name| format!("{value:?} is a path; use the program's name, {name:?}")),
            Label::Unit => {
                let doubt = parse::doubt_unit(&parse::unit(value).ok()?)?;
                Some(format!("{value:?} is not a unit with processes: {doubt}"))
            }
            _ => None,
        })
    }

    /// Returns whether `always` names users.
    fn is_by_user(&self) -> bool {
        let mut grouping = view::grouping(&self.labels);
        let first = grouping.next();
        first.is_some_and(Label::is_of_user) && grouping.next().is_none()
    }

    /// Returns the keys of the series of `always`, or why a value is invalid.
    fn reserved(&self) -> Result<Vec<view::Key>, String> {
        let values = self.always.iter();
        values
            .map(|value| view::key_of(&self.labels, value))
            .collect()
    }

    /// Sets the metrics if the file does not name any. By what only execs have, only execs are counted.
    pub(super) fn complete(&mut self) {
        if self.metrics.is_none() {
            self.metrics = Some(match self.label_only_at_exec() {
                Some(_) => vec![Metric::Execs],
                None => Metric::DEFAULT.to_vec(),
            });
        }
    }

    pub fn metrics(&self) -> &[Metric] {
        self.metrics.as_deref().unwrap_or_default()
    }

    /// Returns the first label, of the view or of a condition, that is known only at an exec.
    fn label_only_at_exec(&self) -> Option<Label> {
        let used = self.labels.iter().cloned();
        let mut used = used.chain(self.filter.built_in_labels());
        used.find(Label::is_only_at_exec)
    }

    /// Returns why a metric cannot be counted by the labels of the view.
    fn uncountable(&self) -> Option<String> {
        let label = self.label_only_at_exec()?;
        let mut metrics = self.metrics().iter();
        let metric = metrics.find(|metric| **metric != Metric::Execs)?;
        Some(format!(
            "`{}` cannot be counted by `{}`, which is known only at an exec: use metrics = [\"execs\"]",
            metric.name(),
            label.name()
        ))
    }

    /// Returns the labels of the view and those that `where` has conditions on. The view must have no
    /// fault.
    pub(super) fn used_labels(&self, defined: &[LabelConfig]) -> Vec<Label> {
        let mut labels = self.filter.labels(defined, &[]).unwrap_or_default();
        labels.extend(self.labels.iter().cloned());
        labels
    }

    /// Returns a view without counts, or the key with a user who was not found.
    pub(super) fn resolve(&self, defined: &[LabelConfig]) -> Result<View, Invalid> {
        let mut view = View::new(self.labels.clone(), self.max_series)
            .with_metrics(self.metrics().to_vec())
            .idle_after(self.idle_after)
            .user_share(self.user_share);
        if !self.filter.is_empty() {
            let filter = self.filter.matcher(defined, &[], Users::LookUp);
            view = view.only(filter.map_err(|(key, message)| (format!("where.{key}"), message))?);
        }
        let rename = self.rename.compile(&self.labels, defined);
        let rename = rename.map_err(|(key, message)| (format!("rename.{key}"), message))?;
        for (label, rules) in rename {
            view = view.renaming(label, rules);
        }
        let reserved = self.reserved();
        Ok(view.reserve(reserved.map_err(|message| ("always".to_owned(), message))?))
    }
}

/// Returns why it is not clear which series a value of `always` means: a rule makes this name, and a rule
/// changes it. Names that are made of groups are not considered.
fn ambiguity(value: &str, name: &[u8], rules: &Rules) -> Option<String> {
    let new = rules.rename(name);
    if *new == *name || !rules.is_literal_result(name) {
        return None;
    }
    let new = String::from_utf8_lossy(&new);
    Some(format!(
        "{value:?} can be a name before or after `rename`, which makes {new:?} of it; change the rules so \
         that none matches what they make"
    ))
}

/// Returns the first value that an earlier one equals.
fn first_twice<T: PartialEq>(values: &[T]) -> Option<&T> {
    let twice = values.iter().enumerate();
    let mut twice = twice.filter(|(i, value)| values[..*i].contains(value));
    twice.next().map(|(_, value)| value)
}
