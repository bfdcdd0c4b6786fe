use proptest::prelude::*;

use super::*;

mod scrapes;

/// A subject whose program's name is one letter.
pub(super) fn subject(comm: u8, uid: u32) -> Subject {
    let mut subject = Subject {
        uid,
        ..Subject::default()
    };
    subject.comm[0] = comm;
    subject
}

pub(super) fn execs(execs: u64) -> Counts {
    Counts { execs, cpu_ns: 0 }
}

pub(super) const NOW: Duration = Duration::from_secs(100);

pub(super) fn execs_of(counts: &ViewCounts, comm: u8) -> Option<u64> {
    let mut series = counts.series.iter();
    let found = series.find(|series| series.key.comm[0] == comm);
    found.map(|series| series.counts.execs)
}

#[test]
fn a_view_is_named_by_its_labels_except_user_if_uid_is_among_them() {
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
    assert_eq!(view.counts().series[0].counts, execs(3));
}

#[test]
fn the_first_series_keep_their_slots_when_all_are_taken() {
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
fn an_idle_series_is_evicted_only_by_a_new_one() {
    let hour = Duration::from_secs(3600);
    let mut view = View::new(vec![Label::Comm], 2).idle_after(hour);
    view.add(&subject(b'a', 0), None, NOW, execs(1));
    view.add(&subject(b'b', 0), None, NOW, execs(2));
    view.add(&subject(b'a', 0), None, NOW + hour / 2, execs(1));
    view.show();
    // `b` has been idle for longer than `a`, but not for an hour yet.
    view.add(&subject(b'c', 0), None, NOW + hour * 3 / 4, execs(4));
    let counts = view.counts();
    assert_eq!(execs_of(&counts, b'b'), Some(2));
    assert_eq!(counts.overflow, execs(4));
    view.add(&subject(b'c', 0), None, NOW + hour, execs(8));
    let counts = view.counts();
    assert_eq!(execs_of(&counts, b'a'), Some(2));
    assert_eq!(execs_of(&counts, b'b'), None);
    assert_eq!(execs_of(&counts, b'c'), Some(8));
    assert_eq!(counts.yielded, execs(2));
    assert_eq!(counts.overflow, execs(4));
}

#[test]
fn in_a_view_by_user_alone_no_series_is_evicted() {
    let mut view = View::new(vec![Label::User], 1).idle_after(Duration::ZERO);
    view.add(&subject(b'a', 1), None, NOW, execs(1));
    view.add(&subject(b'a', 2), None, NOW * 2, execs(2));
    let counts = view.counts();
    assert_eq!((counts.overflow, counts.yielded), (execs(2), execs(0)));
}

#[test]
fn a_reserved_series_exists_from_the_start_and_is_never_evicted() {
    let key = |comm| Key {
        comm: subject(comm, 0).comm,
        ..Key::default()
    };
    let mut view = View::new(vec![Label::Comm], 2)
        .idle_after(Duration::ZERO)
        .reserve([key(b'z')]);
    let reserved = SeriesCounts {
        key: key(b'z'),
        counts: execs(0),
        start: Timestamp::default(),
    };
    assert_eq!(view.counts().series, [reserved]);
    for comm in *b"abz" {
        view.add(&subject(comm, 0), None, NOW, execs(1));
        view.show();
    }
    let counts = view.counts();
    assert_eq!(counts.series.len(), 2);
    assert_eq!(execs_of(&counts, b'z'), Some(1));
    assert_eq!(execs_of(&counts, b'b'), Some(1));
    assert_eq!(counts.yielded, execs(1));
}

#[test]
fn a_reserved_key_equals_the_key_of_its_subject() {
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
        assert_eq!(view.key(&sshd, Some(&cgroup)), reserved);
    }
}

#[test]
fn an_unknown_cgroup_affects_only_the_labels_that_come_from_it() {
    let mut view = View::new(vec![Label::Unit, Label::Comm], 3);
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
    let mut series: Vec<_> = counts
        .series
        .iter()
        .map(|series| {
            assert_eq!(series.key.comm, subject(b'a', 0).comm);
            (series.key.unit.clone().unwrap(), series.counts.execs)
        })
        .collect();
    series.sort();
    assert_eq!(
        series,
        [
            (b"".as_slice().into(), 4),
            (b"ssh.service".as_slice().into(), 2),
            (b"unknown".as_slice().into(), 1)
        ]
    );
}

/// A time in seconds since the start.
fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

