//! The totals in large figures.

use std::time::Duration;

use maud::{Markup, html};

use super::numbers::{count, grouped, rate, span};
use super::words::execs;
use crate::names::errno;
use crate::page::summary::Summary;

/// Spans of [`History`](crate::pipeline::history::History) in a minute.
const MINUTE: usize = 12;

pub(super) fn figures(summary: &Summary) -> Markup {
    let last_minute = summary.recent.per_second(MINUTE);
    let name = execs(summary.capture_info.is_classic());
    html! {
        dl.figures {
            (figure(name, Some(count(summary.execs)), &html! {
                @match last_minute {
                    Some(per_second) => { (rate(per_second)) " per second, last minute" }
                    None => "rate not measured yet",
                }
            }))
            @match &summary.failures {
                Some(failures) => (figure("Failed execs", Some(count(failures.total)), &html! {
                    @match failures.by_errno.first() {
                        Some((errno, n)) => { (grouped(*n)) " by " (errno::name(*errno)) }
                        None => "none so far",
                    }
                })),
                None => (figure("Failed execs", None, &html! { "not observed" })),
            }
            @match &summary.exits {
                Some(exits) => {
                    (figure("Process exits", Some(count(exits.total)), &html! {
                        (grouped(exits.failed)) " failed, "
                        (grouped(exits.signaled())) " by signal"
                    }))
                    @if let Some(ns) = exits.cpu_ns {
                        (figure("CPU time", Some(html! { (span(Duration::from_nanos(ns))) }), &html! {
                            "of processes that have exited"
                        }))
                    }
                }
                None => (figure("Process exits", None, &html! { "not observed" })),
            }
            (figure("Uptime", Some(html! { (span(summary.recent.since_start())) }), &html! {
                "all counts began with it"
            }))
        }
    }
}

fn figure(name: &str, value: Option<Markup>, more: &Markup) -> Markup {
    html! {
        div {
            dt { (name) }
            dd {
                strong { @match value { Some(value) => (value), None => "–" } }
                " " small { (more) }
            }
        }
    }
}
