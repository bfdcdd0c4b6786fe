//! The names under which a view counts.

use super::*;

use crate::names::own_label::{OwnLabel, OwnLabels};

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
        assert_eq!(naming.key(&sshd, Named::in_cgroup(&cgroup)), reserved);
    }
}

#[test]
fn an_unknown_cgroup_affects_only_the_labels_that_come_from_it() {
    let mut view = View::new(vec![Label::Unit, Label::Comm], 3);
    view.add(&subject(b'a', 0), Named::default(), NOW, execs(1));
    let cgroup = Cgroup::of_path(b"/system.slice/ssh.service");
    view.add(&subject(b'a', 0), Named::in_cgroup(&cgroup), NOW, execs(2));
    view.add(
        &subject(b'a', 0),
        Named::in_cgroup(&Cgroup::of_path(b"/")),
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
            view.add(&subject(b'x', 0), Named::in_cgroup(&cgroup), NOW, execs(1));
        }
        view.add(&subject(b'x', 0), Named::default(), NOW, execs(1));
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
        view.add(&subject(comm, 0), Named::in_cgroup(cgroup), NOW, execs(1));
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

#[test]
fn a_group_cannot_make_the_value_of_unknown_cgroups() {
    let rules = Rules::compile([("^x-(.*)[.]service$", "$1")], 15).unwrap();
    let mut naming = Naming::by(vec![Label::Unit]);
    naming.rename(Label::Unit, rules);
    for (path, unit) in [("x-known", "known"), ("x-unknown", "x-unknown.service")] {
        let cgroup = Cgroup::of_path(format!("/system.slice/{path}.service").as_bytes());
        let key = naming.key(&subject(b'a', 0), Named::in_cgroup(&cgroup));
        assert_eq!(key.unit.as_deref(), Some(unit.as_bytes()));
    }
}

#[test]
fn reserved_series_have_their_new_names() {
    let key = |name| key_of(&[Label::Comm], name).unwrap();
    let rules = Rules::compile([("^(.*)-[0-9]+$", "$1")], 15).unwrap();
    let mut view = View::new(vec![Label::Comm], 2)
        .renaming(Label::Comm, rules)
        .reserve(["job-1", "job", "job-2"].map(key));
    let series = |view: &View| {
        let series = view.counts().series;
        assert_eq!(series.len(), 1);
        (Key::clone(&series[0].key), series[0].counts)
    };
    assert_eq!(series(&view), (key("job"), execs(0)));
    let mut subject = Subject::default();
    subject.comm[..5].copy_from_slice(b"job-7");
    view.add(&subject, Named::default(), NOW, execs(1));
    assert_eq!(series(&view), (key("job"), execs(1)));
}

#[test]
fn a_file_is_counted_by_its_name_and_no_name_becomes_unknown() {
    let rules = Rules::compile([("^python3.*$", "python3"), ("^gone$", "")], 255).unwrap();
    let mut view = View::new(vec![Label::Exe], 9).renaming(Label::Exe, rules);
    let mut count = |exe: Option<&[u8]>, n| {
        let exe = exe.map(Arc::from);
        let names = Named {
            exe: exe.as_ref(),
            cgroup: None,
        };
        view.add(&subject(b'a', 0), names, NOW, execs(n));
    };
    count(Some(b"python3.11"), 1);
    count(Some(b"python3.12"), 2);
    count(Some(b"gone"), 4);
    count(None, 8);
    let series = view.counts().series;
    let mut counted: Vec<_> = series
        .iter()
        .map(|of| (of.key.name_of(&Label::Exe, &[Label::Exe]), of.counts.execs))
        .collect();
    counted.sort_unstable();
    assert_eq!(counted, [(&b""[..], 8), (b"gone", 4), (b"python3", 3)]);
}
