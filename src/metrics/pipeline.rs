//! The metric families of the hooks, the BPF programs, the transport and the pipeline.

use super::families::{Family, Sample, counter, gauge, pair, plain, seconds, value};
use crate::capture::CaptureInfo;
use crate::capture::source::ProgramStats;
use crate::pipeline::snapshot::Snapshot;

pub(super) fn families(snapshot: &Snapshot, capture_info: &CaptureInfo) -> Vec<Family> {
    let flush = &snapshot.flush;
    let hooks = capture_info.hooks.iter().map(|hook| {
        let labels = vec![
            pair("event", hook.kind.name()),
            pair("program", hook.program),
            pair("type", hook.program_type),
        ];
        value(labels, 1.0)
    });
    let mut families = vec![
        gauge(
            "execsnoop_hook_info",
            "The BPF program in use for each kind of event, and its type.",
            hooks.collect::<Vec<_>>(),
        ),
        gauge(
            "execsnoop_transport_info",
            "The transport of events from the kernel.",
            [value(
                vec![pair("transport", capture_info.transport.name())],
                1.0,
            )],
        ),
        gauge(
            "execsnoop_buffer_bytes",
            "Total size of the buffers of all CPUs.",
            [value(vec![], capture_info.buffer_bytes as f64)],
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
            "Batches waiting between reader and aggregator.",
            [value(vec![], snapshot.channel_depth as f64)],
        ),
        gauge(
            "execsnoop_build_info",
            "The version in use.",
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

fn programs(snapshot: &Snapshot) -> Vec<Family> {
    let programs = &snapshot.flush.programs;
    let by_program = |of: &dyn Fn(&ProgramStats) -> f64| -> Vec<Sample> {
        programs
            .iter()
            .map(|stats| value(vec![pair("program", stats.name)], of(stats)))
            .collect()
    };
    let mut families = Vec::new();
    if !programs.is_empty() {
        families.push(counter(
            "execsnoop_program_missed_runs_total",
            "How often the kernel skipped a BPF program. A standby copy may have observed the event.",
            by_program(&|stats| stats.missed_runs as f64),
        ));
    }
    // The kernel counts these only if kernel.bpf_stats_enabled is set.
    if programs.iter().any(|stats| stats.runs > 0) {
        families.push(counter(
            "execsnoop_program_runs_total",
            "How often a BPF program ran while kernel.bpf_stats_enabled was set.",
            by_program(&|stats| stats.runs as f64),
        ));
        families.push(counter(
            "execsnoop_program_run_seconds_total",
            "Time spent in a BPF program while kernel.bpf_stats_enabled was set.",
            by_program(&|stats| seconds(stats.run_time_ns)),
        ));
    }
    families
}
