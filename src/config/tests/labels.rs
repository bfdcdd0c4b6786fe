//! Tests of `[[label]]`.

use super::*;
use crate::names::own_label::OwnLabel;

fn label(name: &str, cgroup: &str) -> String {
    format!("[[label]]\nname = '{name}'\ncgroup = '{cgroup}'\n")
}

#[test]
fn a_view_can_use_the_labels_that_the_file_defines() {
    let text = label("slurm_job", "/job_([0-9]+)(/|$)")
        + &label("unused", "/(x)")
        + "[[view]]\nlabels = [\"slurm_job\", \"pod_uid\", \"comm\"]\n\
           [[view]]\nlabels = [\"slurm_job\"]\nalways = [\"42\"]\n";
    let (_, resolved) = load(&text).unwrap();
    let job = Label::Own(OwnLabel::new("slurm_job", "/job_([0-9]+)(/|$)"));
    let expected = [job, Label::PodUid, Label::Comm];
    assert_eq!(resolved.views[0].labels(), expected);
    let series = &resolved.views[1].counts().series;
    assert_eq!(series[0].key.name_of(&expected[0], &expected[..1]), b"42");
    let written = toml::to_string(&resolved.config).unwrap();
    assert_eq!(parse(&written).unwrap(), resolved.config);
}

#[test]
fn a_label_that_cannot_exist_is_refused_with_line_key_and_remedy() {
    let valid = label("job_id", "/job_([0-9]+)");
    for (text, expected) in [
        (
            label("job-id", "(a)"),
            "x.toml:2: label.0.name: \"job-id\" is not the name of a Prometheus label",
        ),
        (
            label("1st", "(a)"),
            "x.toml:2: label.0.name: \"1st\" is not the name of a Prometheus label",
        ),
        (
            label("", "(a)"),
            "x.toml:2: label.0.name: \"\" is not the name of a Prometheus label",
        ),
        (
            label("jöb", "(a)"),
            "x.toml:2: label.0.name: \"jöb\" is not the name of a Prometheus label",
        ),
        (
            label("__job", "(a)"),
            "x.toml:2: label.0.name: \"__job\" is reserved by Prometheus",
        ),
        (
            label("container", "(a)"),
            "x.toml:2: label.0.name: \"container\" is a label that always exists",
        ),
        (
            label("outcome", "(a)"),
            "x.toml:2: label.0.name: \"outcome\" has another meaning here: use another name, such as my_outcome",
        ),
        (
            label("not_unit", "(a)"),
            "x.toml:2: label.0.name: \"not_unit\" has another meaning here",
        ),
        (
            valid.clone() + &valid,
            "x.toml:5: label.1.name: an earlier [[label]] already has the name \"job_id\"",
        ),
        (
            label("a", "/job_[0-9]+"),
            "x.toml:3: label.0.cgroup: \"/job_[0-9]+\" has no group",
        ),
        (
            label("a", "/job_([0-9]+"),
            "x.toml:3: label.0.cgroup: \"/job_([0-9]+\" is not a regular expression: unclosed group",
        ),
        (
            valid.clone() + &label("a", "/(x{9999}){99}"),
            "x.toml:6: label.1.cgroup: \"/(x{9999}){99}\" is too large",
        ),
        (
            label("a", "^job_([0-9]+)"),
            "x.toml:3: label.0.cgroup: \"^job_([0-9]+)\" can never fill its first group",
        ),
        (
            "[[label]]\nname = \"a\"\n".to_owned(),
            "x.toml:1: label: missing field `cgroup`",
        ),
        (
            "[[label]]\nname = \"a\"\ncgruop = \"(a)\"\n".to_owned(),
            "x.toml:3: unknown key `label.cgruop`; did you mean `cgroup`?",
        ),
        (
            valid + "[[view]]\nlabels = [\"jobid\"]\n",
            "x.toml:5: view.0.labels: there is no label `jobid`; did you mean `job_id`? Define it in a [[label]], or use one of comm, exe, parent_comm, uid, user, unit, slice, container, pod_uid, entry, origin, elevated, tty, loginuid, login_user, job_id",
        ),
        (
            label("comm_uid", "(a)")
                + "[[view]]\nlabels = [\"comm\", \"uid\"]\n[[view]]\nlabels = [\"comm_uid\"]\n",
            "x.toml:7: view.1.labels: an earlier view already has execsnoop_execs_by_comm_uid_total",
        ),
    ] {
        let message = refused(&text);
        assert!(message.starts_with(expected), "{message}");
        assert!(parse(&text).unwrap_err().is_final());
    }
}

#[test]
fn the_number_of_labels_is_limited() {
    let labels = |n: usize| {
        (0..n)
            .map(|n| label(&format!("l{n}"), "(a)"))
            .collect::<String>()
    };
    assert!(parse(&labels(32)).is_ok());
    let message = refused(&labels(33));
    assert!(
        message.starts_with("x.toml:98: label.32.name: there are more than 32"),
        "{message}"
    );
}
