use proptest::prelude::*;

use super::*;

use crate::names::cgroup::Cgroup;
use crate::pipeline::matcher::Condition;
use crate::pipeline::name_cache::Named;
use crate::record::Subject;

mod continuing;
mod failures;
mod naming;
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
    Counts {
        execs,
        cpu_ns: 0,
        ..Counts::default()
    }
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
    view.add(&subject(b'a', 1), Named::default(), NOW, execs(1));
    view.add(&subject(b'a', 2), Named::default(), NOW, execs(2));
    assert_eq!(view.counts().series.len(), 1);
    assert_eq!(view.counts().series[0].counts, execs(3));
}

#[test]
fn the_first_series_keep_their_slots_when_all_are_taken() {
    let mut view = View::new(vec![Label::Comm], 2);
    for comm in *b"abcdea" {
        view.add(&subject(comm, 0), Named::default(), NOW, execs(1));
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
    view.add(&subject(b'a', 0), Named::default(), NOW, execs(1));
    view.add(&subject(b'b', 0), Named::default(), NOW, execs(2));
    view.add(
        &subject(b'a', 0),
        Named::default(),
        NOW + hour / 2,
        execs(1),
    );
    view.show();
    // `b` has been idle for longer than `a`, but not for an hour yet.
    view.add(
        &subject(b'c', 0),
        Named::default(),
        NOW + hour * 3 / 4,
        execs(4),
    );
    let counts = view.counts();
    assert_eq!(execs_of(&counts, b'b'), Some(2));
    assert_eq!(counts.overflow, execs(4));
    view.add(&subject(b'c', 0), Named::default(), NOW + hour, execs(8));
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
    view.add(&subject(b'a', 1), Named::default(), NOW, execs(1));
    view.add(&subject(b'a', 2), Named::default(), NOW * 2, execs(2));
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
    let reserved = SeriesCounts::new(key(b'z'), execs(0), Timestamp::default());
    assert_eq!(view.counts().series, [reserved]);
    for comm in *b"abz" {
        view.add(&subject(comm, 0), Named::default(), NOW, execs(1));
        view.show();
    }
    let counts = view.counts();
    assert_eq!(counts.series.len(), 2);
    assert_eq!(execs_of(&counts, b'z'), Some(1));
    assert_eq!(execs_of(&counts, b'b'), Some(1));
    assert_eq!(counts.yielded, execs(1));
}

#[test]
fn what_a_filter_leaves_out_is_counted_without_a_series_and_takes_no_slot() {
    let units = Condition::of_names(Label::Unit, false, &["*.service"]).unwrap();
    let not_b = Condition::of_names(Label::Comm, true, &["b"]).unwrap();
    let mut view = View::new(vec![Label::Comm], 1).only(Matcher::new(vec![units, not_b]));
    let ssh = Cgroup::of_path(b"/system.slice/ssh.service");
    let user = Cgroup::of_path(b"/user.slice");
    for (comm, cgroup) in [
        (b'x', Some(&user)),
        (b'b', Some(&ssh)),
        (b'y', None),
        (b'a', Some(&ssh)),
        (b'a', Some(&user)),
        (b'c', Some(&ssh)),
    ] {
        view.add(&subject(comm, 0), Named::in_cgroup(cgroup), NOW, execs(1));
    }
    let counts = view.counts();
    assert_eq!(execs_of(&counts, b'a'), Some(1));
    assert_eq!(counts.series.len(), 1);
    assert_eq!((counts.filtered, counts.overflow), (execs(4), execs(1)));
    view.record_other(0, NOW);
    assert_eq!(view.counts().recent_other.counts().sum::<u64>(), 1);
    assert!(view.uses(Label::is_of_cgroup));

    // A new configuration has its own filter, or none.
    let new = View::new(vec![Label::Comm], 2);
    let mut view = new.continuing(view, NOW, &Before::default());
    assert_eq!(view.counts().filtered, execs(4));
    view.add(&subject(b'b', 0), Named::in_cgroup(&ssh), NOW, execs(1));
    assert_eq!(execs_of(&view.counts(), b'b'), Some(1));
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
            let more = Counts { execs, cpu_ns, ..Counts::default() };
            let cgroup = (comm % 10 > 0).then_some(&cgroup);
            let subject = subject(comm, uid);
            view.add(&subject, Named::in_cgroup(cgroup), at(now), more);
            total += more;
            let after = view.counts();
            prop_assert!(after.series.len() <= max_series);

            let own = view.naming.key(&subject, Named::in_cgroup(cgroup));
            let by_key = |counts: &ViewCounts| {
                let series = counts.series.iter();
                series.map(|series| (Key::clone(&series.key), series.counts)).collect::<HashMap<_, _>>()
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
    let before = Before {
        counts: execs(100),
        unattributed: execs(7),
        ..Before::default()
    };
    let mut view = View::new(vec![Label::Comm], 1).beginning_with(&before);
    for (second, comm, unattributed) in [(0, b'a', 7), (1, b'b', 8), (6, b'c', 8), (7, b'a', 8)] {
        view.add(&subject(comm, 0), Named::default(), at(second), execs(1));
        view.record_other(unattributed, at(second));
    }
    let recent: Vec<_> = view.counts().recent_other.counts().collect();
    assert_eq!(recent, [2, 1]);
}
