//! Durations as Go writes them.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// The first match counts, so a unit such as `ms` precedes its prefix `m`.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Reads a duration, for example `1m30s` or `1.5s`. A number without a unit is in nanoseconds.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = Option::deserialize(deserializer)?.unwrap_or_else(|| "0".to_owned());
    parse(&text).ok_or_else(|| {
        let message = format!("`{text}` is not a duration such as 500ms, 1s or 1m30s");
        D::Error::custom(message)
    })
}

/// This is not left to a crate: humantime has other units and no fractions, and go-parse-duration
/// 0.1 panics on `1µs`.
fn parse(text: &str) -> Option<Duration> {
    if let Ok(nanoseconds) = text.parse() {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(|c: char| c != '.' && !c.is_ascii_digit())?);
        let (name, seconds) = UNITS.iter().find(|(name, _)| unit.starts_with(name))?;
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = &unit[name.len()..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_form_of_go() {
        for (text, milliseconds) in [
            ("0", 0),
            ("1s", 1000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("2ms3000µs1000000ns", 6),
            ("1000000", 1),
        ] {
            assert_eq!(
                parse(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "s", "1", "1d", "-1s", "1 s", "1e400s", "1sms", "1s1"] {
            let nanosecond = (text == "1").then_some(Duration::from_nanos(1));
            assert_eq!(parse(text), nanosecond, "{text}");
        }
    }
}
