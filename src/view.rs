//! A view: execs and CPU time by some of a subject's fields, within a budget of series.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::event::{Comm, Subject};

/// By what a view may group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Name of the program, after the exec.
    Comm,
    /// Name of the program's real parent.
    ParentComm,
    /// Real user id.
    Uid,
    /// The user's name.
    User,
    /// systemd's unit.
    Unit,
    /// systemd's slice.
    Slice,
    /// The container's short id.
    Container,
}

impl Label {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Comm,
        Self::ParentComm,
        Self::Uid,
        Self::User,
        Self::Unit,
        Self::Slice,
        Self::Container,
    ];

    /// As it stands in the configuration and as a Prometheus label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Comm => "comm",
            Self::ParentComm => "parent_comm",
            Self::Uid => "uid",
            Self::User => "user",
            Self::Unit => "unit",
            Self::Slice => "slice",
            Self::Container => "container",
        }
    }

    /// Whether it comes from the name of the cgroup.
    pub fn is_of_cgroup(self) -> bool {
        matches!(self, Self::Unit | Self::Slice | Self::Container)
    }
}

/// Those of these labels that tell series apart: beside `uid`, `user` only names it.
pub fn grouping(labels: &[Label]) -> impl Iterator<Item = Label> {
    let by_uid = labels.contains(&Label::Uid);
    let labels = labels.iter().copied();
    labels.filter(move |&label| label != Label::User || !by_uid)
}

/// Whether uids are told apart that no label tells apart.
pub fn is_by_user_alone(labels: &[Label]) -> bool {
    labels.contains(&Label::User) && !labels.contains(&Label::Uid)
}

/// The name of a view of these labels, the `<labels>` in its metrics' names.
pub fn name(labels: &[Label]) -> String {
    let names: Vec<_> = grouping(labels).map(Label::name).collect();
    names.join("_")
}

/// The key of the series with this value of the one label that tells series apart; of a
/// user, the name or the uid. Or what is wrong with it.
pub fn key_of(labels: &[Label], value: &str) -> Result<Key, String> {
    let mut grouping = grouping(labels);
    let (Some(label), None) = (grouping.next(), grouping.next()) else {
        return Err("only a view by one label can have it".to_owned());
    };
    let mut key = Key::default();
    match label {
        Label::Comm => key.comm = comm(value)?,
        Label::ParentComm => key.parent_comm = comm(value)?,
        Label::Uid | Label::User => key.uid = uid(value)?,
        Label::Unit => key.unit = Some(value.as_bytes().into()),
        Label::Slice => key.slice = Some(value.as_bytes().into()),
        Label::Container => key.container = Some(value.as_bytes().into()),
    }
    Ok(key)
}

/// A program's name as the kernel keeps it, or what is wrong with it.
pub fn comm(value: &str) -> Result<Comm, String> {
    let mut comm = Comm::default();
    let kept = comm.len() - 1;
    let Some(bytes) = comm
        .get_mut(..value.len())
        .filter(|bytes| bytes.len() <= kept)
    else {
        return Err(format!(
            "{value:?} has more than the {kept} bytes that the kernel keeps"
        ));
    };
    bytes.copy_from_slice(value.as_bytes());
    Ok(comm)
}

/// The uid of a user, given as it is or by name, or what is wrong with it.
pub fn uid(value: &str) -> Result<u32, String> {
    let named = || uzers::get_user_by_name(value).map(|user| user.uid());
    let uid = value.parse().ok().or_else(named);
    uid.ok_or_else(|| format!("{value:?} is neither a uid nor the name of a user"))
}

