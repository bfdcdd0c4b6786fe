//! A view: execs and CPU time by some of a subject's fields, within a budget of series.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::event::{Comm, Subject};

/// By what a view may group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Name of the program, after the exec.
    Comm,
    /// Name of the program's real parent.
    ParentComm,
    /// Real user id.
    Uid,
    /// The user's name, beside `uid`.
    User,
}

impl Label {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Comm, Self::ParentComm, Self::Uid, Self::User];

    /// As it stands in the configuration and as a Prometheus label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Comm => "comm",
            Self::ParentComm => "parent_comm",
            Self::Uid => "uid",
            Self::User => "user",
        }
    }
}

/// The name of a view of these labels, the `<labels>` in its metrics' names: joined by
/// `_`, without `user`, which only names the `uid` beside it.
pub fn name(labels: &[Label]) -> String {
    let names: Vec<_> = labels
        .iter()
        .filter(|&&label| label != Label::User)
        .map(|label| label.name())
        .collect();
    names.join("_")
}

/// The fields that a view groups by; the others are zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// See [`Label::Comm`].
    pub comm: Comm,
    /// See [`Label::ParentComm`].
    pub parent_comm: Comm,
    /// See [`Label::Uid`].
    pub uid: u32,
}

/// What is counted of each series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Successful execs.
    pub execs: u64,
    /// CPU time of processes that have ended, in nanoseconds.
    pub cpu_ns: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.execs += more.execs;
        self.cpu_ns += more.cpu_ns;
    }
}

/// The counts of a view.
#[derive(Debug)]
pub struct View {
    labels: Vec<Label>,
    max_series: usize,
    /// Hashed with a random seed (the standard library's default): whoever executes
    /// chooses the names.
    series: HashMap<Key, Counts>,
    overflow: Counts,
}

/// A view's counts at a moment.
#[derive(Debug, Clone, Default)]
pub struct ViewCounts {
    /// What it groups by.
    pub labels: Vec<Label>,
    /// Counts by key, in no order.
    pub series: Vec<(Key, Counts)>,
    /// What found no place for a series of its own.
    pub overflow: Counts,
    /// How many series there may be.
    pub max_series: usize,
}

impl View {
    /// A view without any count yet.
    pub fn new(labels: Vec<Label>, max_series: usize) -> Self {
        Self {
            labels,
            max_series,
            series: HashMap::new(),
            overflow: Counts::default(),
        }
    }

    /// Count for the subject under its own series or, if there is none and no place for
    /// it, as overflow.
    pub fn add(&mut self, subject: &Subject, more: Counts) {
        let key = self.key(subject);
        if let Some(counts) = self.series.get_mut(&key) {
            *counts += more;
        } else if self.series.len() < self.max_series {
            self.series.insert(key, more);
        } else {
            self.overflow += more;
        }
    }

    /// The counts as they are now.
    pub fn counts(&self) -> ViewCounts {
        ViewCounts {
            labels: self.labels.clone(),
            series: self.series.iter().map(|(k, v)| (*k, *v)).collect(),
            overflow: self.overflow,
            max_series: self.max_series,
        }
    }

    fn key(&self, subject: &Subject) -> Key {
        let mut key = Key::default();
        for label in &self.labels {
            match label {
                Label::Comm => key.comm = subject.comm,
                Label::ParentComm => key.parent_comm = subject.parent_comm,
                Label::Uid => key.uid = subject.uid,
                Label::User => {} // follows from the uid
            }
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subject(comm: u8, uid: u32) -> Subject {
        let mut subject = Subject {
            uid,
            ..Subject::default()
        };
        subject.comm[0] = comm;
        subject
    }

    fn execs(execs: u64) -> Counts {
        Counts { execs, cpu_ns: 0 }
    }

    #[test]
    fn a_view_is_named_by_its_labels_without_user() {
        assert_eq!(name(&[Label::Comm]), "comm");
        assert_eq!(name(&[Label::Uid, Label::User]), "uid");
        assert_eq!(name(&[Label::ParentComm, Label::Comm]), "parent_comm_comm");
    }

    #[test]
    fn fields_that_a_view_does_not_group_by_do_not_split_its_series() {
        let mut view = View::new(vec![Label::Comm], 10);
        view.add(&subject(b'a', 1), execs(1));
        view.add(&subject(b'a', 2), execs(2));
        assert_eq!(view.counts().series.len(), 1);
        assert_eq!(view.counts().series[0].1, execs(3));
    }

    #[test]
    fn who_came_first_keeps_its_series_when_the_budget_is_spent() {
        let mut view = View::new(vec![Label::Comm], 2);
        for comm in *b"abcdea" {
            view.add(&subject(comm, 0), execs(1));
        }
        let counts = view.counts();
        assert_eq!(counts.series.len(), 2);
        assert_eq!(counts.overflow, execs(3));
        let a = counts.series.iter().find(|(key, _)| key.comm[0] == b'a');
        assert_eq!(a.unwrap().1, execs(2));
    }

    proptest! {
        #[test]
        fn the_sum_over_a_view_is_the_total_and_its_size_within_the_budget(
            observed in proptest::collection::vec(
                (any::<u8>(), 0_u32..50, 0_u64..1000, 0_u64..1000),
                0..300,
            ),
            max_series in 1_usize..40,
            labels in proptest::sample::subsequence(Label::ALL.to_vec(), 1..=Label::ALL.len()),
        ) {
            let mut view = View::new(labels, max_series);
            let mut total = Counts::default();
            for (comm, uid, execs, cpu_ns) in observed {
                let counts = Counts { execs, cpu_ns };
                view.add(&subject(comm, uid), counts);
                total += counts;
            }
            let counts = view.counts();
            let mut sum = counts.overflow;
            for (_, series) in &counts.series {
                sum += *series;
            }
            prop_assert_eq!(sum, total);
            prop_assert!(counts.series.len() <= max_series);
        }
    }
}
