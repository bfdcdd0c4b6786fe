use super::*;

fn watch(keys: &str) -> String {
    format!("[[watch]]\nname = \"w\"\n{keys}\n")
}

#[test]
fn an_invalid_watch_is_refused_with_its_line_its_key_and_what_would_be_right() {
    let twice = "[[watch]]\nname = \"w\"\ncomm = [\"sh\"]\n".repeat(2);
    for (text, expected) in [
        (
            twice,
            "x.toml:5: watch.1.name: an earlier [[watch]] already has the name \"w\"",
        ),
        (
            watch("log = true"),
            "x.toml:2: watch.0.name: the watch \"w\" needs a condition on a label, such as \
             comm = [\"sh\", \"*sh\"]; execsnoop_execs_total counts all execs",
        ),
        (
            "[[watch]]\ncomm = [\"sh\"]\n".to_owned(),
            "x.toml:1: watch.0.name: a watch needs a name, which is the value of the label `watch`",
        ),
        (
            watch("cmom = [\"sh\"]"),
            "x.toml:3: watch.0.cmom: there is no label `cmom`; did you mean `comm`? Define it in a \
             [[label]], or use one of comm, exe, parent_comm, uid, user, unit, slice, container, pod_uid, \
             entry, origin, elevated, tty, loginuid, login_user",
        ),
        (
            watch("comm = []"),
            "x.toml:3: watch.0.comm: needs at least one value",
        ),
        (
            watch("not_comm = \"sh\""),
            "x.toml:3: watch.0.not_comm: `\"sh\"` is not a list; write [\"sh\"]",
        ),
        (
            watch("comm = [7]"),
            "x.toml:3: watch.0.comm: `7` is not a string; write \"7\"",
        ),
        (
            watch("uid = [\"2000-1000\"]"),
            "x.toml:3: watch.0.uid: the range \"2000-1000\" is empty; write \"1000-2000\"",
        ),
        (
            watch("not_uid = [0, \"1000-\"]"),
            "x.toml:3: watch.0.not_uid: \"1000-\" is neither a uid nor a range; write a number, such \
             as 33, or \"1000-65535\"",
        ),
        (
            watch("uid = [4294967295]"),
            "x.toml:3: watch.0.uid: 4294967295 is neither a uid nor a range; write a number, such as \
             33, or \"1000-65535\"",
        ),
        (
            watch("user = [\"www-*\"]"),
            "x.toml:3: watch.0.user: \"www-*\" is not the name of a user: users have no wildcards; \
             use ranges of `uid`",
        ),
        (
            watch("parent_comm = [\"/usr/bin/ssh*\"]"),
            "x.toml:3: watch.0.parent_comm: \"/usr/bin/ssh*\" is a path; use the program's name, \
             \"ssh*\"",
        ),
        (
            watch("unit = [\"backup.timer\"]"),
            "x.toml:3: watch.0.unit: \"backup.timer\" has no processes: a unit with processes ends \
             with .service, .scope, .socket, .mount, .swap, not with .timer",
        ),
    ] {
        assert_eq!(refused(&text), expected);
    }
    let message = refused("[[watch]]\nnmae = \"w\"\ncomm = [\"sh\"]\n");
    let expected = "x.toml:2: watch.0.nmae: there is no label `nmae`; did you mean `name`?";
    assert!(message.starts_with(expected), "{message}");
    let message = refused("[[watch]]\nname = 5\ncomm = [\"sh\"]\n");
    assert!(message.starts_with("x.toml:"), "{message}");
    assert!(message.contains("expected a string"), "{message}");
}

#[test]
fn there_are_at_most_64_watches() {
    let watches = |number: usize| {
        let watch = |n| format!("[[watch]]\nname = \"w{n}\"\ncomm = [\"sh\"]\n");
        (0..number).map(watch).collect::<String>()
    };
    assert_eq!(load(&watches(64)).unwrap().1.watches.len(), 64);
    assert_eq!(
        refused(&watches(65)),
        "x.toml:194: watch.64.name: there are more than 64 watches"
    );
}

#[test]
fn a_user_of_a_watch_is_looked_up_after_parsing() {
    let text = watch("not_user = [\"root\", \"nobody-of-that-name\"]");
    parse(&text).unwrap();
    let error = load(&text).unwrap_err();
    assert!(!error.is_final());
    assert_eq!(
        error.to_string(),
        "x.toml:3: watch.0.not_user: \"nobody-of-that-name\" is neither a uid nor the name of a user"
    );
}

#[test]
fn the_labels_of_watches_are_asked_of_the_kernel_side() {
    let has = |keys: &str, label: Label| {
        let label_table = "[[label]]\nname = \"job\"\ncgroup = \"/job_([0-9]+)\"\n";
        let config = parse(&format!("{label_table}{}", watch(keys))).unwrap();
        config.has_label(|used| *used == label)
    };
    assert!(has("not_parent_comm = [\"sshd\"]", Label::ParentComm));
    assert!(has("unit = [\"*.service\"]", Label::Unit));
    assert!(!has("comm = [\"sh\"]", Label::Unit));
    let of_cgroup = parse(&format!(
        "[[label]]\nname = \"job\"\ncgroup = \"/job_([0-9]+)\"\n{}",
        watch("job = [\"4*\"]")
    ));
    assert!(of_cgroup.unwrap().has_label(Label::is_of_cgroup));
}

#[test]
fn a_watch_on_what_is_known_only_at_an_exec_counts_no_exits() {
    for (condition, counts_exits) in [
        ("not_origin = [\"\"]", false),
        ("comm = [\"sh\"]\nentry = [\"injected\"]", false),
        ("tty = [\"true\"]", true),
        ("login_user = [\"\", \"root\"]", true),
    ] {
        let text = format!("[[watch]]\nname = \"a\"\n{condition}\n");
        let (_, resolved) = load(&text).unwrap();
        assert_eq!(resolved.watches[0].has_exits(), counts_exits, "{condition}");
        assert_eq!(resolved.config.has_exits(), counts_exits, "{condition}");
    }
}
