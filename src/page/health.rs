//! The accuracy of the counts, in sentences.

use maud::{Markup, html};

use super::numbers::{grouped, percent, share, span};
use super::top::Top;
use super::words::{execs, one, several};
use crate::page::summary::Summary;
use crate::pipeline::history::{SPAN, SPANS};
use crate::pipeline::snapshot::Loss;
use crate::pipeline::view;
use crate::record::Kind;

/// The severity of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nothing is wrong.
    Fine,
    /// Everything is counted, some of it with less detail.
    Notice,
    /// Everything is counted, some of it without a name.
    Warning,
    /// Some failures or exits may not be counted.
    Doubt,
    /// The numbers are wrong.
    Fault,
}

impl Level {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Notice => "notice",
            Self::Warning | Self::Doubt => "warning",
            Self::Fault => "fault",
        }
    }
}

#[derive(Debug)]
pub(super) struct Statement {
    pub(super) level: Level,
    pub(super) text: Markup,
}

/// The percentage of recent execs without a series from which on the headline mentions it.
const NOTICEABLE: f64 = 1.0;

/// Returns the headline. It is that of the worst statement, unless everything is counted but some
/// view has no series for a noticeable share of the recent execs.
pub(super) fn verdict(statements: &[Statement], summary: &Summary) -> Statement {
    let levels = statements.iter().map(|statement| statement.level);
    let level = levels.max().unwrap_or(Level::Fine);
    let others = summary.views.iter().map(|view| view.recent_other);
    let other = others.max().unwrap_or_default();
    let all = recent_execs(summary);
    if level <= Level::Warning && percent(other, all) >= NOTICEABLE {
        let of = several(Kind::Exec, summary.capture_info.is_classic());
        return Statement {
            level: Level::Warning,
            text: html! {
                "Everything is counted, but " (share(other, all)) " of the " (of) " in the last "
                (recent_span(summary)) " have no name of their own."
            },
        };
    }
    let text = match level {
        Level::Fine => "Everything is counted, each under its name.",
        Level::Notice => "Everything is counted, some of it with less detail.",
        Level::Warning => "Everything is counted, some of it without a name.",
        Level::Doubt => "Every exec is counted; some failed execs or exits may not be.",
        Level::Fault => "The numbers are wrong.",
    };
    Statement {
        level,
        text: html! { (text) },
    }
}

fn recent_execs(summary: &Summary) -> u64 {
    summary.recent.counts().sum()
}

fn recent_span(summary: &Summary) -> String {
    let longest = SPAN * u32::try_from(SPANS).unwrap_or(u32::MAX);
    span(summary.recent.since_start().min(longest))
}

/// Returns what is accurate and what is not, how many observations are affected, and what to do.
pub(super) fn statements(summary: &Summary) -> Vec<Statement> {
    let mut statements = vec![];
    statements.extend(ledger(summary));
    statements.push(names(summary));
    statements.extend(missed(summary));
    statements.extend(lost(summary));
    statements.extend(overflow(summary));
    statements
}

fn ledger(summary: &Summary) -> Vec<Statement> {
    let is_classic = summary.capture_info.is_classic();
    let differences = &summary.account.differences;
    let wrong = differences.iter().filter(|(_, n)| *n != 0);
    let wrong: Vec<_> = wrong
        .map(|(kind, n)| Statement {
            level: Level::Fault,
            text: html! {
                b {
                    "The count of " (several(*kind, is_classic)) " is " (grouped(n.unsigned_abs()))
                    @if *n > 0 { " too low" } @else { " too high" }
                }
                ": ledger difference " (n) ". If it persists, it is a bug: please report it, with the metrics, the \
                 daemon’s log and the kernel’s version. Save them before a restart, which resets the counts."
            },
        })
        .collect();
    if !wrong.is_empty() {
        return wrong;
    }
    let kinds: Vec<_> = differences
        .iter()
        .map(|(kind, _)| one(*kind, is_classic))
        .collect();
    let kinds = match kinds.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => kinds.concat(),
    };
    vec![Statement {
        level: Level::Fine,
        text: html! { "Every " (kinds) " that the kernel saw is counted: ledger difference 0." },
    }]
}

fn names(summary: &Summary) -> Statement {
    let account = &summary.account;
    if account.unattributed == 0 {
        return Statement {
            level: Level::Fine,
            text: html! { "No " (one(Kind::Exec, summary.capture_info.is_classic())) " was counted without its name." },
        };
    }
    let of = execs(summary.capture_info.is_classic());
    let lost = account.lost.iter();
    let unreadable: u64 = lost
        .filter(|(loss, _)| *loss == Loss::Undecodable)
        .map(|(_, n)| n)
        .sum();
    Statement {
        level: Level::Warning,
        text: html! {
            b { (of) " without a name: " (grouped(account.unattributed)) "." }
            " They are in the total, and in each table under " code { "other" } "."
            @if account.missed > 0 {
                " The kernel skipped the programs for " (grouped(account.missed)) " of them, which nothing can prevent."
            }
            @if account.missed + unreadable < account.unattributed {
                " The buffer and the tally were full: look for a storm of programs with ever new names."
            }
        },
    }
}

