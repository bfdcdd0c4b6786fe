//! Made-up counts of a busy host, for tests of the page.

use std::time::Duration;

use execsnoopd::pipeline::history::{History, SPAN};
use execsnoopd::pipeline::snapshot::Snapshot;
use execsnoopd::pipeline::view::{Counts, Key, Label, SeriesCounts, ViewCounts};
use execsnoopd::sys::clock::Timestamp;

pub fn busy() -> Snapshot {
    let counts = |execs: u64, cpu_ms: u64| Counts {
        execs,
        cpu_ns: cpu_ms * 1_000_000,
        ..Counts::default()
    };
    let comm = |name: &str| {
        let mut key = Key::default();
        key.comm[..name.len()].copy_from_slice(name.as_bytes());
        key
    };
    let unit = |name: &str| Key {
        unit: Some(name.as_bytes().into()),
        ..Key::default()
    };
    let comms = [
        ("sh", 48_213, 38_250),
        ("git", 31_077, 912_400),
        ("cc1", 18_440, 9_120_000),
        ("as", 18_440, 312_000),
        ("collect2", 4_102, 51_000),
        ("sed", 3_977, 2_100),
        ("node_exporter_t", 2_160, 8_000),
        ("run-parts", 1_440, 900),
        ("sshd", 311, 4_000),
        ("python3.11", 290, 71_000),
        ("logrotate", 12, 300),
        ("apt-get", 6, 2_000),
    ];
    let units = [
        ("ci-runner.service", 110_102, 10_400_000),
        ("cron.service", 5_980, 40_000),
        ("user@1000.service", 5_200, 61_000),
        (
            "docker-2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae.scope",
            4_800,
            9_000,
        ),
        ("ssh.service", 2_386, 12_000),
    ];
    let users = [
        (0_u32, 41_000, 310_000),
        (1, 400, 2_000),
        (33, 87_068, 10_210_000),
    ];
    let series = |key, counts| SeriesCounts::new(key, counts, Timestamp::default());
    let view = |labels: &[Label], series| ViewCounts {
        labels: labels.to_vec(),
        series,
        max_series: 1000,
        ..ViewCounts::default()
    };
    let mut snapshot = Snapshot {
        execs: comms.iter().map(|(_, execs, _)| execs).sum(),
        recent: recent(),
        views: vec![
            view(
                &[Label::Comm],
                comms
                    .map(|(n, e, c)| series(comm(n), counts(e, c)))
                    .to_vec(),
            ),
            view(
                &[Label::Uid, Label::User],
                users
                    .map(|(uid, e, c)| {
                        let key = Key {
                            uid,
                            ..Key::default()
                        };
                        series(key, counts(e, c))
                    })
                    .to_vec(),
            ),
            view(
                &[Label::Unit],
                units
                    .map(|(n, e, c)| series(unit(n), counts(e, c)))
                    .to_vec(),
            ),
        ],
        ..Snapshot::default()
    };
    for (errno, n) in [(2, 612_345), (13, 41), (8, 3)] {
        snapshot.flush.failures.add(errno, n);
    }
    for (status, n) in [
        (0, 121_000),
        (1 << 8, 7_012),
        (15, 211),
        (9, 14),
        (13, 9),
        (11, 2),
    ] {
        snapshot.flush.exits.add(status, n);
    }
    snapshot
}

fn recent() -> History {
    let mut recent = History::default();
    for n in 0..400_u64 {
        let burst = if (350..372).contains(&n) || n % 60 < 2 {
            900
        } else {
            0
        };
        let execs = 40 + n * 37 % 29 * 3 + burst + (n * n) % 90;
        recent.add(
            SPAN * u32::try_from(n).unwrap() + Duration::from_secs(3),
            execs - execs % 5,
        );
    }
    recent
}