proptest! {
    /// Each count is added exactly once, to a series or to the overflow, and stays there until its
    /// series is evicted. What a scrape has shown of that series is then yielded, and the rest moves
    /// to the overflow.
    #[test]
    fn counts_only_go_up_and_none_moves_that_a_scrape_has_shown(
        observed in proptest::collection::vec(
            (0_u8..60, 0_u32..5, 0_u64..3, 0_u64..1000, 0_u64..20, any::<bool>()),
            0..400,
        ),
        max_series in 1_usize..40,
        idle_after in 0_u64..200,
        share in 0.1..=1.0,
        labels in proptest::sample::subsequence(Label::ALL.to_vec(), 1..=Label::ALL.len()),
    ) {
        let mut view = View::new(labels, max_series).idle_after(at(idle_after)).user_share(share);
        let cgroup = Cgroup::of_path(b"/system.slice/ssh.service");
        let (mut total, mut now) = (Counts::default(), 0);
        let mut before = view.counts();
        // The counts of the series in the last scrape, without those evicted since.
        let mut shown: HashMap<Key, Counts> = HashMap::new();
        for (comm, uid, execs, cpu_ns, passed, is_scraped) in observed {
            now += passed;
            let more = Counts { execs, cpu_ns };
            let cgroup = (comm % 10 > 0).then_some(&cgroup);
            let subject = subject(comm, uid);
            view.add(&subject, cgroup, at(now), more);
            total += more;
            let after = view.counts();
            prop_assert!(after.series.len() <= max_series);

            let own = view.key(&subject, cgroup);
            let by_key = |counts: &ViewCounts| {
                let series = counts.series.iter();
                series.map(|series| (series.key.clone(), series.counts)).collect::<HashMap<_, _>>()
            };
            let (old, new) = (by_key(&before), by_key(&after));
            let (mut expected_yielded, mut expected_other) = (before.yielded, before.overflow);
            for (key, counts) in &old {
                match new.get(key) {
                    None => {
                        let shown = shown.remove(key).unwrap_or_default();
                        expected_yielded += shown;
                        expected_other += *counts - shown;
                    }
                    Some(now) => prop_assert!(own == *key || now == counts),
                }
            }
            prop_assert!(new.keys().all(|key| own == *key || old.contains_key(key)));
            let of_own = |series: &HashMap<_, _>| series.get(&own).copied().unwrap_or_default();
            let added = of_own(&new) - of_own(&old);
            if shown.contains_key(&own) {
                prop_assert_eq!(added, more);
            }
            expected_other += more - added;
            prop_assert_eq!(after.yielded, expected_yielded);
            prop_assert_eq!(after.overflow, expected_other);

            let mut sum = after.overflow;
            sum += after.yielded;
            for series in &after.series {
                sum += series.counts;
            }
            prop_assert_eq!(sum, total);
            if is_scraped {
                view.show();
                shown = new;
            }
            before = after;
        }
    }
}

#[test]
fn execs_without_a_series_are_recorded_by_time_once() {
    let mut view = View::new(vec![Label::Comm], 1).beginning_with(execs(100), execs(7));
    for (second, comm, unattributed) in [(0, b'a', 7), (1, b'b', 8), (6, b'c', 8), (7, b'a', 8)] {
        view.add(&subject(comm, 0), None, at(second), execs(1));
        view.record_other(unattributed, at(second));
    }
    let recent: Vec<_> = view.counts().recent_other.counts().collect();
    assert_eq!(recent, [2, 1]);
}

#[test]
fn a_view_with_other_settings_takes_over_the_counts() {
    let by_comm = |max_series| View::new(vec![Label::Comm], max_series);
    let key = |comm: &str| key_of(&[Label::Comm], comm).unwrap();
    let mut view = by_comm(3).reserve([key("a")]);
    for comm in *b"abcd" {
        view.add(&subject(comm, 0), None, NOW, execs(1));
    }
    let series = |view: &View| {
        let counts = view.counts();
        (*b"abcde").map(|comm| execs_of(&counts, comm))
    };
    let one = Some(1);
    assert_eq!(series(&view), [one, one, one, None, None]);

    // More slots, and `b` is reserved in place of `a`.
    let mut view = by_comm(4).reserve([key("b")]).continuing(view, NOW);
    view.add(&subject(b'd', 0), None, NOW, execs(1));
    assert_eq!(series(&view), [one, one, one, one, None]);
    assert_eq!(view.counts().overflow, execs(1));

    // Fewer slots than series: idle series are evicted, but only when a new one arrives.
    let mut view = by_comm(2).idle_after(NOW).continuing(view, NOW);
    view.show();
    assert_eq!(series(&view), [one, one, one, one, None]);
    view.add(&subject(b'd', 0), None, NOW * 2, execs(1));
    view.add(&subject(b'e', 0), None, NOW * 2, execs(1));
    assert_eq!(series(&view), [None, None, None, Some(2), one]);
    assert_eq!(view.counts().yielded, execs(3));
    assert_eq!(view.counts().overflow, execs(1));
}
