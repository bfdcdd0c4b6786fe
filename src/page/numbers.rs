//! Formats numbers for people.

use std::time::Duration;

use maud::{Markup, html};

/// Formats a count with grouped digits, and with the plain number as the `value` for programs.
pub(super) fn count(n: u64) -> Markup {
    html! { data value=(n) { (grouped(n)) } }
}

/// Groups digits by commas: `1,234,567`.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a rate, with one decimal below 10.
pub(super) fn rate(per_second: f64) -> String {
    if per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        grouped(rounded(per_second))
    }
}

/// Formats CPU time, given in nanoseconds, in seconds, with two decimals below 100 s.
pub(super) fn seconds(ns: u64) -> String {
    let seconds = ns as f64 / 1e9;
    if seconds < 99.995 {
        format!("{seconds:.2}")
    } else {
        grouped(rounded(seconds))
    }
}

/// Formats a part of a whole in percent.
pub(super) fn share(part: u64, whole: u64) -> String {
    let percent = percent(part, whole);
    match part {
        0 => "0 %".to_owned(),
        _ if percent < 0.1 => "< 0.1 %".to_owned(),
        _ if part < whole && percent > 99.9 => "> 99.9 %".to_owned(),
        _ => format!("{percent:.1} %"),
    }
}

pub(super) fn percent(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}

/// Formats a duration in its two largest units: `3 h 12 min`.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, unit)| seconds >= *unit) else {
        return "0 s".to_owned();
    };
    let (name, unit) = units[first];
    let text = format!("{} {name}", seconds / unit);
    match units.get(first + 1) {
        Some((name, lesser)) if seconds % unit >= *lesser => {
            format!("{text} {} {name}", seconds % unit / lesser)
        }
        _ => text,
    }
}

/// `n` must not be negative and must be below 2^53.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn rounded(n: f64) -> u64 {
    n.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(n), text);
        }
    }

    #[test]
    fn small_numbers_have_decimals_and_large_ones_have_none() {
        let rates = [0.0, 0.04, 9.94, 9.96, 1234.4].map(rate);
        assert_eq!(rates, ["0.0", "0.0", "9.9", "10", "1,234"]);
        let cpu = [0, 1_234_567_890, 99_994_000_000, 1_234_000_000_000].map(seconds);
        assert_eq!(cpu, ["0.00", "1.23", "99.99", "1,234"]);
    }

    #[test]
    fn a_share_is_0_or_100_percent_only_if_exact() {
        let of = |part| share(part, 100_000);
        let shares = [0, 1, 100, 33_333, 99_999, 100_000].map(of);
        assert_eq!(
            shares,
            ["0 %", "< 0.1 %", "0.1 %", "33.3 %", "> 99.9 %", "100.0 %"]
        );
        assert_eq!(share(0, 0), "0 %");
    }

    #[test]
    fn a_span_has_two_units() {
        let spans = [0, 5, 60, 61, 3600, 3661, 90_000, 864_000];
        let spans = spans.map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(
            spans,
            [
                "0 s",
                "5 s",
                "1 min",
                "1 min 1 s",
                "1 h",
                "1 h 1 min",
                "1 d 1 h",
                "10 d"
            ]
        );
    }
}
