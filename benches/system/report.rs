//! The results in words: `docs/benchmarks.md`, and its tables on standard output.

use std::fmt::Write as _;

use crate::goals;
use crate::kernel_time::{self, KernelTime};
use crate::quartiles::Quartiles;
use crate::results::{Results, Row};
use crate::slowdown::Slowdown;

/// Where there is no figure.
const NONE: &str = "–";

/// How each column comes about: prose, and so kept as such.
const METHOD: &str = include_str!("method.md");

pub(crate) fn markdown(results: &Results) -> String {
    let machine = &results.machine;
    let kind = if machine.is_virtual {
        " (virtual machine)"
    } else {
        ""
    };
    format!(
        "# Benchmarks\n\n\
         Written by `cargo bench --bench system`; not edited by hand.\n\n\
         - machine: {cpu}, {cores} CPUs{kind}\n\
         - kernel: {kernel}\n\
         - date: {date}; load average before: {load}; the run took {took} s\n\
         - one exec with nothing attached: {exec}; one `getppid`: {call}\n\n\
         ![Exec slowdown and share of execs counted](benchmarks.svg)\n\n\
         ## Goals\n\n{goals}\n\
         ## Side by side\n\n{tools}\n{notes}{details}\n\
         ## User space alone\n\n{pipeline}\n\
         {METHOD}",
        cpu = machine.cpu,
        cores = machine.cores,
        kernel = machine.kernel,
        date = machine.date,
        load = machine.load,
        took = results.took.as_secs(),
        exec = or_none(results.control.execs.alone(), |ns| format!(
            "{:.0} us",
            ns.median / 1e3
        )),
        call = or_none(results.control.calls.alone(), |ns| format!(
            "{:.0} ns",
            ns.median
        )),
        goals = goals_table(results),
        tools = tools_table(results),
        notes = notes(results),
        details = details_table(results),
        pipeline = pipeline_table(results),
    )
}

/// What a terminal shows at the end.
pub(crate) fn summary(results: &Results) -> String {
    format!(
        "\n{}\n{}\n{}",
        goals_table(results),
        tools_table(results),
        notes(results)
    )
}

fn goals_table(results: &Results) -> String {
    table(
        &["what", "goal", "measured", ""],
        goals::judge(results).iter().map(|goal| {
            vec![
                goal.what.to_owned(),
                goal.target.to_owned(),
                goal.measured.clone(),
                goal.verdict().to_owned(),
            ]
        }),
    )
}

fn tools_table(results: &Results) -> String {
    let slowdown = |slowdown: &Slowdown| {
        (
            or_none(slowdown.execs.ratio(), |ratio| ratio.to_string()),
            or_none(slowdown.calls.ratio(), |ratio| ratio.to_string()),
        )
    };
    let (exec, call) = slowdown(&results.control);
    let big = Quartiles::of(results.big_control.iter().copied());
    let big = or_none(big, |ratio| ratio.to_string());
    let mut control = vec!["nothing (control)".to_owned(), exec, big, call];
    control.resize(9, NONE.to_owned());
    let tools = results.rows.iter().map(|row| {
        let (exec, call) = slowdown(&row.slowdown);
        vec![
            row.tool.name().to_owned(),
            exec,
            or_none(row.big_slowdown(), |ratio| ratio.to_string()),
            call,
            or_none(row.share(), |percent| format!("{} %", share(row, percent))),
            or_none(row.resident_mb(), |mb| format!("{mb:.1} MB")),
            or_none(row.cpu_percent_at(goals::RATE), |cpu| format!("{cpu:.2} %")),
            or_none(row.idle, |idle| format!("{:.1}", idle.switches)),
            or_none(row.idle, |idle| format!("{:.2} %", idle.cpu)),
        ]
    });
    table(
        &[
            "",
            "exec, one CPU",
            "exec, all CPUs",
            "other syscalls",
            "execs counted",
            "memory",
            "CPU at 10 000 exec/s",
            "wakeups/s, idle",
            "CPU, idle",
        ],
        std::iter::once(control).chain(tools),
    )
}

fn details_table(results: &Results) -> String {
    let tools = results.rows.iter().map(|row| {
        let (counted, made) = row.counted();
        vec![
            row.tool.name().to_owned(),
            row.version.clone(),
            row.slowdown.execs.len().to_string(),
            or_none(row.slowdown.calls.added(), |ns| {
                format!("{:+.1} ns", ns.median)
            }),
            format!("{counted} of {made}"),
            or_none(row.rate(), |rate| format!("{rate:.0} exec/s")),
            or_none(
                row.rate().and_then(|rate| row.cpu_percent_at(rate)),
                |cpu| format!("{cpu:.2} %"),
            ),
            or_none(row.cpu_ns_per_exec(), |ns| format!("{:.2} us", ns / 1e3)),
        ]
    });
    table(
        &[
            "",
            "version",
            "pairs",
            "added to a syscall",
            "execs counted",
            "rate of the storm",
            "CPU at that rate",
            "CPU time for an exec",
        ],
        tools,
    )
}

/// What does not fit a table: failures, and how idle it was.
fn notes(results: &Results) -> String {
    let mut notes = String::new();
    for row in &results.rows {
        if let Some(error) = &row.error {
            let error = error.replace('\n', " ");
            let _ = writeln!(notes, "**{}** was given up: {error}\n", row.tool.name());
        }
    }
    match results.kernel_time.as_deref() {
        Err(error) => {
            let _ = writeln!(notes, "**Time in the kernel** was not measured: {error}\n");
        }
        Ok(rounds) => {
            for tool in kernel_time::TOOLS {
                if let Some(time) = KernelTime::of(rounds, tool) {
                    let _ = writeln!(
                        notes,
                        "In the kernel, {} took {:.0} ns (quartiles {:.0}–{:.0}) for each exec, \
                         {:.1}x the {:.0} ns ({:.0}–{:.0}) of a no-op program at the same place, \
                         and {:.0} ns for each exit.\n",
                        tool.name(),
                        time.ours.median,
                        time.ours.low,
                        time.ours.high,
                        time.ratio.median,
                        time.noop.median,
                        time.noop.low,
                        time.noop.high,
                        time.exit.median,
                    );
                }
            }
        }
    }
    if let Some(reader) = results.ours().idle.and_then(|idle| idle.reader) {
        let _ = writeln!(
            notes,
            "While idle, the machine made {:.1} execs a second, and execsnoopd's reader woke up \
             {:.1} times a second.\n",
            reader.execs, reader.wakeups
        );
    }
    notes
}

fn pipeline_table(results: &Results) -> String {
    table(
        &["benchmark", "parameter", "median", "a second"],
        results.pipeline.iter().map(|(group, parameter, estimate)| {
            let mut row = vec![format!("`{group}`"), parameter.to_owned()];
            let not_measured = "not measured".to_owned();
            row.extend(match estimate {
                None => [not_measured, NONE.to_owned()],
                Some(estimate) => [
                    format!("{:.1} us", estimate.ns / 1e3),
                    format!("{:.1} M", estimate.per_second / 1e6),
                ],
            });
            row
        }),
    )
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn or_none<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), text)
}

/// A share that is not whole does not look like it, however little is missing.
pub(crate) fn share(row: &Row, percent: f64) -> String {
    let (counted, made) = row.counted();
    if counted == made {
        "100".to_owned()
    } else {
        format!("{:.2}", (percent * 100.0).floor() / 100.0)
    }
}
