//! Tests which values are refused, and with which messages.

use super::*;

#[test]
fn types_are_named_as_in_the_file() {
    for (text, expected) in [
        ("capture.buffer_pages = \"x\"", "expected a number from 0"),
        ("capture = 3", "expected a table"),
        ("web = 3", "expected a table"),
        ("log = 3", "expected a table"),
        ("[[capture]]", "expected a table in single brackets"),
        (
            "[view]\nlabels = [\"comm\"]",
            "invalid type: table, expected a list",
        ),
        ("capture.failures = true", "expected a string"),
        ("web.listen = \":1\"", "expected a list"),
        (
            "[[view]]\nlabels = [\"comm\"]\nidle_after = \"soon\"",
            "expected a duration such as \"90s\" or \"1h\"",
        ),
    ] {
        let message = refused(text);
        assert!(message.ends_with(expected), "{message}");
    }
}

#[test]
fn user_share_is_above_0_and_at_most_1() {
    let with = |share| format!("[[view]]\nlabels = [\"comm\"]\nuser_share = {share}\n");
    for share in ["0.001", "0.5", "1", "1.0"] {
        assert!(parse(&with(share)).is_ok(), "{share}");
    }
    for share in ["0", "0.0", "-0.5", "1.01", "nan", "inf"] {
        let message = refused(&with(share));
        assert!(
            message.starts_with("x.toml:3: view.0.user_share: "),
            "{message}"
        );
        assert!(
            message.ends_with("is not above 0 and at most 1"),
            "{message}"
        );
    }
}

#[test]
fn an_invalid_label_or_duration_is_refused_with_line_and_key() {
    for (text, line, key) in [
        ("[[view]]\nlabels = [\"command\"]", 2, "view.0.labels"),
        (
            "[[label]]\nname = \"a\"\ncgroup = \"(a)\"\n[[view]]\nlabels = [\"comm\",\n\"b\"]",
            5,
            "view.0.labels",
        ),
        (
            "[[view]]\nlabels = [\"uid\"]\n[[view]]\nlabels = [\"comm\"]\nidle_after = \"1 fortnight\"",
            5,
            "view.1.idle_after",
        ),
        (
            "[[view]]\nlabels = [\"comm\"]\nidle_after = 3600",
            3,
            "view.0.idle_after",
        ),
        ("[web]\nmax_connections = \"x\"", 2, "web.max_connections"),
    ] {
        let message = refused(text);
        assert!(
            message.starts_with(&format!("x.toml:{line}: {key}: ")),
            "{message}"
        );
    }
}

#[test]
fn values_out_of_range_are_refused_with_line_and_key() {
    for (text, line, key) in [
        ("[capture]\nbuffer_pages = 3", 2, "capture.buffer_pages"),
        ("[capture]\nbuffer_pages = 0", 2, "capture.buffer_pages"),
        ("[capture]\nbuffer_pages = 32768", 2, "capture.buffer_pages"),
        ("[web]\n\nlisten = []", 3, "web.listen"),
        ("[web]\nlisten = [\"10190\"]", 2, "web.listen"),
        ("[web]\nlisten = [\":x\"]", 2, "web.listen"),
        ("[web]\nlisten = [\"unix:web.sock\"]", 2, "web.listen"),
        ("[web]\ntelemetry_path = \"/\"", 2, "web.telemetry_path"),
        ("[web]\ntelemetry_path = \"/{x}\"", 2, "web.telemetry_path"),
        (
            "[web]\ntelemetry_path = \"/-/ready\"",
            2,
            "web.telemetry_path",
        ),
        (
            "[web]\ntelemetry_path = \"/a/../b\"",
            2,
            "web.telemetry_path",
        ),
        ("[web]\nhosts = [\"http://host:1\"]", 2, "web.hosts"),
        ("[web]\nhosts = [\"\"]", 2, "web.hosts"),
        ("[web]\nmax_connections = 0", 2, "web.max_connections"),
        ("[web]\nmax_connections = 65536", 2, "web.max_connections"),
        ("[[view]]\nlabels = []", 2, "view.0.labels"),
        (
            "[[view]]\nlabels = [\"comm\", \"comm\"]",
            2,
            "view.0.labels",
        ),
        (
            "[[view]]\nlabels = [\"comm\"]\nmetrics = []",
            3,
            "view.0.metrics",
        ),
        (
            "[[view]]\nlabels = [\"comm\"]\nmetrics = [\"exits\", \"execs\", \"exits\"]",
            3,
            "view.0.metrics",
        ),
        (
            "[[view]]\nlabels = [\"comm\"]\nmetrics = [\"exit\"]",
            3,
            "view.0.metrics",
        ),
        (
            "[[view]]\nlabels = [\"comm\"]\nmax_series = 0",
            3,
            "view.0.max_series",
        ),
        (
            "[[view]]\nlabels = [\"comm\"]\nmax_series = 100001",
            3,
            "view.0.max_series",
        ),
        (
            "[[view]]\nlabels = [\"uid\"]\n[[view]]\nlabels = [\"uid\", \"user\"]",
            4,
            "view.1.labels",
        ),
        (
            "[[view]]\nlabels = [\"comm\", \"unit\"]\n[[view]]\nlabels = [\"unit\", \"comm\"]",
            4,
            "view.1.labels",
        ),
        (
            "[[view]]\nlabels = [\"comm\"]\nalways = [\"sixteen-bytes-ab\"]",
            3,
            "view.0.always",
        ),
        (
            "[[view]]\nlabels = [\"comm\", \"uid\"]\nalways = [\"sshd\"]",
            3,
            "view.0.always",
        ),
        (
            "[[view]]\nlabels = [\"user\"]\nalways = [\"nobody-of-that-name\"]",
            3,
            "view.0.always",
        ),
        (
            "[[view]]\nlabels = [\"comm\"]\nmax_series = 1\nalways = [\"a\", \"b\"]",
            4,
            "view.0.always",
        ),
    ] {
        let message = refused(text);
        assert!(
            message.starts_with(&format!("x.toml:{line}: {key}: ")),
            "{text}: {message}"
        );
    }
}

