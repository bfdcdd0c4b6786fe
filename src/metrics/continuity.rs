//! The families that tell since when the counters count, across restarts.

use super::families::{Family, count, counter, gauge, pair, value};
use crate::pipeline::continuity::Continuity;

pub(super) fn families(continuity: &Continuity) -> Vec<Family> {
    let how = [
        ("adopted", continuity.adopted),
        ("replaced", continuity.replaced),
    ];
    vec![
        gauge(
            "execsnoop_counting_since_timestamp_seconds",
            "When the counters began at 0, as a Unix timestamp. A restart can continue them.",
            [value(vec![], continuity.counting_since_ms as f64 / 1e3)],
        ),
        counter(
            "execsnoop_handovers_total",
            "How often a restarted daemon continued the counts, by what it did with the BPF \
             programs of its predecessor.",
            how.map(|(how, n)| count(vec![pair("how", how)], n)),
        ),
        counter(
            "execsnoop_unobserved_seconds_total",
            "Time during which no BPF programs counted, because a restarted daemon replaced \
             them.",
            [value(vec![], continuity.unobserved_ns as f64 / 1e9)],
        ),
    ]
}
