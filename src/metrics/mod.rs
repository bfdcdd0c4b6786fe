//! Encodes a snapshot as Prometheus metrics.
//!
//! A snapshot and the names of its users come in, and an answer in one of two formats goes out, at
//! most once per flush and format, on the runtime's thread. The names and help texts of all metrics
//! are in this file and in `views`, `watches`, `continuity` and `pipeline`, which describe each metric
//! once, as a [`families::Family`].
//! [`text`] and [`protobuf`] encode the families.
//!
//! The families are built from the snapshot and not kept in the vectors of the `prometheus`
//! crate. Those distinguish series only by an unkeyed 64-bit hash of the label values, so that a
//! user could choose names that share a series. The crate has no start timestamps either.

use std::collections::BTreeMap;

use nix::errno::Errno;
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;

use crate::capture::CaptureInfo;
use crate::names::errno;
use crate::names::users::UserNames;
use crate::pipeline::per_second;
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::Metric;
use crate::record::{Kind, LIFETIME_BUCKETS, WaitStatus};
use crate::sys::log;

mod continuity;
pub mod families;
mod format;
mod pipeline;
pub mod protobuf;
#[cfg(test)]
mod tests;
pub mod text;
mod views;
mod watches;

pub use self::format::Format;

use self::families::{Family, count, counter, gauge, histogram, pair, plain, seconds, value};

/// Errors that have a sample, of value 0, before they first occur.
const USUAL_ERRNOS: [Errno; 5] = [
    Errno::ENOENT,
    Errno::EACCES,
    Errno::ENOEXEC,
    Errno::E2BIG,
    Errno::ENOMEM,
];

/// The status that has a sample, of value 0, before it first occurs.
const USUAL_STATUS: WaitStatus = WaitStatus::Exited(0);

/// The encoder, with the metrics that are not in a snapshot.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    scrape_duration: prometheus::Gauge,
    reload_successful: prometheus::Gauge,
    capture_info: CaptureInfo,
}

impl Metrics {
    pub fn new(capture_info: CaptureInfo) -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let scrape_duration = prometheus::Gauge::new(
            "execsnoop_scrape_duration_seconds",
            "Time it took to answer the previous scrape, including the flush.",
        )?;
        registry.register(Box::new(scrape_duration.clone()))?;
        let reload_successful = prometheus::Gauge::new(
            "execsnoop_config_last_reload_successful",
            "Whether the last reload applied the changed configuration; 1 before the first reload.",
        )?;
        reload_successful.set(1.0);
        registry.register(Box::new(reload_successful.clone()))?;
        Ok(Self {
            registry,
            scrape_duration,
            reload_successful,
            capture_info,
        })
    }

    /// Encodes a snapshot, with these names of its users, and the current metrics of the process.
    pub fn encode(&self, snapshot: &Snapshot, names: &UserNames, format: Format) -> Vec<u8> {
        format.encode(self.families(snapshot, names))
    }

    fn families(&self, snapshot: &Snapshot, names: &UserNames) -> Vec<Family> {
        let execs = Execs {
            snapshot,
            names,
            capture_info: &self.capture_info,
        };
        let mut all = execs.families();
        all.push(counter(
            "execsnoop_log_lines_lost_total",
            "Log lines that could not be written to standard error.",
            [plain(log::lost_lines())],
        ));
        let start = snapshot.start;
        let all = all.into_iter().map(|family| family.since(start));
        // The CPU time of the process starts before `start` and keeps no start timestamp.
        let of_process = self.registry.gather();
        let of_process = of_process.iter().map(text::collected);
        families::in_order(all.chain(of_process).collect())
    }

    /// Returns the gauge that a reload sets to 1 if it applied the configuration, else to 0.
    pub fn reload_successful(&self) -> prometheus::Gauge {
        self.reload_successful.clone()
    }

    /// Records how long a scrape took.
    pub fn scraped(&self, duration: std::time::Duration) {
        self.scrape_duration.set(duration.as_secs_f64());
    }
}

/// Everything that the families of a snapshot depend on.
struct Execs<'a> {
    snapshot: &'a Snapshot,
    names: &'a UserNames,
    capture_info: &'a CaptureInfo,
}

