//! Tables of the views, of the watches, of failures by errno, and of process exits.

use std::time::{Duration, UNIX_EPOCH};

use maud::{Markup, html};

use super::numbers::{count, grouped, percent, seconds, share};
use super::top::{Row, Top};
use super::words::execs;
use crate::names::errno;
use crate::names::escape::OTHER;
use crate::page::summary::Summary;
use crate::pipeline::view::{self, Label, Metric, grouping};
use crate::pipeline::watch::WatchCounts;
use crate::record::{Fact, Outcome};
use crate::sys::clock::Timestamp;

/// The outcomes of processes that were not successful, with the headings of their columns.
const UNSUCCESSFUL: [(Outcome, &str); 4] = [
    (Outcome::Error, "Failed"),
    (Outcome::Signal, "Killed"),
    (Outcome::Crash, "Crashed"),
    (Outcome::Oom, "OOM"),
];

/// The table of a view's busiest series.
pub(super) fn view(view: &Top, summary: &Summary) -> Markup {
    let id = format!("by-{}", view::name(&view.labels));
    let has = |metric| view.metrics.contains(&metric);
    let failures = summary.failures.as_ref();
    let failed_execs = failures.map_or(0, |failures| failures.total);
    let row = |name: Markup, row: Row| {
        let Row { counts, failed } = row;
        html! {
            tr {
                (name)
                @if has(Metric::Execs) {
                    (part(counts.execs, summary.execs))
                }
                @if has(Metric::Failures) {
                    (part(failed, failed_execs))
                }
                @if has(Metric::CpuSeconds) {
                    (time(counts.cpu_ns))
                }
                @if has(Metric::LifetimeSeconds) { (time(counts.lifetime_ns)) }
                @if has(Metric::Exits) {
                    @for (outcome, _) in UNSUCCESSFUL { td { (count(counts.exits[outcome.index()])) } }
                }
            }
        }
    };
    let across = view.labels.len();
    let rest = [(OTHER, view.other), ("evicted or earlier", view.yielded)];
    let rest = rest.into_iter().filter(|(_, row)| *row != Row::default());
    let rest: Vec<_> = rest.collect();
    let is_empty = view.series.is_empty() && rest.is_empty();
    html! {
        section.wide[view.is_wide()] aria-labelledby=(id) {
            h2 id=(id) { (heading(&view.labels)) }
            @if view.metrics.is_empty() { p.note { "Not observed. The log says why." } }
            @else if is_empty { p.note { "None so far." } }
            @else {
                table aria-labelledby=(id) {
                    thead {
                        tr {
                            @for label in &view.labels { th scope="col" { (column(label)) } }
                            @if has(Metric::Execs) {
                                (part_headings(execs(summary.capture_info.is_classic())))
                            }
                            @if has(Metric::Failures) { (part_headings("Failed execs")) }
                            @if has(Metric::CpuSeconds) { th.number scope="col" { "CPU s" } }
                            @if has(Metric::LifetimeSeconds) { th.number scope="col" { "Lifetimes s" } }
                            @if has(Metric::Exits) {
                                @for (_, heading) in UNSUCCESSFUL { th.number scope="col" { (heading) } }
                            }
                        }
                    }
                    tbody {
                        @for (values, counts) in &view.series {
                            (row(names(&view.labels, values), *counts))
                        }
                        @if view.more > 0 {
                            (row(html! { td.rest colspan=(across) { (grouped(view.more as u64)) " more" } }, view.of_more))
                        }
                        @for (name, counts) in rest {
                            (row(html! { td.rest colspan=(across) { (name) } }, counts))
                        }
                    }
                }
            }
        }
    }
}

