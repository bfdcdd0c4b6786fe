//! Median and quartiles.

use std::fmt;

use serde::Serialize;

/// The three quartiles of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quartiles {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Quartiles {
    /// Returns None if there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        if values.is_empty() {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let at = |quarters| interpolated(&values, quarters);
        Some(Self {
            low: at(1),
            median: at(2),
            high: at(3),
        })
    }
}

/// Formats median and quartiles as factors: `1.02x (1.00–1.03)`. Without a precision in the format,
/// they have two decimals.
impl fmt::Display for Quartiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, median, high } = self;
        let digits = f.precision().unwrap_or(2);
        write!(f, "{median:.digits$}x ({low:.digits$}–{high:.digits$})")
    }
}

/// Interpolates between the two nearest values, as R and Excel do by default.
fn interpolated(sorted: &[f64], quarters: usize) -> f64 {
    let position = (sorted.len() - 1) * quarters;
    let (below, rest) = (position / 4, position % 4);
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * rest as f64 / 4.0
}
