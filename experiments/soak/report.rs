//! Writes the results into docs/reliability.md, between two marker comments.

use anyhow::Result;
use experiments::marked;

use crate::SCRAPE_EVERY;
use crate::results::Results;

const PAGE: &str = "docs/reliability.md";

/// Replaces the text between the marker comments.
pub(crate) fn write(results: &Results) -> Result<&'static str> {
    marked::write(PAGE, "soak", &text(results))?;
    Ok(PAGE)
}

pub(crate) fn text(results: &Results) -> String {
    let machine = &results.machine;
    let rows = counts(results).into_iter().chain(costs(results));
    let rows = rows.map(|(what, value)| format!("| {what} | {value} |\n"));
    let broken: Vec<_> = results
        .judge()
        .into_iter()
        .filter(|verdict| !verdict.holds)
        .collect();
    let broken = broken
        .iter()
        .map(|verdict| format!("**Failed**: {}.\n\n", verdict.what));
    format!(
        "![Memory, descriptors, execs and the ledger of these {minutes:.0} minutes](soak.svg)\n\n\
         {broken}{minutes:.0} minutes on {date}: {cpu}, {cores} CPUs{kind}, Linux {kernel}.\n\
         The load used {load:.0} % of one CPU. Other work used {others:.0} % of the machine, and its execs are counted as well.\n\n\
         | | |\n|---|---|\n{rows}",
        minutes = results.length.as_secs_f64() / 60.0,
        broken = broken.collect::<String>(),
        date = machine.date,
        cpu = machine.cpu,
        cores = machine.cores,
        kind = if machine.is_virtual {
            " (a virtual machine)"
        } else {
            ""
        },
        kernel = machine.kernel,
        load = results.percent(results.cpu.load),
        others = results.others_percent(),
        rows = rows.collect::<String>(),
    )
}

/// The rows that compare counts.
fn counts(results: &Results) -> [(String, String); 8] {
    let truth = &results.truth;
    let last = results.last();
    let row = |what: &str, value: String| (what.to_owned(), value);
    let programs = truth.by_program.len();
    let made: u64 = truth.by_program.values().sum();
    let counted = truth.by_program.keys();
    let counted = counted.map(|name| results.scrape.execs_of(name)).sum();
    [
        row(
            "execs in the load's unit: made, counted",
            pair(truth.in_unit, results.counted_in_unit()),
        ),
        row(
            "of these, under names that were used only once",
            grouped(truth.names as f64),
        ),
        (
            format!("execs of {programs} recurring programs: made, counted"),
            pair(made, counted),
        ),
        row(
            "short-lived services and containers",
            grouped(truth.cgroups as f64),
        ),
        row(
            "exits with a status that only the load used: made, counted",
            pair(truth.with_status, results.counted_exits()),
        ),
        row(
            "execs that failed",
            format!("{}{}", grouped(truth.failed as f64), failures(results)),
        ),
        row(
            "execs of the host; execs and exits that lost their details",
            format!("{}; {}", grouped(last.execs), grouped(last.lost)),
        ),
        (
            format!(
                "largest difference in {} samples: ledger, sum of a view",
                results.samples.len()
            ),
            format!(
                "{}, {}",
                results.most(|sample| sample.difference),
                results.most(|sample| sample.views_difference)
            ),
        ),
    ]
}

/// The rows that show what the daemon costs.
fn costs(results: &Results) -> [(String, String); 6] {
    let last = results.last();
    let row = |what: &str, value: String| (what.to_owned(), value);
    let (before, after) = (results.rest_before, results.rest_after);
    let (scrapes, answered) = results.scrapes;
    let mut seconds: Vec<_> = results
        .samples
        .iter()
        .map(|sample| sample.scrape_seconds)
        .collect();
    seconds.sort_by(f64::total_cmp);
    let scrape = |percent: usize| seconds[(seconds.len() - 1) * percent / 100] * 1e3;
    [
        row(
            "resident memory: median of the second quarter, median of the last quarter; peak",
            format!(
                "{:.2} MB, {:.2} MB; {:.2} MB",
                mb(results.in_quarter(2).median),
                mb(results.in_quarter(4).median),
                mb(results.most(|sample| sample.resident_kib)),
            ),
        ),
        row(
            "anonymous memory, included above; BPF maps in the kernel, not included",
            format!(
                "{:.2} MB; {:.2} MB",
                mb(last.anonymous_kib),
                mb(last.maps_kib)
            ),
        ),
        row(
            "descriptors, threads: idle before and after; peak",
            format!(
                "{} and {}, {} and {}; {}, {}",
                before.descriptors,
                after.descriptors,
                before.threads,
                after.threads,
                results.most(|sample| sample.descriptors as f64),
                results.most(|sample| sample.threads as f64),
            ),
        ),
        row(
            "CPU time of the daemon",
            format!(
                "{:.2} % of one CPU: {:.1} us per exec, including scrapes",
                results.percent(results.cpu.daemon),
                results.cpu.daemon / last.execs * 1e6
            ),
        ),
        (
            format!(
                "scrape of {:.0} kB: median, 99th percentile, longest (the stops last 2 s)",
                last.scrape_bytes as f64 / 1e3
            ),
            format!(
                "{:.0} ms, {:.0} ms, {:.0} ms",
                scrape(50),
                scrape(99),
                scrape(100)
            ),
        ),
        (
            format!(
                "scrapes by Prometheus {} every {} s: made, answered; other connections",
                results.version,
                SCRAPE_EVERY.as_secs()
            ),
            format!(
                "{scrapes}, {answered}; {}",
                grouped(results.connections as f64)
            ),
        ),
    ]
}

fn pair(made: u64, counted: f64) -> String {
    format!("{}, {}", grouped(made as f64), grouped(counted))
}

/// How many failed execs the daemon counted.
fn failures(results: &Results) -> String {
    let counts = results.scrape.family("execsnoop_exec_failures_total");
    match counts
        .map(|(_, count)| count)
        .reduce(|sum, count| sum + count)
    {
        Some(counted) => format!("; {} of the host counted", grouped(counted)),
        None => "; not counted, because this kernel has no hook for them".to_owned(),
    }
}

/// Formats a whole number with its digits in groups of three.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn mb(kib: f64) -> f64 {
    kib * 1024.0 / 1e6
}

impl Results {
    /// Converts CPU seconds to percent of one CPU.
    fn percent(&self, seconds: f64) -> f64 {
        seconds / self.length.as_secs_f64() * 100.0
    }
}
