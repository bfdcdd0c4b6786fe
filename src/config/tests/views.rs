//! Tests of `where` and `rename` of a view.

use super::*;

fn view(labels: &str, keys: &str) -> String {
    format!("[[view]]\nlabels = [{labels}]\n{keys}\n")
}

#[test]
fn a_view_can_filter_and_rename() {
    let text = view(
        "\"unit\", \"comm\"",
        "where = { unit = [\"*.service\"], not_comm = [\"kworker*\"], not_parent_comm = [\"cron\"] }\n\
         rename = { comm = [[\"^python3\\\\.[0-9]+$\", \"python3\"], [\"^(.*)-[0-9a-f]{8,}$\", \"$1-*\"]] }",
    );
    let (_, resolved) = load(&text).unwrap();
    assert!(
        resolved
            .config
            .has_label(|label| *label == Label::ParentComm)
    );
    let written = toml::to_string(&resolved.config).unwrap();
    assert_eq!(parse(&written).unwrap(), resolved.config);

    // As tables, which end with the next header.
    let text = view("\"comm\"", "[view.where]\nuid = [\"1000-65535\"]\n")
        + "[view.rename]\ncomm = [[\"^x.*\", \"x\"]]\n"
        + "[[view]]\nlabels = [\"uid\"]\n";
    assert_eq!(load(&text).unwrap().1.views.len(), 2);
}

#[test]
fn a_view_by_what_only_execs_have_counts_execs() {
    for (labels, keys, metrics) in [
        ("\"origin\", \"comm\"", "", &[Metric::Execs][..]),
        (
            "\"comm\"",
            "where = { not_entry = [\"\"] }",
            &[Metric::Execs],
        ),
        ("\"elevated\"", "metrics = [\"execs\"]", &[Metric::Execs]),
        (
            "\"tty\", \"login_user\"",
            "where = { login_user = [\"\", \"root\"] }",
            &Metric::DEFAULT,
        ),
    ] {
        let (_, resolved) = load(&view(labels, keys)).unwrap();
        assert_eq!(resolved.config.view[0].metrics(), metrics);
        let written = toml::to_string(&resolved.config).unwrap();
        assert_eq!(parse(&written).unwrap(), resolved.config);
    }
}

#[test]
fn a_filter_or_a_rule_of_no_use_is_refused_with_line_key_and_remedy() {
    for (labels, keys, expected) in [
        (
            "\"comm\"",
            "where = { unti = [\"a.service\"] }",
            "x.toml:3: view.0.where.unti: there is no label `unti`; did you mean `unit`?",
        ),
        (
            "\"comm\"",
            "where = { comm = [] }",
            "x.toml:3: view.0.where.comm: needs at least one value",
        ),
        (
            "\"comm\"",
            "[view.where]\nuid = [\"9-5\"]",
            "x.toml:4: view.0.where.uid: the range \"9-5\" is empty; write \"5-9\"",
        ),
        (
            "\"comm\"",
            "where = { not_user = [\"nobody-of-that-name\"] }",
            "x.toml:3: view.0.where.not_user: \"nobody-of-that-name\" is neither a uid",
        ),
        (
            "\"comm\"",
            "where = [\"comm\"]",
            "x.toml:3: view.0.where: invalid type: list, expected a table",
        ),
        (
            "\"comm\"",
            "rename = { unit = [[\"a\", \"b\"]] }",
            "x.toml:3: view.0.rename.unit: `unit` is not a label of this view",
        ),
        (
            "\"uid\"",
            "rename = { uid = [[\"0\", \"root\"]] }",
            "x.toml:3: view.0.rename.uid: `uid` cannot be renamed, because users are counted by",
        ),
        (
            "\"comm\"",
            "rename = { comm = [[\"a\", \"b\", \"c\"]] }",
            "x.toml:3: view.0.rename.comm: a rule consists of an expression and the new name",
        ),
        (
            "\"comm\"",
            "rename = { comm = [[\"a\", \"other\"]] }",
            "x.toml:3: view.0.rename.comm: \"a\" cannot become \"other\", which has a meaning of its own",
        ),
        (
            "\"comm\"",
            "rename = { comm = [[\"(a\", \"b\"]] }",
            "x.toml:3: view.0.rename.comm: \"(a\" is not a regular expression: unclosed group",
        ),
        (
            "\"comm\"",
            "rename = { comm = [[\"^(a)$\", \"$1x\"]] }",
            "x.toml:3: view.0.rename.comm: \"^(a)$\" has no group `1x`; write ${1}x",
        ),
        (
            "\"comm\"",
            "rename = { comm = [[\"a\", \"sixteen-bytes-ab\"]] }",
            "x.toml:3: view.0.rename.comm: \"sixteen-bytes-ab\" is too long",
        ),
        (
            "\"unit\"",
            "always = [\"ssh\"]\nwhere = { not_unit = [\"ssh*\"] }",
            "x.toml:3: view.0.always: \"ssh\" is left out by `where`",
        ),
        (
            "\"comm\"",
            "always = [\"kworkers\"]\nrename = { comm = [[\"^kworker\", \"kworkers\"]] }",
            "x.toml:3: view.0.always: \"kworkers\" can be a name before or after `rename`",
        ),
        (
            "\"comm\"",
            "always = [\"python\"]\n\
             rename = { comm = [[\"^python$\", \"py\"], [\"^python3.*$\", \"python\"]] }",
            "x.toml:3: view.0.always: \"python\" can be a name before or after `rename`, which makes \"py\"",
        ),
        (
            "\"uid\"",
            "always = [\"0\"]\nwhere = { uid = [\"1-9\"] }",
            "x.toml:3: view.0.always: \"0\" is left out by `where`",
        ),
    ] {
        let message = refused(&view(labels, keys));
        assert!(message.starts_with(expected), "{message}");
    }
    assert_eq!(
        refused("[[view]]\nlabels = [\"comm\"]\nwehre = {}\n"),
        "x.toml:3: unknown key `view.wehre`; did you mean `where`?"
    );
}