impl Execs<'_> {
    /// Returns all families. The names of some depend on the configured views. A configuration in
    /// which two such names would be equal is rejected when it is read.
    fn families(&self) -> Vec<Family> {
        let snapshot = self.snapshot;
        let mut families = self.totals(snapshot);
        if self.capture_info.observes(Kind::Failure) {
            families.extend(Self::failures(snapshot));
            families.extend(Self::failures_by_view(snapshot));
        }
        if self.capture_info.observes(Kind::Exit) {
            families.extend(Self::exits(snapshot));
            families.extend(Self::exits_by_view(snapshot));
        }
        if self.capture_info.observes(Kind::CpuTime) {
            families.extend(Self::cpu_time(snapshot));
        }
        families.extend(self.views(snapshot));
        let has_exits = self.capture_info.observes(Kind::Exit);
        families.extend(watches::families(&snapshot.watches, has_exits));
        families.extend(continuity::families(&snapshot.continuity));
        families.extend(pipeline::families(snapshot, self.capture_info));
        families
    }

    fn totals(&self, snapshot: &Snapshot) -> Vec<Family> {
        let differences = Kind::ALL.into_iter().zip(snapshot.differences);
        vec![
            counter(
                "execsnoop_execs_total",
                if self.capture_info.is_classic() {
                    "Attempts to exec on this host, including failed ones (classic mode)."
                } else {
                    "Successful execs on this host."
                },
                [plain(snapshot.execs)],
            ),
            histogram(
                "execsnoop_execs_per_second",
                "Execs in each second since counting began.",
                &per_second::BUCKETS.map(|bound| bound as f64),
                snapshot.per_second.seconds(),
                snapshot.per_second.execs() as f64,
            ),
            counter(
                "execsnoop_lost_events_total",
                "Execs, exits and CPU times whose event was lost, and with it the time. They are \
                 still counted.",
                snapshot
                    .lost()
                    .map(|(reason, n)| count(vec![pair("reason", reason.name())], n)),
            ),
            counter(
                "execsnoop_unattributed_execs_total",
                "Execs counted in execsnoop_execs_total, but not by program or user.",
                [plain(snapshot.unattributed)],
            ),
            counter(
                "execsnoop_unknown_cgroup_execs_total",
                "Execs in cgroups whose name is not known. Their labels from the cgroup are `unknown`.",
                [plain(snapshot.unknown_cgroup_execs)],
            ),
            counter(
                "execsnoop_unknown_exe_execs_total",
                "Execs of files whose name is not known. Their label `exe` is `unknown`.",
                [plain(snapshot.unknown_exe_execs)],
            ),
            gauge(
                "execsnoop_ledger_difference",
                "What the kernel saw minus what is accounted for; 0 in normal operation.",
                differences
                    .filter(|(kind, _)| self.capture_info.observes(*kind))
                    .map(|(kind, n)| value(vec![pair("kind", kind.name())], n as f64))
                    .collect::<Vec<_>>(),
            ),
        ]
    }

    fn failures(snapshot: &Snapshot) -> Vec<Family> {
        let mut by_errno: BTreeMap<i32, u64> = USUAL_ERRNOS.map(|errno| (errno as i32, 0)).into();
        by_errno.extend(snapshot.flush.failures.iter());
        let start = |errno| match snapshot.failure_starts.get(&errno) {
            Some(start) if !USUAL_ERRNOS.map(|usual| usual as i32).contains(&errno) => *start,
            _ => snapshot.start,
        };
        let samples = by_errno.into_iter().map(|(errno, n)| {
            count(vec![pair("errno", errno::name(errno))], n).since(start(errno))
        });
        vec![counter(
            "execsnoop_exec_failures_total",
            "Failed execs by error.",
            samples.collect::<Vec<_>>(),
        )]
    }

    fn failures_by_view(snapshot: &Snapshot) -> Option<Family> {
        let mut metrics = snapshot.views.iter().flat_map(|view| &view.metrics);
        metrics.any(|metric| *metric == Metric::Failures).then(|| {
            counter(
                "execsnoop_unattributed_exec_failures_total",
                "Failed execs that are not counted under a name.",
                [plain(snapshot.failures_without_subject)],
            )
        })
    }

    fn exits(snapshot: &Snapshot) -> Vec<Family> {
        let exits = &snapshot.flush.exits;
        let mut by_status = BTreeMap::from([(USUAL_STATUS, 0)]);
        by_status.extend(exits.by_status());
        let start = |status| match snapshot.exit_starts.get(&status) {
            Some(start) if status != USUAL_STATUS => *start,
            _ => snapshot.start,
        };
        let samples = by_status.into_iter().map(|(status, n)| {
            let labels = vec![pair("reason", status.reason()), pair("code", status.code())];
            count(labels, n).since(start(status))
        });
        vec![
            counter(
                "execsnoop_exits_total",
                "Processes that exited, by exit status or signal.",
                samples.collect::<Vec<_>>(),
            ),
            counter(
                "execsnoop_oom_kills_total",
                "Processes that the kernel's OOM killer has killed.",
                [plain(exits.oom_kills())],
            ),
            counter(
                "execsnoop_core_dumps_total",
                "Processes of which the kernel has dumped a core.",
                [plain(exits.core_dumps())],
            ),
            histogram(
                "execsnoop_process_lifetime_seconds",
                "Time from fork to exit of processes.",
                &LIFETIME_BUCKETS,
                exits.lifetimes(),
                exits.lifetime_ns() as f64 / 1e9,
            ),
        ]
    }

    fn exits_by_view(snapshot: &Snapshot) -> Vec<Family> {
        let mut metrics = snapshot.views.iter().flat_map(|view| &view.metrics);
        let mut watches = snapshot.watches.iter();
        if !metrics.any(|metric| metric.kind() == Kind::Exit)
            && !watches.any(|of| of.exits.is_some())
        {
            return Vec::new();
        }
        vec![
            counter(
                "execsnoop_unattributed_exits_total",
                "Exits that every view counts as `other` and no watch counts, because their process \
                 is not known.",
                [plain(snapshot.unattributed_exits.iter().sum())],
            ),
            counter(
                "execsnoop_exits_without_outcome_total",
                "Exits in execsnoop_exits_total that no view and no watch counts: those before one of \
                 them first had exits, and those that a killed daemon had received and not saved.",
                [plain(snapshot.exits_without_outcome)],
            ),
        ]
    }

    fn cpu_time(snapshot: &Snapshot) -> Vec<Family> {
        vec![
            counter(
                "execsnoop_unattributed_cpu_seconds_total",
                "CPU time that every view counts as `other`, because its process is not known.",
                [value(vec![], seconds(snapshot.unattributed_cpu_ns))],
            ),
            counter(
                "execsnoop_unknown_parents_total",
                "Processes whose CPU time is counted with an empty parent_comm, because it is not \
                 known any more.",
                [plain(snapshot.unknown_parents)],
            ),
        ]
    }
}
