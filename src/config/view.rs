//! `[[view]]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pipeline::view::{self, Label, View};

/// The hard cap on `max_series` of a view.
pub const MAX_SERIES: usize = 100_000;

/// `[[view]]`: execs counted by some labels.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ViewConfig {
    /// What to group by.
    pub labels: Vec<Label>,
    /// The number of slots for series, at most [`MAX_SERIES`]; what finds no free slot is `other`.
    #[serde(default = "ViewConfig::default_max_series")]
    pub max_series: usize,
    /// How long a series must have been idle before a new one can evict it.
    #[serde(default = "ViewConfig::default_idle_after", with = "humantime_serde")]
    pub idle_after: Duration,
    /// The share of the slots that a user can keep if others need them, above 0 and at most 1.
    #[serde(default = "ViewConfig::default_user_share")]
    pub user_share: f64,
    /// Values of the one label that have a series from the start and keep it.
    #[serde(default)]
    pub always: Vec<String>,
}

impl ViewConfig {
    /// A view by these labels, with defaults for all other keys.
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
                format!("{} names for {} series", self.always.len(), self.max_series),
            ))
        } else if self.is_by_user() {
            // Only a look-up shows which users exist.
            None
        } else {
            let fault = self.reserved().err();
            fault.map(|message| ("always", message))
        }
    }

    /// Returns whether `always` names users.
    fn is_by_user(&self) -> bool {
        let mut grouping = view::grouping(&self.labels);
        let first = grouping.next();
        matches!(first, Some(Label::Uid | Label::User)) && grouping.next().is_none()
    }

    /// Returns the keys of `always`, or what is wrong with one of them.
    fn reserved(&self) -> Result<Vec<view::Key>, String> {
        let values = self.always.iter();
        values
            .map(|value| view::key_of(&self.labels, value))
            .collect()
    }

    /// Returns a view without counts, or why a user of `always` is not found.
    pub(super) fn resolve(&self) -> Result<View, String> {
        let view = View::new(self.labels.clone(), self.max_series);
        let view = view.idle_after(self.idle_after).user_share(self.user_share);
        Ok(view.reserve(self.reserved()?))
    }
}
