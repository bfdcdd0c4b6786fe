//! The tables `[[view]]` of the configuration file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::parse;
use crate::pipeline::view::{self, Label, View};

/// The upper limit of `max_series`.
pub const MAX_SERIES: usize = 100_000;

/// `[[view]]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ViewConfig {
    pub labels: Vec<Label>,
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
}

impl ViewConfig {
    /// Returns a view by these labels, with defaults for all other keys.
    pub fn by(labels: &[Label]) -> Self {
        Self {
            labels: labels.to_vec(),
            max_series: Self::default_max_series(),
            idle_after: Self::default_idle_after(),
            user_share: Self::default_user_share(),
            always: Vec::new(),
        }
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

    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        let labels = &self.labels;
        let twice = labels
            .iter()
            .enumerate()
            .find(|(i, label)| labels[..*i].contains(label));
        if labels.is_empty() {
            Some(("labels", "a view needs at least one label".to_owned()))
        } else if let Some((_, label)) = twice {
            Some(("labels", format!("`{}` is listed twice", label.name())))
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
            let is_number = |value: &&String| value.bytes().all(|byte| byte.is_ascii_digit());
            let mut numbers = self.always.iter().filter(is_number);
            let invalid = numbers.find(|value| matches!(value.parse(), Err(_) | Ok(u32::MAX)));
            invalid.map(|value| ("always", format!("{value:?} is not a uid")))
        } else {
            let fault = self.reserved().err().or_else(|| self.doubt());
            fault.map(|message| ("always", message))
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
        matches!(first, Some(Label::Uid | Label::User)) && grouping.next().is_none()
    }

    /// Returns the keys of the series of `always`, or why a value is invalid.
    fn reserved(&self) -> Result<Vec<view::Key>, String> {
        let values = self.always.iter();
        values
            .map(|value| view::key_of(&self.labels, value))
            .collect()
    }

    /// Returns a view without counts, or why a user of `always` was not found.
    pub(super) fn resolve(&self) -> Result<View, String> {
        let view = View::new(self.labels.clone(), self.max_series);
        let view = view.idle_after(self.idle_after).user_share(self.user_share);
        Ok(view.reserve(self.reserved()?))
    }
}