#[test]
fn a_fact_that_cannot_be_so_is_refused_with_line_key_and_remedy() {
    for (labels, keys, expected) in [
        (
            "\"origin\"",
            "rename = { origin = [[\"tmpfs\", \"t\"]] }",
            "x.toml:3: view.0.rename.origin: `origin` cannot be renamed, because it has only the values unlinked",
        ),
        (
            "\"comm\"",
            "where = { origin = [\"tmpfs\", \"memfd\"] }",
            "x.toml:3: view.0.where.origin: \"memfd\" is no value of `origin`: use one of \"\", \"unlinked\"",
        ),
        (
            "\"comm\"",
            "where = { not_loginuid = [\"none\"] }",
            "x.toml:3: view.0.where.not_loginuid: \"none\" is neither a uid nor a range",
        ),
        (
            "\"comm\"",
            "where = { uid = [\"\"] }",
            "x.toml:3: view.0.where.uid: \"\" is neither a uid nor a range",
        ),
        (
            "\"comm\"",
            "metrics = [\"execs\", \"exits\"]\nwhere = { entry = [\"init\"] }",
            "x.toml:3: view.0.metrics: `exits` cannot be counted by `entry`, which is known only at an exec",
        ),
        (
            "\"elevated\"",
            "metrics = [\"cpu_seconds\"]",
            "x.toml:3: view.0.metrics: `cpu_seconds` cannot be counted by `elevated`, which is known only at an exec",
        ),
        (
            "\"tty\"",
            "always = [\"yes\"]",
            "x.toml:3: view.0.always: \"yes\" is no value of `tty`",
        ),
    ] {
        let message = refused(&view(labels, keys));
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn always_names_values_before_or_after_they_are_renamed() {
    let keys = "where = { comm = [\"job-*\"] }\nrename = { comm = [[\"^(.*)-[0-9]+$\", \"x-$1\"], [\"^a$\", \"b\"], [\"^b$\", \"c\"]] }";
    for (value, name) in [("x-job", "x-job"), ("job-1", "x-job"), ("a", "b")] {
        let keys = format!("{keys}\nalways = [\"{value}\"]");
        let (_, resolved) = load(&view("\"comm\"", &keys)).unwrap();
        let series = resolved.views[0].counts().series;
        let labels = [Label::Comm];
        let names = series
            .iter()
            .map(|of| of.key.name_of(&Label::Comm, &labels));
        assert_eq!(names.collect::<Vec<_>>(), [name.as_bytes()], "{value}");
    }
}

#[test]
fn a_series_of_no_login_can_be_reserved() {
    for label in ["loginuid", "login_user"] {
        let (_, resolved) = load(&view(&format!("\"{label}\""), "always = [\"\", \"0\"]")).unwrap();
        let series = resolved.views[0].counts().series;
        let mut logins: Vec<_> = series.iter().map(|of| of.key.login).collect();
        logins.sort_unstable();
        assert_eq!(logins, [0, 1]);
    }
    let message = refused(&view("\"uid\"", "always = [\"\"]"));
    assert_eq!(message, "x.toml:3: view.0.always: \"\" is not a uid");
    let left_out = view(
        "\"loginuid\"",
        "always = [\"\"]\nwhere = { loginuid = [\"1000-2000\"] }",
    );
    assert!(refused(&left_out).contains("is left out by `where`"));
}
