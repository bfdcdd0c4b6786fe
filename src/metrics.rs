//! Counts to Prometheus families. Every metric's name and help text is in this file.
//!
//! The families are built at each scrape from a snapshot of the aggregator's own exact
//! tables, not kept in the `prometheus` crate's vectors, which tell children apart by an
//! unkeyed 64-bit hash of their label values alone: different names could be made to
//! share a series.

use std::collections::BTreeSet;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::sync::{mpsc, watch};

use crate::aggregator::Snapshot;
use crate::capture::Means;
use crate::event::comm_bytes;
use crate::label::{self, OTHER};
use crate::reader::Message;
use crate::source::ProgramStats;
use crate::users::Users;
use crate::view::{self, Key, Label, ViewCounts};

/// The value of the `Content-Type` header for [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything there is to expose.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    scrape_duration: prometheus::Gauge,
    users: Users,
}

impl Metrics {
    /// Metrics of the latest snapshot. `channel` is observed only, and weakly: it does
    /// not keep the aggregator waiting for messages.
    pub fn new(
        means: Means,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        channel: mpsc::WeakSender<Message>,
    ) -> prometheus::Result<Self> {
        let users = Users::default();
        let registry = Registry::new();
        registry.register(Box::new(Execs {
            snapshots,
            means,
            channel,
            users: users.clone(),
        }))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let scrape_duration = prometheus::Gauge::new(
            "execsnoop_scrape_duration_seconds",
            "Time it took to answer the scrape before this one, flush included.",
        )?;
        registry.register(Box::new(scrape_duration.clone()))?;
        Ok(Self {
            registry,
            scrape_duration,
            users,
        })
    }

    /// All families, of the latest snapshot, in text format 0.0.4.
    pub async fn encode(&self, snapshot: &Snapshot) -> prometheus::Result<Vec<u8>> {
        self.users.resolve(named_uids(&snapshot.views)).await;
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// To be called when a scrape has been answered.
    pub fn scraped(&self, duration: std::time::Duration) {
        self.scrape_duration.set(duration.as_secs_f64());
    }
}

fn named_uids(views: &[ViewCounts]) -> BTreeSet<u32> {
    views
        .iter()
        .filter(|view| view.labels.contains(&Label::User))
        .flat_map(|view| view.series.iter().map(|(key, _)| key.uid))
        .collect()
}

/// Builds all `execsnoop_*` families but the duration of scrapes.
struct Execs {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    means: Means,
    channel: mpsc::WeakSender<Message>,
    users: Users,
}

impl Collector for Execs {
    /// None: the names depend on the configured views. The registry then leaves it to us
    /// that they are unique, which configuration and tests see to.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let snapshot = self.snapshots.borrow().clone();
        let mut families = Self::totals(&snapshot);
        families.extend(self.views(&snapshot));
        families.extend(self.pipeline(&snapshot));
        families
    }
}

impl Execs {
    fn totals(snapshot: &Snapshot) -> Vec<MetricFamily> {
        let ledger = &snapshot.flush.ledger;
        let lost = [
            ("buffer_full", ledger.buffer_full),
            ("no_buffer", ledger.no_buffer),
            ("other", ledger.other),
            ("undecodable", snapshot.flush.undecodable),
        ];
        vec![
            counter(
                "execsnoop_execs_total",
                "Successful execs on this host.",
                [plain(snapshot.execs)],
            ),
            counter(
                "execsnoop_lost_events_total",
                "Execs whose event was lost and with it pid and time; they are still counted.",
                lost.map(|(reason, n)| count(vec![pair("reason", reason)], n)),
            ),
            counter(
                "execsnoop_unattributed_execs_total",
                "Execs that are counted in execsnoop_execs_total, but by no program or user.",
                [plain(snapshot.unattributed)],
            ),
            gauge(
                "execsnoop_ledger_difference",
                "What the kernel saw minus what is accounted for; 0 when all is well.",
                [value(
                    vec![pair("kind", "exec")],
                    snapshot.ledger_difference as f64,
                )],
            ),
        ]
    }