fn missed(summary: &Summary) -> Vec<Statement> {
    let is_classic = summary.capture_info.is_classic();
    let missed = summary.account.missed_at_most.iter();
    missed
        .map(|(kind, n)| Statement {
            level: Level::Doubt,
            text: html! {
                "The kernel may have skipped the programs for up to " (grouped(*n)) " " (several(*kind, is_classic))
                ". These are not counted, which nothing can prevent."
            },
        })
        .collect()
}

fn lost(summary: &Summary) -> Vec<Statement> {
    let lost = &summary.account.lost;
    if lost.is_empty() {
        return vec![Statement {
            level: Level::Fine,
            text: html! { "No event was lost." },
        }];
    }
    let statement = |(loss, n): &(Loss, u64)| {
        let n = grouped(*n);
        let (level, text) = match loss {
            Loss::BufferFull => (
                Level::Notice,
                html! {
                    b { "Events that did not fit into the buffer: " (n) "." } " They are counted, but exits among them without their \
                     lifetimes. A larger " code { "capture.buffer_pages" } " holds more."
                },
            ),
            Loss::NoBuffer => (
                Level::Notice,
                html! {
                    b { "Events on CPUs that came online after the start: " (n) "." } " They are counted. A \
                     restart gives these CPUs a buffer."
                },
            ),
            Loss::Other => (
                Level::Notice,
                html! {
                    b { "Events that the kernel refused: " (n) "." } " They are counted. Please report it, \
                     with the kernel’s version."
                },
            ),
            Loss::Undecodable => (
                Level::Warning,
                html! {
                    b { "Events that could not be read: " (n) "." } " They are counted without a name. It is a bug: please \
                     report it."
                },
            ),
        };
        Statement { level, text }
    };
    lost.iter().map(statement).collect()
}

fn overflow(summary: &Summary) -> Vec<Statement> {
    let of = execs(summary.capture_info.is_classic());
    let views = summary.views.iter().filter(|view| view.overflow > 0);
    let statement = |view: &Top| Statement {
        level: Level::Notice,
        text: html! {
            b { (of) " without a series in the view by " (view::name(&view.labels)) ": " (grouped(view.overflow)) "." }
            " It has " (grouped(view.max_series as u64)) " slots for series; the rest is " code { "other" }
            "."
            @if view.recent_other > 0 {
                " In the last " (recent_span(summary)) ", " (share(view.recent_other, recent_execs(summary)))
                " of the execs had no series."
            }
            " If the names are real, raise its " code { "max_series" } "; if they are random, lower its "
            code { "idle_after" } "."
        },
    };
    views.map(statement).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capture::hook::EXEC_TP_BTF;
    use crate::capture::{CaptureInfo, TransportKind};
    use crate::names::users::UserNames;
    use crate::pipeline::history::History;
    use crate::pipeline::snapshot::Snapshot;
    use crate::pipeline::view::{Counts, Label, ViewCounts};

    /// Returns the headline for 200 recent execs, of which `other` have no series in the second
    /// view. 1000 earlier execs without a series are not recent any more.
    fn headline(other: u64, difference: i64) -> (Level, String) {
        let history = |earlier, execs| {
            let mut history = History::default();
            history.add(Duration::ZERO, earlier);
            history.add(Duration::from_secs(3600), execs);
            history
        };
        let view = |label, other| ViewCounts {
            labels: vec![label],
            recent_other: history(1000, other),
            overflow: Counts {
                execs: 1000 + other,
                cpu_ns: 0,
                ..Counts::default()
            },
            ..ViewCounts::default()
        };
        let snapshot = Snapshot {
            execs: 1200,
            recent: history(1000, 200),
            views: vec![view(Label::Comm, 0), view(Label::Uid, other)],
            differences: [difference, 0, 0, 0],
            ..Snapshot::default()
        };
        let info = CaptureInfo {
            hooks: vec![EXEC_TP_BTF],
            transport: TransportKind::Perf,
            buffer_bytes: 4096,
        };
        let summary = Summary::of(&snapshot, &info, &UserNames::default());
        let verdict = verdict(&statements(&summary), &summary);
        (verdict.level, verdict.text.into_string())
    }

    #[test]
    fn the_headline_states_the_share_of_recent_execs_without_a_name() {
        let less_detail = "Everything is counted, some of it with less detail.";
        for (other, text) in [
            (0, less_detail),
            (1, less_detail),
            (
                2,
                "Everything is counted, but 1.0 % of the execs in the last 15 min have no name of their own.",
            ),
            (
                199,
                "Everything is counted, but 99.5 % of the execs in the last 15 min have no name of their own.",
            ),
        ] {
            assert_eq!(headline(other, 0).1, text);
        }
        assert_eq!(headline(199, 0).0, Level::Warning);
    }

    #[test]
    fn in_the_headline_wrong_numbers_take_precedence_over_missing_names() {
        assert_eq!(
            headline(199, 1),
            (Level::Fault, "The numbers are wrong.".to_owned())
        );
    }
}
