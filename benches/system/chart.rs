//! The results as a picture: `docs/benchmarks.svg`.

use std::fmt::Write as _;

use crate::quartiles::Quartiles;
use crate::report;
use crate::results::{Results, Row};
use crate::svg::{FAINT, MARGIN, OURS, TEXT, begin, text};

/// Where bars begin: names stand to the left.
const LEFT: f64 = 250.0;
/// Where a bar of the full scale ends: its figure stands to the right.
const RIGHT: f64 = 730.0;
const BAR: f64 = 22.0;
const STEP: f64 = 34.0;
/// From a panel's top to its first bar.
const HEAD: f64 = 44.0;

const PEERS: &str = "#a9b1bb";

/// A bar, or why there is none.
struct Bar {
    name: &'static str,
    is_ours: bool,
    value: Option<f64>,
    spread: Option<(f64, f64)>,
    label: String,
}

#[allow(clippy::cast_precision_loss)] // a handful of rows
pub(crate) fn svg(results: &Results) -> String {
    let machine = &results.machine;
    let panel = HEAD + STEP * results.rows.len() as f64 + 30.0;
    let top = 74.0;
    let height = top + 2.0 * panel - 8.0;
    let mut svg = begin("Exec slowdown and share of execs counted", height);
    let heading = "What watching execs costs, and how much is seen";
    text(&mut svg, MARGIN, 36.0, 18, TEXT, "600", heading);
    let subtitle = format!(
        "{}, {} CPUs, Linux {}, {}",
        machine.cpu, machine.cores, machine.kernel, machine.date
    );
    text(&mut svg, MARGIN, 57.0, 12, FAINT, "400", &subtitle);

    let slowdowns: Vec<_> = results.rows.iter().map(slowdown).collect();
    let longest = slowdowns
        .iter()
        .filter_map(|bar| Some(bar.spread?.1.max(bar.value?)))
        .fold(1.5, f64::max);
    let head = "Exec slowdown in a storm on one CPU (1.0x: nothing attached); less is better";
    draw(&mut svg, top, head, &slowdowns, longest, 1.0);

    let shares: Vec<_> = results.rows.iter().map(counted).collect();
    let head = "Execs counted in a storm on all CPUs; 100 % is all";
    draw(&mut svg, top + panel, head, &shares, 100.0, 100.0);
    svg.push_str("</svg>\n");
    svg
}

fn slowdown(row: &Row) -> Bar {
    let ratio = row.slowdown.execs.ratio();
    Bar {
        value: ratio.map(|ratio| ratio.median),
        spread: ratio.map(|Quartiles { low, high, .. }| (low, high)),
        label: ratio.map_or_else(String::new, |ratio| format!("{:.2}x", ratio.median)),
        ..bar(row)
    }
}

fn counted(row: &Row) -> Bar {
    let percent = row.share();
    Bar {
        value: percent,
        label: percent.map_or_else(String::new, |percent| {
            format!("{} %", report::share(row, percent))
        }),
        ..bar(row)
    }
}

fn bar(row: &Row) -> Bar {
    Bar {
        name: row.tool.name(),
        is_ours: row.tool.is_ours(),
        value: None,
        spread: None,
        label: String::new(),
    }
}

/// A panel: its heading, its bars up to `scale`, a line at `reference`.
#[allow(clippy::cast_precision_loss)] // a handful of bars
fn draw(svg: &mut String, top: f64, head: &str, bars: &[Bar], scale: f64, reference: f64) {
    let x = |value: f64| LEFT + value / scale * (RIGHT - LEFT);
    text(svg, MARGIN, top + 22.0, 14, TEXT, "600", head);
    let first = top + HEAD;
    for (n, bar) in bars.iter().enumerate() {
        let y = first + STEP * n as f64;
        let middle = y + BAR / 2.0;
        let (fill, weight) = if bar.is_ours {
            (OURS, "600")
        } else {
            (PEERS, "400")
        };
        text(svg, MARGIN, middle + 4.5, 13, TEXT, weight, bar.name);
        let Some(value) = bar.value else {
            text(
                svg,
                LEFT + 6.0,
                middle + 4.5,
                13,
                FAINT,
                "400",
                "could not be measured",
            );
            continue;
        };
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"3\" \
             fill=\"{fill}\"/>",
            x(value) - LEFT
        );
        let mut end = x(value);
        if let Some((low, high)) = bar.spread {
            end = end.max(x(high));
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {middle}H{:.1}\" stroke=\"{TEXT}\" stroke-width=\"1.5\"/>",
                x(low),
                x(high)
            );
        }
        text(svg, end + 10.0, middle + 4.5, 13, TEXT, weight, &bar.label);
    }
    let bottom = first + STEP * bars.len() as f64 - (STEP - BAR) + 5.0;
    let _ = writeln!(
        svg,
        "<path d=\"M{x:.1} {from}V{bottom}\" stroke=\"{FAINT}\" stroke-dasharray=\"3 3\"/>",
        x = x(reference),
        from = first - 5.0,
    );
}
