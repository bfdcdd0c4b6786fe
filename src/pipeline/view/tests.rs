use proptest::prelude::*;

use super::*;

use crate::names::own_label::{OwnLabel, OwnLabels};
use crate::pipeline::matcher::Condition;

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
        key: key(b'z').into(),
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
    let own = OwnLabel::new("service", "/([a-z]*)\\.service");
    let labels = OwnLabels::compile([own.clone()]).unwrap();
    let own = Label::Own(own);
    let cgroup = Cgroup::labelled(b"/system.slice/ssh.service", &labels);
    let mut sshd = subject(0, 0);
    sshd.comm[..4].copy_from_slice(b"sshd");
    for (labels, value) in [
        (vec![Label::Comm], "sshd"),
        (vec![Label::Uid], "0"),
        (vec![Label::Uid, Label::User], "root"),
        (vec![Label::User], "root"),
        (vec![Label::Unit], "ssh.service"),
        (vec![Label::Slice], "system.slice"),
        (vec![Label::PodUid], ""),
        (vec![own], "ssh"),
    ] {
        let reserved = key(&labels, value);
        let mut naming = Naming::by(labels);
        assert_eq!(naming.key(&sshd, Some(&cgroup)), reserved);
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

/// The labels `a` and `b` of the configuration.
fn own_labels() -> [OwnLabel; 2] {
    [
        OwnLabel::new("a", "/a_([0-9]+)"),
        OwnLabel::new("b", "/b_([0-9]+)"),
    ]
}

#[test]
fn labels_of_the_configuration_distinguish_series_in_any_order() {
    let [a, b] = own_labels();
    let labels = OwnLabels::compile([a.clone(), b.clone()]).unwrap();
    for order in [[a.clone(), b.clone()], [b, a]] {
        let order = order.map(Label::Own).to_vec();
        let mut view = View::new(order.clone(), 9);
        for path in [&b"/a_1/b_2"[..], b"/b_2/a_1", b"/a_1", b"/a_2/b_1"] {
            let cgroup = Cgroup::labelled(path, &labels);
            view.add(&subject(b'x', 0), Some(&cgroup), NOW, execs(1));
        }
        view.add(&subject(b'x', 0), None, NOW, execs(1));
        let counts = view.counts();
        let mut series: Vec<_> = counts
            .series
            .iter()
            .map(|series| {
                let value = |label| String::from_utf8(series.key.name_of(label, &order).into());
                (
                    order.iter().map(|l| value(l).unwrap()).collect(),
                    series.counts.execs,
                )
            })
            .map(|(values, execs): (Vec<_>, _)| (values.join(" "), execs))
            .collect();
        series.sort();
        let is_reversed = order[0].name() == "b";
        let name = |a: &str, b: &str| {
            if is_reversed {
                format!("{b} {a}")
            } else {
                format!("{a} {b}")
            }
        };
        let mut expected = vec![
            (name("1", "2"), 2),
            (name("1", ""), 1),
            (name("2", "1"), 1),
            ("unknown unknown".to_owned(), 1),
        ];
        expected.sort();
        assert_eq!(series, expected);
    }
}

#[test]
fn a_view_with_another_definition_of_a_label_is_another_view() {
    let own = |pattern| vec![Label::Comm, Label::Own(OwnLabel::new("a", pattern))];
    let view = View::new(own("/a_([0-9]+)"), 9);
    assert!(view.has_labels(&own("/a_([0-9]+)")));
    assert!(!view.has_labels(&own("/a-([0-9]+)")));
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
        view.add(&subject(comm, 0), cgroup, NOW, execs(1));
    }
    let counts = view.counts();
    assert_eq!(execs_of(&counts, b'a'), Some(1));
    assert_eq!(counts.series.len(), 1);
    assert_eq!((counts.filtered, counts.overflow), (execs(4), execs(1)));
    view.record_other(0, NOW);
    assert_eq!(view.counts().recent_other.counts().sum::<u64>(), 1);
    assert!(view.is_by_cgroup());

    // A new configuration has its own filter, or none.
    let new = View::new(vec![Label::Comm], 2);
    let mut view = new.continuing(view, NOW, Default::default());
    assert_eq!(view.counts().filtered, execs(4));
    view.add(&subject(b'b', 0), Some(&ssh), NOW, execs(1));
    assert_eq!(execs_of(&view.counts(), b'b'), Some(1));
}

#[test]
fn names_that_become_one_have_one_series() {
    let job = OwnLabel::new("job", "/job_([0-9]+)");
    let labels = vec![
        Label::Comm,
        Label::ParentComm,
        Label::Unit,
        Label::Own(job.clone()),
        Label::Uid,
    ];
    let rules = |pattern, new| Rules::compile([(pattern, new)], 15).unwrap();
    let mut view = View::new(labels.clone(), 9)
        .renaming(Label::Comm, rules("^[ab]$", "letter"))
        .renaming(Label::ParentComm, rules("^$", "-"))
        .renaming(
            Label::Unit,
            rules("^user@[0-9]+[.]service$|unknown", "user@*"),
        )
        .renaming(Label::Own(job.clone()), rules("[0-9]$", "x"));
    let own = OwnLabels::compile([job]).unwrap();
    let cgroups = [
        "/user.slice/user@1.service/job_12",
        "/user.slice/user@2.service/job_13",
    ]
    .map(|path| Cgroup::labelled(path.as_bytes(), &own));
    for (comm, cgroup) in [
        (b'a', Some(&cgroups[0])),
        (b'b', Some(&cgroups[1])),
        (b'c', None),
    ] {
        view.add(&subject(comm, 0), cgroup, NOW, execs(1));
    }
    let series = view.counts().series;
    let mut series: Vec<_> = series
        .iter()
        .map(|of| {
            let values = labels[..4]
                .iter()
                .map(|label| of.key.name_of(label, &labels));
            let values = values.map(|value| String::from_utf8_lossy(value).into_owned());
            (values.collect::<Vec<_>>(), of.counts.execs)
        })
        .collect();
    series.sort();
    // The values for a cgroup that is not known stay as they are.
    assert_eq!(
        series,
        [
            (
                ["c", "-", "unknown", "unknown"].map(str::to_owned).to_vec(),
                1
            ),
            (
                ["letter", "-", "user@*", "1x"].map(str::to_owned).to_vec(),
                2
            ),
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
            let more = Counts { execs, cpu_ns, ..Counts::default() };
            let cgroup = (comm % 10 > 0).then_some(&cgroup);
            let subject = subject(comm, uid);
            view.add(&subject, cgroup, at(now), more);
            total += more;
            let after = view.counts();
            prop_assert!(after.series.len() <= max_series);

            let own = view.naming.key(&subject, cgroup);
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
    let mut view = by_comm(4)
        .reserve([key("b")])
        .continuing(view, NOW, Default::default());
    view.add(&subject(b'd', 0), None, NOW, execs(1));
    assert_eq!(series(&view), [one, one, one, one, None]);
    assert_eq!(view.counts().overflow, execs(1));

    // Fewer slots than series: idle series are evicted, but only when a new one arrives.
    let mut view = by_comm(2)
        .idle_after(NOW)
        .continuing(view, NOW, Default::default());
    view.show();
    assert_eq!(series(&view), [one, one, one, one, None]);
    view.add(&subject(b'd', 0), None, NOW * 2, execs(1));
    view.add(&subject(b'e', 0), None, NOW * 2, execs(1));
    assert_eq!(series(&view), [None, None, None, Some(2), one]);
    assert_eq!(view.counts().yielded, execs(3));
    assert_eq!(view.counts().overflow, execs(1));
}
