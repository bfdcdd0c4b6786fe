use std::sync::Arc;

use super::*;
use crate::capture::TransportKind;
use crate::capture::hook::{CPU_TP_BTF, EXEC_TP_BTF, EXIT_TP_BTF};
use crate::pipeline::continuity::Continuity;
use crate::pipeline::view::{Counts, Key, Label, SeriesCounts, ViewCounts};
use crate::sys::clock::Timestamp;

/// A snapshot in which each family of a view has several samples.
fn snapshot(execs: u64) -> Snapshot {
    let series = |uid| SeriesCounts {
        key: Arc::new(Key {
            uid,
            ..Key::default()
        }),
        counts: Counts {
            execs,
            cpu_ns: 1,
            ..Counts::default()
        },
        failures: None,
        start: Timestamp::default(),
    };
    let view = |labels: &[Label]| ViewCounts {
        labels: labels.to_vec(),
        series: (0..20).map(series).collect(),
        max_series: 20,
        ..ViewCounts::default()
    };
    Snapshot {
        execs: 20 * execs,
        views: vec![view(&[Label::Uid, Label::User]), view(&[Label::User])],
        channel_depth: 3,
        ..Snapshot::default()
    }
}

/// Encodes a snapshot and leaves out the metrics of the process.
fn encode(metrics: &Metrics, snapshot: &Snapshot) -> String {
    let text = metrics.encode(snapshot, &UserNames::default(), Format::Text);
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().filter(|line| !line.contains("process_"));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn a_snapshot_is_encoded_the_same_after_another_one() {
    let metrics = Metrics::new(CaptureInfo {
        hooks: vec![EXEC_TP_BTF, EXIT_TP_BTF, CPU_TP_BTF],
        transport: TransportKind::Perf,
        buffer_bytes: 4096,
    });
    let metrics = metrics.unwrap();
    let first = encode(&metrics, &snapshot(7));
    let later = encode(&metrics, &snapshot(8));
    assert_eq!(encode(&metrics, &snapshot(7)), first);
    for (text, total) in [(&first, 140), (&later, 160)] {
        assert!(text.contains(&format!("\nexecsnoop_execs_total {total}\n")));
        assert!(text.contains("\nexecsnoop_channel_depth 3\n"));
    }
}

#[test]
fn handovers_have_both_samples_from_the_start() {
    let metrics = Metrics::new(CaptureInfo {
        hooks: vec![EXEC_TP_BTF],
        transport: TransportKind::Perf,
        buffer_bytes: 4096,
    });
    let metrics = metrics.unwrap();
    let text = encode(&metrics, &snapshot(7));
    for sample in [
        "execsnoop_handovers_total{how=\"adopted\"} 0",
        "execsnoop_handovers_total{how=\"replaced\"} 0",
        "execsnoop_unobserved_seconds_total 0",
    ] {
        assert!(text.contains(&format!("\n{sample}\n")), "{sample}");
    }
    let continuity = Continuity {
        counting_since_ms: 1_700_000_000_250,
        adopted: 3,
        replaced: 1,
        unobserved_ns: 20_000_000,
        ..Continuity::default()
    };
    let continued = Snapshot {
        continuity: continuity.into(),
        ..snapshot(7)
    };
    let text = encode(&metrics, &continued);
    for sample in [
        "execsnoop_counting_since_timestamp_seconds 1700000000.25",
        "execsnoop_handovers_total{how=\"adopted\"} 3",
        "execsnoop_handovers_total{how=\"replaced\"} 1",
        "execsnoop_unobserved_seconds_total 0.02",
    ] {
        assert!(text.contains(&format!("\n{sample}\n")), "{sample}");
    }
}

#[test]
fn families_and_samples_are_sorted_as_by_a_registry() {
    let labels = |uid: &str, user: &str| vec![pair("uid", uid), pair("user", user)];
    let ordered = families::in_order(vec![
        gauge("b", "", []),
        gauge(
            "c",
            "",
            [("2", "a"), ("10", "z"), ("10", "b")].map(|(uid, user)| value(labels(uid, user), 1.0)),
        ),
        counter("a", "", [plain(1)]),
    ]);
    let names: Vec<_> = ordered.iter().map(|family| &*family.name).collect();
    assert_eq!(names, ["a", "c"]);
    let samples = ordered[1].samples.iter();
    let values = samples.map(|sample| {
        let labels = sample.labels.iter();
        labels.map(|label| &*label.value).collect::<Vec<_>>()
    });
    let values: Vec<_> = values.collect();
    assert_eq!(values, [["10", "b"], ["10", "z"], ["2", "a"]]);
}
