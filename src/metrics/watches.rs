//! The metric families of the watches.

use super::families::{Family, count, counter, gauge, pair, value};
use crate::pipeline::watch::WatchCounts;
use crate::record::Outcome;
use crate::sys::clock::Timestamp;

/// `has_exits` says whether exits are observed.
pub(super) fn families(watches: &[WatchCounts], has_exits: bool) -> Vec<Family> {
    let label = |watch: &WatchCounts| vec![pair("watch", &*watch.name)];
    let seconds = |time: Timestamp| time.unix_ms() as f64 / 1e3;
    let execs = watches
        .iter()
        .map(|watch| count(label(watch), watch.execs).since(watch.start));
    let last = watches.iter().filter_map(|watch| {
        let last = watch.last_exec?;
        Some(value(label(watch), seconds(last)))
    });
    let mut families = vec![
        counter(
            "execsnoop_watch_execs_total",
            "Execs that match a watch.",
            execs.collect::<Vec<_>>(),
        ),
        gauge(
            "execsnoop_watch_last_exec_timestamp_seconds",
            "When the last exec that matches a watch was counted; absent until there was one.",
            last.collect::<Vec<_>>(),
        ),
    ];
    let (mut exits, mut last_exits) = (Vec::new(), Vec::new());
    for watch in watches.iter().filter(|_| has_exits) {
        let Some((counts, times)) = watch.exits else {
            continue;
        };
        for ((outcome, n), last) in Outcome::ALL.into_iter().zip(counts).zip(times) {
            let labels = || {
                let mut labels = label(watch);
                labels.push(pair("outcome", outcome.name()));
                labels
            };
            exits.push(count(labels(), n).since(watch.start));
            last_exits.extend(last.map(|last| value(labels(), seconds(last))));
        }
    }
    if !exits.is_empty() {
        families.push(counter(
            "execsnoop_watch_exits_total",
            "Processes that exited and match a watch, by outcome.",
            exits,
        ));
        families.push(gauge(
            "execsnoop_watch_last_exit_timestamp_seconds",
            "When the last exit that matches a watch was counted, by outcome; absent until there was \
             one.",
            last_exits,
        ));
    }
    families
}
