//! The run as a picture: `docs/soak.svg`.

use std::fmt::Write as _;

use crate::report::{grouped, mb};
use crate::results::Results;
use crate::sample::Sample;
use crate::schedule::Act;
use crate::svg::{FAINT, MARGIN, OURS, TEXT, WIDTH, begin, text};

const LEFT: f64 = 92.0;
const RIGHT: f64 = WIDTH - MARGIN;
/// From a panel's top to its plot, of the plot, and to the next panel.
const HEAD: f64 = 36.0;
const PLOT: f64 = 104.0;
const PANEL: f64 = HEAD + PLOT + 22.0;
const FIRST: f64 = 74.0;
/// Of a row of marks.
const ROW: f64 = 20.0;

const BLUE: &str = "#3b6fb5";
const RED: &str = "#c4432b";
const GRID: &str = "#eaeef2";

struct Line {
    name: &'static str,
    color: &'static str,
    values: Vec<f64>,
    /// Not joined: each from the bottom, where there is any.
    is_stems: bool,
}

enum Scale {
    /// From the first to the second, with a line at each multiple of the third.
    Linear(f64, f64, f64),
    /// Powers of ten from 1 to this.
    Log(f64),
}

impl Scale {
    /// From 0 to as much as is needed.
    fn up_to(most: f64) -> Self {
        let steps = (0..9).flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10_f64.powi(power)));
        let step = steps
            .into_iter()
            .find(|step| most / step <= 4.0)
            .unwrap_or(most);
        Self::Linear(0.0, (most / step).ceil().max(1.0) * step, step)
    }

    /// From 0 at the bottom to 1 at the top.
    fn share(&self, value: f64) -> f64 {
        match self {
            Self::Linear(low, high, _) => (value - low) / (high - low),
            Self::Log(high) => value.max(1.0).log10() / high.log10(),
        }
    }

    fn ticks(&self) -> Vec<f64> {
        let (first, next): (f64, Box<dyn Fn(f64) -> f64>) = match *self {
            Self::Linear(low, _, step) => (low, Box::new(move |value| value + step)),
            Self::Log(_) => (1.0, Box::new(|value| value * 10.0)),
        };
        let ticks = std::iter::successors(Some(first), |value| Some(next(*value)));
        ticks
            .take_while(|value| self.share(*value) <= 1.001)
            .collect()
    }
}

pub(crate) fn svg(results: &Results) -> String {
    let samples = &results.samples;
    let end = results.length.as_secs_f64();
    let times: Vec<_> = samples.iter().map(|sample| sample.at).collect();
    let marks_top = FIRST + 4.0 * PANEL;
    let mut svg = begin(
        "Memory, descriptors, execs and the ledger over time",
        marks_top + 3.0 * ROW + 34.0,
    );
    let heading = format!("{:.0} minutes on a busy host", end / 60.0);
    text(&mut svg, MARGIN, 36.0, 18, TEXT, "600", &heading);
    let machine = &results.machine;
    let subtitle = format!(
        "{}, {} CPUs, Linux {}, {}; other work took {:.0} % of the machine",
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.date,
        results.others_percent()
    );
    text(&mut svg, MARGIN, 57.0, 12, FAINT, "400", &subtitle);
    let mut top = FIRST;
    for (head, scale, lines) in panels(results) {
        panel(&mut svg, top, &head, &scale, &lines, &times, end);
        top += PANEL;
    }
    marks(&mut svg, marks_top, results);
    svg.push_str("</svg>\n");
    svg
}

fn panels(results: &Results) -> [(String, Scale, Vec<Line>); 4] {
    let line = |name, color, of: &dyn Fn(&Sample) -> f64| Line {
        name,
        color,
        values: results.samples.iter().map(of).collect(),
        is_stems: false,
    };
    let most_memory = mb(results.most(|sample| sample.resident_kib.max(sample.maps_kib)));
    let most_files = results.most(|sample| sample.descriptors as f64);
    let execs = rates(&results.samples, |sample| sample.execs);
    let lost = rates(&results.samples, |sample| sample.lost);
    let most_execs = execs.iter().chain(&lost).copied().fold(10.0, f64::max);
    let differences = line("of the ledger", OURS, &|s| s.difference);
    let of_views = line("of the views' sums", BLUE, &|s| s.views_difference);
    let off = results.most(|sample| sample.difference.max(sample.views_difference));
    [
        (
            "Memory, MB".to_owned(),
            Scale::up_to(most_memory),
            vec![
                line("resident", OURS, &|s| mb(s.resident_kib)),
                line("of that, the program's own", BLUE, &|s| mb(s.anonymous_kib)),
                line("BPF maps, beside it", FAINT, &|s| mb(s.maps_kib)),
            ],
        ),
        (
            "Descriptors and threads".to_owned(),
            Scale::up_to(most_files),
            vec![
                line("descriptors, connections included", OURS, &|s| {
                    s.descriptors as f64
                }),
                line("threads", BLUE, &|s| s.threads as f64),
            ],
        ),
        (
            "A second".to_owned(),
            Scale::Log(10_f64.powf(most_execs.log10().ceil())),
            vec![
                Line {
                    name: "execs",
                    color: OURS,
                    values: execs,
                    is_stems: false,
                },
                Line {
                    name: "execs and ends counted without detail",
                    color: RED,
                    values: lost,
                    is_stems: true,
                },
            ],
        ),
        (
            "Difference, execs: 0 is right".to_owned(),
            if off == 0.0 {
                Scale::Linear(-1.0, 1.0, 1.0)
            } else {
                Scale::up_to(off)
            },
            vec![of_views, differences],
        ),
    ]
}