/// The fields that a view groups by; the others are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// See [`Label::Comm`].
    pub comm: Comm,
    /// See [`Label::ParentComm`].
    pub parent_comm: Comm,
    /// See [`Label::Uid`] and [`Label::User`].
    pub uid: u32,
    /// See [`Label::Unit`].
    pub unit: Option<Arc<[u8]>>,
    /// See [`Label::Slice`].
    pub slice: Option<Arc<[u8]>>,
    /// See [`Label::Container`].
    pub container: Option<Arc<[u8]>>,
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
    idle_after: Duration,
    /// Those that keep their place whatever comes.
    reserved: HashMap<Key, Counts>,
    /// The others, in the order of their last use. Hashed with a random seed: whoever
    /// executes chooses the names.
    series: LruCache<Key, Series, RandomState>,
    overflow: Counts,
    /// Of series that have given up their place, and of cgroups whose name is not known.
    nameless: Counts,
}

#[derive(Debug)]
struct Series {
    counts: Counts,
    last_used: Duration,
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
    /// What else has no series: those of idle ones that gave up their place, and of cgroups
    /// whose name is not known.
    pub nameless: Counts,
    /// How many series there may be.
    pub max_series: usize,
}

impl View {
    /// A view without any count yet, none of whose series ever gives up its place.
    pub fn new(labels: Vec<Label>, max_series: usize) -> Self {
        Self {
            labels,
            max_series,
            idle_after: Duration::MAX,
            reserved: HashMap::new(),
            series: LruCache::unbounded_with_hasher(RandomState::new()),
            overflow: Counts::default(),
            nameless: Counts::default(),
        }
    }

    /// For how long a series must have been idle before a new one may take its place.
    #[must_use]
    pub fn idle_after(self, idle_after: Duration) -> Self {
        Self { idle_after, ..self }
    }

    /// Series that are there from the start and keep their place.
    #[must_use]
    pub fn reserve(mut self, keys: impl IntoIterator<Item = Key>) -> Self {
        let counts = keys.into_iter().map(|key| (key, Counts::default()));
        self.reserved.extend(counts);
        self
    }

    /// Count for the subject, at this time since some beginning, under its own series or,
    /// if there is none and no place for it, as overflow. `cgroup` is what is known of the
    /// subject's.
    pub fn add(&mut self, subject: &Subject, cgroup: Option<&Cgroup>, now: Duration, more: Counts) {
        let Some(key) = self.key(subject, cgroup) else {
            self.nameless += more;
            return;
        };
        if let Some(counts) = self.reserved.get_mut(&key) {
            *counts += more;
        } else if let Some(series) = self.series.get_mut(&key) {
            series.counts += more;
            series.last_used = now;
        } else if self.has_place(now) {
            let series = Series {
                counts: more,
                last_used: now,
            };
            self.series.put(key, series);
        } else {
            self.overflow += more;
        }
    }

    /// Whether there is a place, made by the series that has been idle for longest if need
    /// be.
    fn has_place(&mut self, now: Duration) -> bool {
        if self.reserved.len() + self.series.len() < self.max_series {
            return true;
        }
        // Uids of one name are one series to others: its counts must not go back.
        if is_by_user_alone(&self.labels) {
            return false;
        }
        let is_idle = |series: &Series| now.saturating_sub(series.last_used) >= self.idle_after;
        if !self
            .series
            .peek_lru()
            .is_some_and(|(_, series)| is_idle(series))
        {
            return false;
        }
        if let Some((_, idle)) = self.series.pop_lru() {
            self.nameless += idle.counts;
        }
        true
    }

    /// The counts as they are now.
    pub fn counts(&self) -> ViewCounts {
        let reserved = self.reserved.iter().map(|(k, v)| (k.clone(), *v));
        let others = self.series.iter().map(|(k, v)| (k.clone(), v.counts));
        ViewCounts {
            labels: self.labels.clone(),
            series: reserved.chain(others).collect(),
            overflow: self.overflow,
            nameless: self.nameless,
            max_series: self.max_series,
        }
    }