#[test]
fn overlapping_addresses_are_refused_and_both_are_named() {
    let message = refused("[web]\n\nlisten = [\"0.0.0.0:1\", \":2\", \"[::]:1\"]\n");
    assert!(
        message.starts_with("x.toml:3: web.listen: \"[::]:1\" overlaps with \"0.0.0.0:1\"; "),
        "{message}"
    );
    let message = refused("web.listen = [\"127.0.0.1:1\", \"localhost:1\"]");
    assert!(
        message.contains("\"localhost:1\" overlaps with \"127.0.0.1:1\""),
        "{message}"
    );
    let message = refused("web.listen = [\"unix:/run/x\", \"unix:///run/x\"]");
    assert!(
        message.contains("overlaps with \"unix:/run/x\""),
        "{message}"
    );
    assert!(load("web.listen = [\"127.0.0.1:1\", \"[::1]:1\", \":0\", \":0\"]").is_ok());
}

#[test]
fn a_metric_of_what_is_not_captured_is_refused_with_a_remedy() {
    for (capture, metric, needed) in [
        ("exits = false", "exits", "capture.exits = true"),
        ("exits = false", "lifetime_seconds", "capture.exits = true"),
        (
            "failures = \"off\"",
            "failures",
            "capture.failures = \"auto\" or \"tracepoint\"",
        ),
    ] {
        let text = format!(
            "[capture]\n{capture}\n[[view]]\nlabels = [\"comm\"]\nmetrics = [\"{metric}\"]"
        );
        let expected = format!("x.toml:5: view.0.metrics: `{metric}` needs `{needed}`");
        assert_eq!(refused(&text), expected);
    }
}

#[test]
fn values_of_always_are_completed_or_refused() {
    let digits = "0123456789abcdef".repeat(4);
    let always = |label: &str, value: &str| {
        format!("[[view]]\nlabels = [\"{label}\"]\nalways = ['{value}']")
    };
    for (label, value, other) in [
        ("unit", "ssh", "ssh.service"),
        ("unit", "snap.lxd.daemon", "snap.lxd.daemon.service"),
        ("slice", "system", "system.slice"),
        ("container", &digits, &digits[..12]),
        ("comm", "\\x6fther", "other"),
        ("uid", "0", "root"),
    ] {
        let [key, expected] = [value, other].map(|value| {
            let (_, resolved) = load(&always(label, value)).unwrap();
            resolved.views[0].counts().series[0].key.clone()
        });
        assert_eq!(key, expected, "{label} {value}");
    }
    for (label, value, says) in [
        ("unit", "logrotate.timer", ".service"),
        ("unit", "ssh*", "without wildcards"),
        ("unit", "getty@", "getty@tty1"),
        ("slice", "ssh.service", ".slice"),
        ("container", &digits[..63], "12 or 64 digits"),
        ("comm", "/usr/sbin/sshd", "\"sshd\""),
        ("parent_comm", "/bin/sh", "\"sh\""),
        ("uid", "4294967295", "not a uid"),
    ] {
        let message = refused(&always(label, value));
        assert!(
            message.starts_with("x.toml:3: view.0.always: "),
            "{message}"
        );
        assert!(message.contains(says), "{message}");
    }
}
