//! A view as it is saved, so that the next daemon can continue it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::key::{Key, Label};
use super::one_series::Series;
use crate::pipeline::history::History;
use crate::sys::clock::Timestamp;

/// What a view has counted. Its settings are not included: they come from the configuration.
///
/// The seconds in which names without a slot were seen are not included either. Such a name needs
/// them to evict a series that is in use, and is counted in `other` until it has them again.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct SavedView {
    /// By name, so that a label that is added to [`Label`] does not change the others.
    pub(super) labels: Vec<String>,
    pub(super) start: Timestamp,
    pub(super) flushed: Timestamp,
    pub(super) reserved: Vec<(Key, Series)>,
    pub(super) series: Vec<(Key, Series)>,
    pub(super) overflow: Counts,
    pub(super) yielded: Counts,
    pub(super) unattributed_before: Counts,
    pub(super) recent_other: History,
    pub(super) other_recorded: u64,
}

impl SavedView {
    pub(super) fn without_counts(labels: &[Label]) -> Self {
        let labels = labels.iter().map(|label| label.name().to_owned());
        Self {
            labels: labels.collect(),
            start: Timestamp::default(),
            flushed: Timestamp::default(),
            reserved: Vec::new(),
            series: Vec::new(),
            overflow: Counts::default(),
            yielded: Counts::default(),
            unattributed_before: Counts::default(),
            recent_other: History::default(),
            other_recorded: 0,
        }
    }

    /// Returns the labels, or None if this version does not have one of them.
    pub(super) fn labels(&self) -> Option<Vec<Label>> {
        self.labels.iter().map(|name| Label::named(name)).collect()
    }

    /// Returns whether a view that counted `attributed`, and of which `unattributed` has no subject,
    /// can have these counts. Then no sum of them overflows.
    pub(in crate::pipeline) fn adds_up(&self, attributed: Counts, unattributed: Counts) -> bool {
        let keys = || self.reserved.iter().chain(&self.series).map(|(key, _)| key);
        let mut distinct = HashSet::new();
        let labels = self.labels();
        let are_keys =
            keys().all(|key| distinct.insert(key) && labels.as_ref().is_none_or(|l| key.is_of(l)));

        let series = self.reserved.iter().chain(&self.series);
        let mut counts = series
            .map(|(_, series)| &series.counts)
            .chain([&self.overflow, &self.yielded]);
        let sum = counts.try_fold(Counts::default(), |mut sum, counts| {
            sum.execs.checked_add(counts.execs)?;
            sum += *counts;
            Some(sum)
        });
        let before = self.unattributed_before;
        let expected = attributed.execs.checked_add(before.execs);
        let other = self.overflow.execs.saturating_add(unattributed.execs);
        are_keys
            && before.execs <= unattributed.execs
            && sum.is_some_and(|sum| Some(sum.execs) == expected)
            && sum.is_some_and(|sum| sum.cpu_ns == attributed.cpu_ns.wrapping_add(before.cpu_ns))
            && self.other_recorded <= other - before.execs
            && self.recent_other.is_plausible(self.other_recorded)
    }
}