    /// None if the view is by cgroup and the subject's is not known.
    fn key(&self, subject: &Subject, cgroup: Option<&Cgroup>) -> Option<Key> {
        let mut key = Key::default();
        for label in &self.labels {
            match label {
                Label::Comm => key.comm = subject.comm,
                Label::ParentComm => key.parent_comm = subject.parent_comm,
                Label::Uid | Label::User => key.uid = subject.uid,
                Label::Unit => key.unit = Some(Arc::clone(&cgroup?.unit)),
                Label::Slice => key.slice = Some(Arc::clone(&cgroup?.slice)),
                Label::Container => key.container = Some(Arc::clone(&cgroup?.container)),
            }
        }
        Some(key)
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

    const NOW: Duration = Duration::from_secs(100);

    fn execs_of(counts: &ViewCounts, comm: u8) -> Option<u64> {
        let mut series = counts.series.iter();
        let found = series.find(|(key, _)| key.comm[0] == comm);
        found.map(|(_, counts)| counts.execs)
    }

    #[test]
    fn a_view_is_named_by_its_labels_without_a_user_beside_its_uid() {
        assert_eq!(name(&[Label::Comm]), "comm");
        assert_eq!(name(&[Label::Uid, Label::User]), "uid");
        assert_eq!(name(&[Label::User]), "user");
        assert_eq!(name(&[Label::ParentComm, Label::Comm]), "parent_comm_comm");
    }

    #[test]
    fn fields_that_a_view_does_not_group_by_do_not_split_its_series() {
        let mut view = View::new(vec![Label::Comm], 10);
        view.add(&subject(b'a', 1), None, NOW, execs(1));
        view.add(&subject(b'a', 2), None, NOW, execs(2));
        assert_eq!(view.counts().series.len(), 1);
        assert_eq!(view.counts().series[0].1, execs(3));
    }

    #[test]
    fn who_came_first_keeps_its_series_when_the_budget_is_spent() {
        let mut view = View::new(vec![Label::Comm], 2);
        for comm in *b"abcdea" {
            view.add(&subject(comm, 0), None, NOW, execs(1));
        }
        let counts = view.counts();
        assert_eq!(counts.series.len(), 2);
        assert_eq!(counts.overflow, execs(3));
        assert_eq!(execs_of(&counts, b'a'), Some(2));
    }

    #[test]
    fn an_idle_series_gives_up_its_place_only_when_another_wants_it() {
        let hour = Duration::from_secs(3600);
        let mut view = View::new(vec![Label::Comm], 2).idle_after(hour);
        view.add(&subject(b'a', 0), None, NOW, execs(1));
        view.add(&subject(b'b', 0), None, NOW, execs(2));
        view.add(&subject(b'a', 0), None, NOW + hour / 2, execs(1));
        // b has been idle for longer than a, but not for an hour yet.
        view.add(&subject(b'c', 0), None, NOW + hour * 3 / 4, execs(4));
        let counts = view.counts();
        assert_eq!(execs_of(&counts, b'b'), Some(2));
        assert_eq!(counts.overflow, execs(4));
        view.add(&subject(b'c', 0), None, NOW + hour, execs(8));
        let counts = view.counts();
        assert_eq!(execs_of(&counts, b'a'), Some(2));
        assert_eq!(execs_of(&counts, b'b'), None);
        assert_eq!(execs_of(&counts, b'c'), Some(8));
        assert_eq!(counts.nameless, execs(2));
        assert_eq!(counts.overflow, execs(4));
    }

    #[test]
    fn in_a_view_by_user_alone_no_series_gives_up_its_place() {
        let mut view = View::new(vec![Label::User], 1).idle_after(Duration::ZERO);
        view.add(&subject(b'a', 1), None, NOW, execs(1));
        view.add(&subject(b'a', 2), None, NOW * 2, execs(2));
        let counts = view.counts();
        assert_eq!((counts.overflow, counts.nameless), (execs(2), execs(0)));
    }

    #[test]
    fn a_reserved_series_is_there_from_the_start_and_keeps_its_place() {
        let key = |comm| Key {
            comm: subject(comm, 0).comm,
            ..Key::default()
        };
        let mut view = View::new(vec![Label::Comm], 2)
            .idle_after(Duration::ZERO)
            .reserve([key(b'z')]);
        assert_eq!(view.counts().series, [(key(b'z'), execs(0))]);
        for comm in *b"abz" {
            view.add(&subject(comm, 0), None, NOW, execs(1));
        }
        let counts = view.counts();
        assert_eq!(counts.series.len(), 2);
        assert_eq!(execs_of(&counts, b'z'), Some(1));
        assert_eq!(execs_of(&counts, b'b'), Some(1));
        assert_eq!(counts.nameless, execs(1));
    }

    #[test]
    fn a_reserved_key_is_the_one_that_its_subject_has() {
        let key = |labels: &[Label], value| key_of(labels, value).unwrap();
        let cgroup = Cgroup::of_path(b"/system.slice/ssh.service");
        let mut sshd = subject(0, 0);
        sshd.comm[..4].copy_from_slice(b"sshd");
        for (labels, value) in [
            (vec![Label::Comm], "sshd"),
            (vec![Label::Uid], "0"),
            (vec![Label::Uid, Label::User], "root"),
            (vec![Label::User], "root"),
            (vec![Label::Unit], "ssh.service"),
            (vec![Label::Slice], "system.slice"),
        ] {
            let reserved = key(&labels, value);
            let view = View::new(labels, 1);
            assert_eq!(view.key(&sshd, Some(&cgroup)), Some(reserved));
        }
    }

    #[test]
    fn a_cgroup_without_a_known_name_has_no_series() {
        let mut view = View::new(vec![Label::Unit], 2);
        view.add(&subject(b'a', 0), None, NOW, execs(1));
        let cgroup = Cgroup::of_path(b"/system.slice/ssh.service");
        view.add(&subject(b'a', 0), Some(&cgroup), NOW, execs(2));
        view.add(
            &subject(b'a', 0),
            Some(&Cgroup::of_path(b"/")),
            NOW,
            execs(4),
        );
        let counts = view.counts();
        assert_eq!(counts.nameless, execs(1));
        let mut series: Vec<_> = counts
            .series
            .iter()
            .map(|(k, v)| (k.unit.clone().unwrap(), v.execs))
            .collect();
        series.sort();
        assert_eq!(
            series,
            [
                (b"".as_slice().into(), 4),
                (b"ssh.service".as_slice().into(), 2)
            ]
        );
    }

    proptest! {
        #[test]
        fn the_sum_over_a_view_is_the_total_and_its_size_within_the_budget(
            observed in proptest::collection::vec(
                (any::<u8>(), 0_u32..50, 0_u64..1000, 0_u64..1000, 0_u64..200),
                0..300,
            ),
            max_series in 1_usize..40,
            idle_after in 0_u64..200,
            labels in proptest::sample::subsequence(Label::ALL.to_vec(), 1..=Label::ALL.len()),
        ) {
            let idle_after = Duration::from_secs(idle_after);
            let mut view = View::new(labels, max_series).idle_after(idle_after);
            let cgroup = Cgroup::of_path(b"/system.slice/ssh.service");
            let mut total = Counts::default();
            for (comm, uid, execs, cpu_ns, time) in observed {
                let counts = Counts { execs, cpu_ns };
                let cgroup = comm.is_multiple_of(2).then_some(&cgroup);
                view.add(&subject(comm, uid), cgroup, Duration::from_secs(time), counts);
                total += counts;
            }
            let counts = view.counts();
            let mut sum = counts.overflow;
            sum += counts.nameless;
            for (_, series) in &counts.series {
                sum += *series;
            }
            prop_assert_eq!(sum, total);
            prop_assert!(counts.series.len() <= max_series);
        }
    }
}
