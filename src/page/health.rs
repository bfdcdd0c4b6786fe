//! Whether the numbers are right, in words.

use maud::{Markup, html};

use super::numbers::grouped;
use super::{execs, several};
use crate::page::summary::Summary;
use crate::pipeline::snapshot::Loss;
use crate::pipeline::view;
use crate::record::Kind;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Fine,
    /// All is counted, but less is known than could be.
    Notice,
    /// Some of it is counted without a name.
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

/// One thing that can be right or wrong.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) level: Level,
    pub(super) text: Markup,
}

/// All there is to say, in one line.
pub(super) fn verdict(statements: &[Statement]) -> &'static str {
    match statements.iter().map(|statement| statement.level).max() {
        None | Some(Level::Fine) => "Everything is counted, each under its name.",
        Some(Level::Notice) => "Everything is counted, some of it with less detail.",
        Some(Level::Warning) => "Everything is counted, some of it without a name.",
        Some(Level::Doubt) => "Every exec is counted; some failed execs or exits may not be.",
        Some(Level::Fault) => "The numbers are wrong.",
    }
}

/// What is right and what is wrong, how much of it, and what to do.
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
                ": ledger difference " (n) ". Where it stays, it is a bug: please report it, with the metrics, the \
                 daemon’s log and the kernel’s version. Save them before a restart, which begins a new account."
            },
        })
        .collect();
    if !wrong.is_empty() {
        return wrong;
    }
    let kinds: Vec<_> = differences
        .iter()
        .map(|(kind, _)| match kind {
            Kind::Exec => exec(is_classic),
            Kind::Failure => "failed exec",
            Kind::Exit => "end of a process",
        })
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

fn exec(is_classic: bool) -> &'static str {
    if is_classic {
        "attempt to exec"
    } else {
        "exec"
    }
}

fn names(summary: &Summary) -> Statement {
    let account = &summary.account;
    if account.unattributed == 0 {
        return Statement {
            level: Level::Fine,
            text: html! { "No " (exec(summary.capture_info.is_classic())) " was counted without its name." },
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
                " The kernel skipped the programs at " (grouped(account.missed)) " of them; there is nothing to do."
            }
            @if account.missed + unreadable < account.unattributed {
                " The buffer and the count in the kernel were full: look for a storm of programs with ever new \
                 names."
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
                "The kernel may have skipped the programs at up to " (grouped(*n)) " " (several(*kind, is_classic))
                ", which are then not counted; there is nothing to do."
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
                    b { "Events that did not fit into the buffer: " (n) "." } " They are counted all the same; of ends, the \
                     lifetimes are missing. A larger " code { "capture.buffer_pages" } " holds more."
                },
            ),
            Loss::NoBuffer => (
                Level::Notice,
                html! {
                    b { "Events on CPUs that came online after the start: " (n) "." } " They are counted all the \
                     same. A restart gives these CPUs a buffer."
                },
            ),
            Loss::Other => (
                Level::Notice,
                html! {
                    b { "Events that the kernel refused: " (n) "." } " They are counted all the same. Please report it, \
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
    let statement = |view: &crate::page::summary::Top| Statement {
        level: Level::Notice,
        text: html! {
            b { (of) " without a place in the view by " (view::name(&view.labels)) ": " (grouped(view.overflow)) "." }
            " It has places for " (grouped(view.max_series as u64)) "; the rest is " code { "other" }
            ". If the names are real, raise its " code { "max_series" } "; if they are random, lower its "
            code { "idle_after" } "."
        },
    };
    views.map(statement).collect()
}
