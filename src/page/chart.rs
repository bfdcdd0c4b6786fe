//! A chart of the execs per second in the last minutes.

use std::fmt::Write;

use maud::{Markup, html};

use super::numbers::{rate, span};
use super::words::execs;
use crate::pipeline::history::{History, SPAN, SPANS};

/// The drawing's height in its own units; its width is one unit for each span of time.
const HEIGHT: f64 = 100.0;

pub(super) fn chart(recent: &History, is_classic: bool) -> Markup {
    let seconds = SPAN.as_secs_f64();
    let rates: Vec<f64> = recent.counts().map(|n| n as f64 / seconds).collect();
    let top = round_up(rates.iter().copied().fold(0.0, f64::max));
    let summary = match (recent.peak_per_second(), recent.per_second(SPANS)) {
        (Some(peak), Some(average)) => Some((rate(peak), rate(average))),
        _ => None,
    };
    let first = SPANS - rates.len();
    let minutes = SPAN * u32::try_from(SPANS).unwrap_or(u32::MAX) / 60;
    let minutes = minutes.as_secs();
    html! {
        section.chart aria-labelledby="rate" {
            h2 #rate { (execs(is_classic)) " per second" }
            p {
                @match &summary {
                    Some((peak, average)) => { "peak " b { (peak) } ", average " b { (average) } }
                    None => { "not measured yet: the first rate is shown after " (SPAN.as_secs()) " s" }
                }
            }
            div.plot {
                div.scale aria-hidden="true" {
                    span { (mark(top)) } span { (mark(top / 2.0)) } span { "0" }
                }
                svg role="img" aria-labelledby="chart-title chart-desc"
                    viewBox={ "0 0 " (SPANS) " " (HEIGHT) } preserveAspectRatio="none" {
                    title #chart-title { (execs(is_classic)) " per second in the last " (minutes) " minutes" }
                    desc #chart-desc {
                        "Counted in spans of " (SPAN.as_secs()) " seconds, each exec up to a second after it was executed."
                        @if let Some((peak, average)) = &summary {
                            " At most " (peak) " per second, " (average) " on average."
                        }
                    }
                    @if first > 0 {
                        rect.before width=(first) height=(HEIGHT) { title { "Before the start" } }
                    }
                    path.grid d={ "M0 .5H" (SPANS) "M0 50H" (SPANS) } {}
                    path.area d=(area(&rates, top)) {}
                    path.line d=(steps(&rates, top)) {}
                    path.grid d={ "M0 " (HEIGHT) "H" (SPANS) } {}
                    @for (i, per_second) in rates.iter().enumerate() {
                        rect.at x=(first + i) width="1" height=(HEIGHT) {
                            title { (describe_span(rates.len() - i - 1, *per_second)) }
                        }
                    }
                }
                div.times aria-hidden="true" {
                    span { (minutes) " min ago" }
                    span { (minutes * 2 / 3) }
                    span { (minutes / 3) }
                    span { "now" }
                }
            }
        }
    }
}

/// Returns the tooltip of a span. `followed_by` is the number of later spans.
fn describe_span(followed_by: usize, per_second: f64) -> String {
    if followed_by == 0 {
        let execs = per_second * SPAN.as_secs_f64();
        return format!("{execs:.0} so far, in the span that has not ended yet");
    }
    let rate = rate(per_second);
    let ago = SPAN * u32::try_from(followed_by).unwrap_or(u32::MAX);
    format!("{rate} per second, {} ago", span(ago))
}

/// Rounds up to 1, 2, 3, 4, 5, 6 or 8 times a power of ten, and to at least 1.
fn round_up(peak: f64) -> f64 {
    let mut power = 1.0;
    loop {
        for step in [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0] {
            if peak <= step * power {
                return step * power;
            }
        }
        power *= 10.0;
    }
}

/// Formats a number of the scale. Below 10, such a number is a multiple of 0.5.
fn mark(at: f64) -> String {
    if at < 10.0 { at.to_string() } else { rate(at) }
}

/// Returns the SVG path of the rates' outline, with a step at the edge of each span.
fn steps(rates: &[f64], top: f64) -> String {
    let first = SPANS - rates.len();
    let mut path = String::new();
    for (i, rate) in rates.iter().enumerate() {
        let begin = if i == 0 { 'M' } else { 'L' };
        let (x, y) = (first + i, HEIGHT - rate / top * HEIGHT);
        // Writing to a String does not fail.
        let _ = write!(path, "{begin}{x} {y:.1}H{}", x + 1);
    }
    path
}

fn area(rates: &[f64], top: f64) -> String {
    let first = SPANS - rates.len();
    format!("{}V{HEIGHT}H{first}Z", steps(rates, top))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_number_above_the_peak() {
        let tops = [0.0, 1.0, 1.1, 2.5, 9.0, 10.0, 218.0, 4_999.0].map(round_up);
        assert_eq!(tops, [1.0, 1.0, 2.0, 3.0, 10.0, 10.0, 300.0, 5_000.0]);
    }

    #[test]
    fn the_last_span_is_at_the_right_edge() {
        assert_eq!(steps(&[1.0, 0.0], 2.0), "M178 50.0H179L179 100.0H180");
        assert_eq!(area(&[2.0], 2.0), "M179 0.0H180V100H179Z");
    }

    #[test]
    fn each_span_is_described_by_its_age() {
        assert_eq!(
            describe_span(0, 3.0),
            "15 so far, in the span that has not ended yet"
        );
        assert_eq!(describe_span(13, 1200.0), "1,200 per second, 1 min 5 s ago");
    }
}