/// Of a counter, a second, since the sample before.
fn rates(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Vec<f64> {
    let rates = samples
        .windows(2)
        .map(|pair| (of(&pair[1]) - of(&pair[0])) / (pair[1].at - pair[0].at));
    std::iter::once(0.0).chain(rates).collect()
}

fn x(at: f64, end: f64) -> f64 {
    LEFT + at / end * (RIGHT - LEFT)
}

fn panel(
    svg: &mut String,
    top: f64,
    head: &str,
    scale: &Scale,
    lines: &[Line],
    times: &[f64],
    end: f64,
) {
    text(svg, MARGIN, top + 22.0, 14, TEXT, "600", head);
    let names = lines.iter().map(|line| {
        let Line { name, color, .. } = line;
        format!("<tspan dx=\"18\" fill=\"{color}\">{name}</tspan>")
    });
    let _ = writeln!(
        svg,
        "<text x=\"{RIGHT}\" y=\"{:.1}\" font-size=\"12\" font-weight=\"600\" \
         text-anchor=\"end\">{}</text>",
        top + 22.0,
        names.collect::<String>()
    );
    let y = |value: f64| top + HEAD + (1.0 - scale.share(value)) * PLOT;
    for tick in scale.ticks() {
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"{GRID}\"/>",
            y = y(tick)
        );
        text(svg, MARGIN, y(tick) + 4.0, 11, FAINT, "400", &grouped(tick));
    }
    for line in lines {
        let mut path = String::new();
        for (at, value) in times.iter().zip(&line.values) {
            let (x, y, bottom) = (x(*at, end), y(*value), top + HEAD + PLOT);
            let _ = match (line.is_stems, path.is_empty()) {
                (true, _) if *value > 0.0 => write!(path, "M{x:.1} {bottom:.1}V{y:.1}"),
                (true, _) => Ok(()),
                (false, true) => write!(path, "M{x:.1} {y:.1}"),
                (false, false) => write!(path, "L{x:.1} {y:.1}"),
            };
        }
        let width = if line.is_stems { 3.0 } else { 1.5 };
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" \
             stroke-linejoin=\"round\"/>",
            line.color
        );
    }
}

/// What was done when, and the time.
fn marks(svg: &mut String, top: f64, results: &Results) {
    let end = results.length.as_secs_f64();
    let of = |act: Act| {
        let acts = results.acts.iter().filter(move |(_, done)| *done == act);
        acts.map(|(at, _)| at.as_secs_f64()).collect::<Vec<_>>()
    };
    let storms = results.storms.iter().map(|storm| storm.at.as_secs_f64());
    let rows = [
        ("storm", storms.collect(), OURS),
        ("stopped", of(Act::Stop), RED),
        ("reloaded", of(Act::Reload), BLUE),
    ];
    let mut y = top + 10.0;
    for (name, times, color) in rows {
        text(svg, MARGIN, y + 4.0, 11, FAINT, "400", name);
        for at in times {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{y}\" r=\"3.5\" fill=\"{color}\"/>",
                x(at, end)
            );
        }
        y += ROW;
    }
    text(svg, MARGIN, y + 8.0, 11, FAINT, "400", "minutes");
    for sixth in 0..=6 {
        let at = end * f64::from(sixth) / 6.0;
        let minutes = format!("{:.1}", at / 60.0);
        let minutes = minutes.trim_end_matches(".0");
        let left = x(at, end) - 3.2 * minutes.len() as f64;
        text(svg, left, y + 8.0, 11, FAINT, "400", minutes);
    }
}
