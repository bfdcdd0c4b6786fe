use std::sync::Arc;

use super::*;

fn subject(comm: &[u8], uid: u32) -> Subject {
    let mut subject = Subject {
        uid,
        ..Subject::default()
    };
    subject.comm[..comm.len()].copy_from_slice(comm);
    subject
}

fn of(label: Label, is_negated: bool, patterns: &[&str]) -> Condition {
    Condition::of_names(label, is_negated, patterns).unwrap()
}

#[test]
fn all_conditions_have_to_hold() {
    let matcher = Matcher::new(vec![
        of(Label::Comm, false, &["*sh", "perl"]),
        of(Label::ParentComm, true, &["containerd-shim"]),
        Condition::of_uids(Label::Uid, false, vec![33..=33, 1000..=65535]),
    ]);
    let does_match =
        |comm: &str, uid| matcher.matches(&subject(comm.as_bytes(), uid), Named::default());
    assert!(does_match("bash", 1000));
    assert!(does_match("perl", 33));
    assert!(!does_match("bash", 999));
    assert!(!does_match("shell", 1000));
    let mut probe = subject(b"sh", 33);
    probe.parent_comm[..15].copy_from_slice(b"containerd-shim");
    assert!(!matcher.matches(&probe, Named::default()));
}

#[test]
fn facts_and_logins_are_compared_as_the_kernel_side_has_them() {
    let mut memfd = subject(b"sh", 0);
    memfd.origin = 1;
    memfd.facts = 0x40 | 0x08; // injected, with a terminal
    memfd.login = 1001;
    let fact = |fact: Fact, text: &str| {
        let value = parse::fact(fact, text).unwrap();
        Matcher::new(vec![Condition::of_fact(fact, false, vec![value])])
    };
    let login = |uid| {
        let condition = Condition::of_uids(Label::Loginuid, false, vec![uid..=uid]);
        Matcher::new(vec![condition])
    };
    let nobody = subject(b"sh", 0);
    for (matcher, of_memfd, of_nobody) in [
        (fact(Fact::Origin, "unlinked"), true, false),
        (fact(Fact::Origin, ""), false, true),
        (fact(Fact::Entry, "injected"), true, false),
        (fact(Fact::Tty, "true"), true, false),
        (fact(Fact::Elevated, "false"), true, true),
        (login(1000), true, false),
        (login(0), false, false),
        (login(NO_LOGIN), false, true),
    ] {
        let matches = [&memfd, &nobody].map(|subject| matcher.matches(subject, Named::default()));
        assert_eq!(matches, [of_memfd, of_nobody], "{matcher:?}");
    }
    assert!(fact(Fact::Origin, "tmpfs").excludes(&Label::Fact(Fact::Origin), b"unlinked"));
    assert!(!fact(Fact::Origin, "tmpfs").excludes(&Label::Fact(Fact::Origin), b"tmpfs"));
    assert!(login(1000).excludes(&Label::Loginuid, b""));
}

#[test]
fn a_label_of_a_cgroup_can_be_empty_or_unknown() {
    let unit = |pattern| Matcher::new(vec![of(Label::Unit, false, &[pattern])]);
    let ssh = Cgroup::of_path(b"/system.slice/ssh.service");
    let none = Cgroup::of_path(b"/");
    let any = subject(b"sh", 0);
    for (pattern, cgroup, is_match) in [
        ("ssh", Some(&ssh), true),
        ("ssh", None, false),
        ("s*", Some(&ssh), true),
        ("", Some(&none), true),
        ("", Some(&ssh), false),
        ("", None, false),
        ("unknown", None, true),
        ("unknown", Some(&none), false),
        ("*", None, true),
    ] {
        let matches = unit(pattern).matches(&any, Named::in_cgroup(cgroup));
        assert_eq!(matches, is_match, "{pattern} {cgroup:?}");
    }
}

#[test]
fn the_name_of_a_file_can_be_unknown_or_the_word_for_it() {
    let exe = |pattern| Matcher::new(vec![of(Label::Exe, false, &[pattern])]);
    let any = subject(b"sh", 0);
    let names = [&b"unknown"[..], b"python3.11"].map(Arc::from);
    let [word, python] = [0, 1].map(|n| Named {
        exe: Some(&names[n]),
        cgroup: None,
    });
    for (pattern, names, is_match) in [
        ("unknown", Named::default(), true),
        ("unknown", word, false),
        ("\\x75nknown", word, true),
        ("python3.*", python, true),
        ("python3.11", python, true),
        ("python3", python, false),
        ("python*", Named::default(), false),
    ] {
        assert_eq!(exe(pattern).matches(&any, names), is_match, "{pattern}");
    }
}

#[test]
fn a_pattern_that_can_never_match_is_refused() {
    for (label, pattern, says) in [
        (Label::Comm, "/bin/sh", "use the program's name, \"sh\""),
        (Label::Exe, "/bin/sh", "use the name of the file, \"sh\""),
        (Label::Exe, "/bin/*", "use the name of the file, \"*\""),
        (Label::Exe, "", "no file has an empty name"),
        (
            Label::Comm,
            "containerd-shim-*",
            "no value has more than 15 bytes",
        ),
        (
            Label::ParentComm,
            "containerd-shim-runc-v2",
            "use \"containerd-shim\"",
        ),
        (Label::Unit, "backup-*.timer", "not with .timer"),
        (Label::Unit, "a[bc].service", "the wildcards are * and ?"),
        (Label::Unit, "getty@", "only its instances have processes"),
        (Label::Slice, "*.service", "a slice ends with .slice"),
        (Label::Container, "web", "is not a container ID"),
    ] {
        let error = Condition::of_names(label, false, &[pattern]).expect_err(pattern);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn only_equal_matchers_have_equal_definitions() {
    let sh = || of(Label::Comm, false, &["sh", "a*"]);
    let uids = |uids| Condition::of_uids(Label::Uid, false, vec![uids]);
    let reordered = of(Label::Comm, false, &["a*", "sh", "a*"]);
    let same = [
        vec![sh(), uids(0..=9)],
        vec![uids(0..=9), sh()],
        vec![reordered, uids(0..=9)],
    ];
    let [a, b, c] = same.map(|conditions| Matcher::new(conditions).definition());
    assert_eq!([&a, &a], [&b, &c]);
    let others = [
        vec![sh()],
        vec![of(Label::Comm, true, &["sh", "a*"]), uids(0..=9)],
        vec![of(Label::Comm, false, &["sh", "a\\x2a"]), uids(0..=9)],
        vec![of(Label::Comm, false, &["sh\", \"a*"]), uids(0..=9)],
        vec![of(Label::ParentComm, false, &["sh", "a*"]), uids(0..=9)],
        vec![sh(), uids(0..=8)],
    ];
    for other in others {
        assert_ne!(Matcher::new(other).definition(), a);
    }
}