    fn views(&self, snapshot: &Snapshot) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        let (mut series, mut limit, mut overflow) = (Vec::new(), Vec::new(), Vec::new());
        for view in &snapshot.views {
            let name = view::name(&view.labels);
            let label = || vec![pair("view", &name)];
            series.push(value(label(), view.series.len() as f64));
            limit.push(value(label(), view.max_series as f64));
            overflow.push(count(label(), view.overflow));

            // The sum over a view is the total: what has no series, for want of a place
            // or of a name, is in the one named `other`, which is there from the start.
            let rest = view.labels.iter().map(|l| pair(l.name(), OTHER)).collect();
            let mut metrics = vec![count(rest, view.overflow + snapshot.unattributed)];
            metrics.extend(
                view.series
                    .iter()
                    .map(|(key, execs)| count(self.label_pairs(&view.labels, key), *execs)),
            );
            families.push(counter(
                &format!("execsnoop_execs_by_{name}_total"),
                &format!("Successful execs by {}.", label_list(&view.labels)),
                metrics,
            ));
        }
        if !snapshot.views.is_empty() {
            families.push(gauge(
                "execsnoop_series",
                "Series of a view that have a place of their own.",
                series,
            ));
            families.push(gauge(
                "execsnoop_series_limit",
                "How many series of their own a view may have.",
                limit,
            ));
            families.push(counter(
                "execsnoop_series_overflow_total",
                "Execs counted as `other` in a view because all its series were taken.",
                overflow,
            ));
        }
        families
    }

    fn pipeline(&self, snapshot: &Snapshot) -> Vec<MetricFamily> {
        let flush = &snapshot.flush;
        let depth = self
            .channel
            .upgrade()
            .map_or(0, |channel| channel.max_capacity() - channel.capacity());
        let hook = self.means.exec_hook;
        let mut families = vec![
            gauge(
                "execsnoop_hook_info",
                "The BPF program that observes an event, and its type.",
                [value(
                    vec![
                        pair("event", "exec"),
                        pair("program", hook.program()),
                        pair("type", hook.program_type()),
                    ],
                    1.0,
                )],
            ),
            gauge(
                "execsnoop_transport_info",
                "How events cross from the kernel.",
                [value(vec![pair("transport", self.means.transport)], 1.0)],
            ),
            gauge(
                "execsnoop_buffer_bytes",
                "Size of the buffers of all CPUs together.",
                [value(vec![], self.means.buffer_bytes as f64)],
            ),
            counter(
                "execsnoop_reader_wakeups_total",
                "How often the reader thread woke up.",
                [plain(flush.wakeups)],
            ),
            counter(
                "execsnoop_reader_batches_total",
                "Batches of events and counts that the reader sent to the aggregator.",
                [plain(flush.batches)],
            ),
            gauge(
                "execsnoop_channel_depth",
                "Batches between reader and aggregator.",
                [value(vec![], depth as f64)],
            ),
            gauge(
                "execsnoop_build_info",
                "The version that runs.",
                [value(
                    vec![
                        pair("arch", std::env::consts::ARCH),
                        pair("version", env!("CARGO_PKG_VERSION")),
                    ],
                    1.0,
                )],
            ),
        ];
        families.extend(programs(snapshot));
        families
    }

    fn label_pairs(&self, labels: &[Label], key: &Key) -> Vec<LabelPair> {
        labels
            .iter()
            .map(|label| {
                let value = match label {
                    Label::Comm => label::escape(comm_bytes(&key.comm)),
                    Label::ParentComm => label::escape(comm_bytes(&key.parent_comm)),
                    Label::Uid => key.uid.to_string(),
                    Label::User => label::escape(&self.users.name(key.uid)),
                };
                pair(label.name(), &value)
            })
            .collect()
    }
}

fn programs(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let programs = &snapshot.flush.programs;
    let by_program = |of: &dyn Fn(&ProgramStats) -> f64| -> Vec<Metric> {
        programs
            .iter()
            .map(|stats| counted_as(vec![pair("program", stats.name)], of(stats)))
            .collect()
    };
    let mut families = Vec::new();
    if !programs.is_empty() {
        families.push(counter(
            "execsnoop_program_missed_runs_total",
            "Times the kernel skipped a BPF program; what it would have seen is not counted.",
            by_program(&|stats| stats.missed_runs as f64),
        ));
    }
    // Without kernel.bpf_stats_enabled the kernel counts neither.
    if programs.iter().any(|stats| stats.runs > 0) {
        families.push(counter(
            "execsnoop_program_runs_total",
            "Times a BPF program ran while kernel.bpf_stats_enabled was set.",
            by_program(&|stats| stats.runs as f64),
        ));
        families.push(counter(
            "execsnoop_program_run_seconds_total",
            "Time spent in a BPF program while kernel.bpf_stats_enabled was set.",
            by_program(&|stats| stats.run_time_ns as f64 / 1e9),
        ));
    }
    families
}

fn label_list(labels: &[Label]) -> String {
    let names: Vec<_> = labels.iter().map(|label| label.name()).collect();
    names.join(", ")
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn counter(name: &str, help: &str, metrics: impl Into<Vec<Metric>>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, metrics.into())
}

fn gauge(name: &str, help: &str, metrics: impl Into<Vec<Metric>>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, metrics.into())
}

/// A counter's sample without labels.
fn plain(n: u64) -> Metric {
    count(vec![], n)
}

/// A counter's sample.
fn count(labels: Vec<LabelPair>, n: u64) -> Metric {
    counted_as(labels, n as f64)
}

/// A counter's sample that is not a whole number.
fn counted_as(labels: Vec<LabelPair>, n: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(n);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

/// A gauge's sample.
fn value(labels: Vec<LabelPair>, n: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(n);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