/// What the watches have counted.
pub(super) fn watches(watches: &[WatchCounts]) -> Markup {
    let has_exits = watches.iter().any(|watch| watch.exits.is_some());
    html! {
        section.wide aria-labelledby="watches" {
            h2 #watches { "Watches" }
            table aria-labelledby="watches" {
                thead {
                    tr {
                        th scope="col" { "Watch" }
                        th.number scope="col" { "Execs" }
                        th.number scope="col" { "Last exec" }
                        @if has_exits {
                            th.number scope="col" { "Last success" }
                            th.number scope="col" { "Not successful" }
                        }
                    }
                }
                tbody {
                    @for watch in watches {
                        tr {
                            th scope="row" { bdi title=(watch.name) { (watch.name) } }
                            td { (count(watch.execs)) }
                            td { (moment(watch.last_exec)) }
                            @if let Some((exits, last)) = watch.exits {
                                td { (moment(last[Outcome::Success.index()])) }
                                td { (count(UNSUCCESSFUL.iter().map(|(outcome, _)| exits[outcome.index()]).sum())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A time to the second, in UTC, or a dash if there is none.
fn moment(time: Option<Timestamp>) -> Markup {
    let Some(time) = time else {
        return html! { "–" };
    };
    let time = UNIX_EPOCH + Duration::from_millis(time.unix_ms());
    let time = humantime::format_rfc3339_seconds(time).to_string();
    html! { time datetime=(time) { (time.replace('T', " ").replace('Z', "")) } }
}

/// Returns whether any view has the unit as a label.
pub(super) fn has_unit(summary: &Summary) -> bool {
    let mut views = summary.views.iter();
    views.any(|view| view.labels.contains(&Label::Unit))
}

/// Shows a configuration with an additional view by unit. It lists the current views as well,
/// because views in a configuration replace the default ones.
pub(super) fn how_to_see_units(summary: &Summary) -> Markup {
    let views = summary.views.iter().map(|view| view.labels.clone());
    let labels = |labels: Vec<Label>| {
        let names: Vec<_> = labels.iter().map(|l| format!("{:?}", l.name())).collect();
        format!("[[view]]\nlabels = [{}]\n", names.join(", "))
    };
    let views: Vec<_> = views.chain([vec![Label::Unit]]).map(labels).collect();
    html! {
        section aria-labelledby="units" {
            h2 #units { "Units" }
            p.note {
                "No view has systemd’s unit as a label. This configuration adds one to the current views (keep the other settings of each):"
            }
            pre { code { (views.join("\n")) } }
        }
    }
}

/// Failed execs by errno.
pub(super) fn failures(summary: &Summary) -> Markup {
    html! {
        section aria-labelledby="failures" {
            h2 #failures { "Failed execs" }
            @match &summary.failures {
                None => p.note {
                    "Not observed. Either " code { "capture.failures" } " is " code { "\"off\"" }
                    ", or this kernel does not support fexit programs. On such a kernel, " code { "capture.failures = \"tracepoint\"" }
                    " observes them if tracefs is mounted, and slows every system call by some 20 ns. "
                    "The log says which it is when the daemon starts."
                },
                Some(failures) if failures.by_errno.is_empty() => p.note { "None so far." },
                Some(failures) => table aria-labelledby="failures" {
                    thead {
                        tr {
                            th scope="col" { "Error" }
                            th.text scope="col" { "Meaning" }
                            (part_headings("Times"))
                        }
                    }
                    tbody {
                        @for (errno, n) in &failures.by_errno {
                            tr {
                                th.code scope="row" { (errno::name(*errno)) }
                                td.text { (errno::meaning(*errno)) }
                                (part(*n, failures.total))
                            }
                        }
                    }
                },
            }
        }
    }
}

/// Process exits by status and signal.
pub(super) fn exits(summary: &Summary) -> Markup {
    let Some(exits) = &summary.exits else {
        return html! {
            section aria-labelledby="exits" {
                h2 #exits { "Process exits" }
                p.note {
                    "Not observed. " code { "capture.exits = true" }
                    " observes them if the kernel allows it. If it does not, the log says why."
                }
            }
        };
    };
    let mut rows = vec![
        ("status 0", "success", exits.succeeded),
        ("other status", "error", exits.failed),
    ];
    let signals = exits.signals.iter();
    rows.extend(signals.map(|(name, n)| (&**name, signal(name), *n)));
    rows.push(("other signals", "", exits.other_signals));
    rows.push(("out of memory", "among SIGKILL", exits.oom_kills));
    rows.push(("core dumped", "among the signals", exits.core_dumps));
    rows.retain(|(_, _, n)| *n > 0);
    html! {
        section aria-labelledby="exits" {
            h2 #exits { "Process exits" }
            @if rows.is_empty() { p.note { "None so far." } } @else {
                table aria-labelledby="exits" {
                    thead {
                        tr {
                            th scope="col" { "Outcome" }
                            th.text scope="col" { "Meaning" }
                            (part_headings("Times"))
                        }
                    }
                    tbody {
                        @for (name, meaning, n) in rows {
                            tr {
                                th.code scope="row" { (name) }
                                td.text { (meaning) }
                                (part(n, exits.total))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the usual reason for a signal (`signal(7)`), or an empty string.
fn signal(name: &str) -> &'static str {
    match name {
        "SIGABRT" => "called abort()",
        "SIGALRM" => "timer expired",
        "SIGBUS" | "SIGSEGV" => "invalid memory access",
        "SIGFPE" => "arithmetic error",
        "SIGHUP" => "terminal closed",
        "SIGILL" | "SIGTRAP" => "invalid instruction or trap",
        "SIGINT" => "interrupted, for example by Ctrl-C",
        "SIGKILL" => "killed, or out of memory",
        "SIGPIPE" => "wrote to a closed pipe",
        "SIGQUIT" => "quit with a core dump",
        "SIGSYS" => "forbidden system call",
        "SIGTERM" => "asked to terminate",
        "SIGXCPU" | "SIGXFSZ" => "resource limit exceeded",
        _ => "",
    }
}

/// Users can choose names freely. `bdi` isolates each name, so that right-to-left text and combining
/// marks in it do not affect the text around it.
fn names(labels: &[Label], values: &[String]) -> Markup {
    html! {
        @for (i, (label, value)) in labels.iter().zip(values).enumerate() {
            @let name = html! {
                @if value.is_empty() { i { "none" } } @else { bdi title=(value) { (value) } }
            };
            @let is_code = matches!(label, Label::Uid | Label::Loginuid);
            @if i == 0 { th.code[is_code] scope="row" { (name) } }
            @else { td.name.code[is_code] { (name) } }
        }
    }
}

/// A table cell with a number of seconds.
fn time(ns: u64) -> Markup {
    html! { td { data value=(ns as f64 / 1e9) { (seconds(ns)) } } }
}

/// Three table cells: `n`, and its share in `of` as a bar and in percent.
fn part(n: u64, of: u64) -> Markup {
    html! {
        td { (count(n)) }
        td.bar {
            svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" {
                rect width={ (format!("{:.1}", percent(n, of))) } height="1" {}
            }
        }
        td { (share(n, of)) }
    }
}

/// The headings of the cells of [`part`].
fn part_headings(number: &str) -> Markup {
    html! {
        th.number scope="col" { (number) }
        td.bar {}
        th.number scope="col" { "Share" }
    }
}

fn heading(labels: &[Label]) -> String {
    let names = grouping(labels).map(|label| match label {
        Label::Comm => "programs",
        Label::Exe => "files",
        Label::ParentComm => "parents",
        Label::Uid | Label::User => "users",
        Label::Unit => "units",
        Label::Slice => "slices",
        Label::Container => "containers",
        Label::PodUid => "pods",
        Label::Loginuid | Label::LoginUser => "logins",
        Label::Fact(Fact::Entry) => "entries",
        Label::Fact(Fact::Origin) => "origins",
        Label::Fact(Fact::Elevated) => "privileges",
        Label::Fact(Fact::Tty) => "terminals",
        Label::Own(own) => own.name(),
    });
    let names: Vec<_> = names.collect();
    let text = match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    };
    let (first, rest) = text.split_at(text.len().min(1));
    format!("{}{rest}", first.to_uppercase())
}

fn column(label: &Label) -> &str {
    match label {
        Label::Comm => "Program",
        Label::Exe => "File",
        Label::ParentComm => "Parent",
        Label::Uid => "UID",
        Label::User => "User",
        Label::Unit => "Unit",
        Label::Slice => "Slice",
        Label::Container => "Container",
        Label::PodUid => "Pod UID",
        Label::Loginuid => "Login UID",
        Label::LoginUser => "Login",
        Label::Fact(Fact::Entry) => "Entry",
        Label::Fact(Fact::Origin) => "Origin",
        Label::Fact(Fact::Elevated) => "Elevated",
        Label::Fact(Fact::Tty) => "Terminal",
        Label::Own(own) => own.name(),
    }
}
