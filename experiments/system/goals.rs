//! The goals of the design, and whether the results meet them.

use crate::kernel_time::KernelTime;
use crate::results::Results;
use crate::tool::Tool;

/// The rate of execs for which the daemon's CPU time has a goal.
pub(crate) const RATE: f64 = 10_000.0;

#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) target: &'static str,
    pub(crate) measured: String,
    /// None if it was not measured.
    pub(crate) is_met: Option<bool>,
}

impl Goal {
    fn new(what: &'static str, target: &'static str, measured: Option<(String, bool)>) -> Self {
        match measured {
            Some((measured, is_met)) => Self {
                what,
                target,
                measured,
                is_met: Some(is_met),
            },
            None => Self {
                what,
                target,
                measured: "–".to_owned(),
                is_met: None,
            },
        }
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match self.is_met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        }
    }
}

pub(crate) fn judge(results: &Results) -> Vec<Goal> {
    let mut goals = in_the_kernel(results);
    goals.extend(in_user_space(results));
    goals
}

fn in_the_kernel(results: &Results) -> Vec<Goal> {
    let ours = results.ours();
    let kernel_time = results.kernel_time.as_deref().ok();
    let kernel_time = kernel_time.and_then(|rounds| KernelTime::of(rounds, Tool::DEFAULTS));
    vec![
        Goal::new(
            "exec slowdown in a storm on one CPU",
            "≤ 1.02x",
            ours.slowdown
                .execs
                .ratio()
                .map(|ratio| (format!("{ratio:.3}"), ratio.median <= 1.02)),
        ),
        Goal::new(
            "time in the kernel per exec event",
            "≤ 5x a no-op program",
            kernel_time.map(|time| {
                let measured = format!(
                    "{:.1} ({:.0} ns; no-op: {:.0} ns)",
                    time.ratio, time.ours.median, time.noop.median
                );
                (measured, time.ratio.median <= 5.0)
            }),
        ),
        Goal::new(
            "overhead on other system calls (`getppid`)",
            "none measurable: at most the upper quartile of the control",
            ours.slowdown
                .calls
                .ratio()
                .zip(results.control.calls.ratio())
                .map(|(ratio, control)| {
                    (
                        format!("{ratio:.3}, control {control:.3}"),
                        ratio.median <= control.high,
                    )
                }),
        ),
        Goal::new(
            "execs counted in a storm on all CPUs",
            "100 %, ledger difference 0",
            ours.is_exact().map(|is_exact| {
                let (counted, made) = ours.counted();
                (format!("{counted} of {made}"), is_exact)
            }),
        ),
    ]
}

fn in_user_space(results: &Results) -> Vec<Goal> {
    let ours = results.ours();
    let pipeline = &results.pipeline;
    let reader = ours.idle.and_then(|idle| idle.reader);
    vec![
        Goal::new(
            "the daemon's CPU time at 10 000 exec/s",
            "≤ 1 % of one core",
            ours.cpu_percent_at(RATE)
                .map(|percent| (format!("{percent:.2} %"), percent <= 1.0)),
        ),
        Goal::new(
            "wakeups of the reader when idle",
            "≤ 2 per second",
            reader.map(|reader| (format!("{:.1}", reader.wakeups), reader.wakeups <= 2.0)),
        ),
        Goal::new(
            "CPU when idle",
            "0.0 %",
            ours.idle
                .map(|idle| (format!("{:.3} %", idle.cpu), idle.cpu < 0.05)),
        ),
        Goal::new(
            "decode and aggregate, one core",
            "≥ 5 M events/s",
            pipeline.get("decode_and_aggregate", "200").map(|estimate| {
                (
                    format!("{:.1} M events/s", estimate.per_second / 1e6),
                    estimate.per_second >= 5e6,
                )
            }),
        ),
        Goal::new(
            "scrape of 10 000 series",
            "≤ 10 ms",
            pipeline
                .get("scrape", "10000")
                .map(|estimate| (format!("{:.1} ms", estimate.ns / 1e6), estimate.ns <= 10e6)),
        ),
        Goal::new(
            "resident memory, defaults",
            "≤ 10 MB",
            ours.resident_mb()
                .map(|mb| (format!("{mb:.1} MB"), mb <= 10.0)),
        ),
    ]
}
