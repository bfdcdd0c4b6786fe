//! The page at `/`, for people: written out whole, without a script and without anything
//! to load from elsewhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::figures::figures;
use self::health::Level;
use crate::page::summary::Summary;
use crate::record::Kind;

mod chart;
mod figures;
mod health;
mod numbers;
mod setup;
pub mod summary;
mod tables;

/// How often the page may load itself again, in seconds.
const REFRESHES: [u32; 2] = [10, 60];

const STYLE: &str = include_str!("page.css");

/// What the page may load: nothing but the style within it, which the browser knows by its
/// hash. A test holds the hash to the style.
pub(super) const POLICY: &str = "default-src 'none'; \
     style-src 'sha256-iagilrXkLbyve3yYF5bHbMu0jMntQC4Q6aJwY5v9ewE='; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What stands around the counts.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// The host's name.
    pub(super) host: &'a str,
    /// Path of the metrics.
    pub(super) telemetry_path: &'a str,
    /// After how many seconds the page loads itself again.
    pub(super) refresh: Option<u32>,
}

/// After how many seconds a page with this query loads itself again, if it does.
pub(super) fn refresh(query: Option<&str>) -> Option<u32> {
    let seconds = query?.strip_prefix("refresh=")?.parse().ok()?;
    REFRESHES.contains(&seconds).then_some(seconds)
}

impl Frame<'_> {
    /// The page with these counts, which [`counts`] made.
    pub(super) fn page(&self, counts: &str) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { "execsnoopd on " (self.host) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { "execsnoopd" }
                        p { "Every program that " b { bdi { (self.host) } } " executes" }
                        (self.links())
                    }
                    main { (PreEscaped(counts)) }
                    footer {
                        "execsnoopd " (env!("CARGO_PKG_VERSION"))
                    }
                }
            }
        };
        page.into_string()
    }

    fn links(&self) -> Markup {
        html! {
            nav aria-label="Pages" {
                a href=(self.telemetry_path) { "Metrics" }
                a href="/-/healthy" { "Healthy?" }
                a href="/-/ready" { "Ready?" }
                span.refresh {
                    "Reload "
                    @match self.refresh {
                        Some(_) => a href="/" { "by hand" },
                        None => b aria-current="true" { "by hand" },
                    }
                    @for seconds in REFRESHES {
                        " · "
                        @if self.refresh == Some(seconds) {
                            b aria-current="true" { (seconds) " s" }
                        } @else {
                            a href={ "/?refresh=" (seconds) } { (seconds) " s" }
                        }
                    }
                }
            }
        }
    }
}

/// All that depends on the counts, as they were at `time`.
pub(super) fn counts(summary: &Summary, time: &str) -> String {
    let statements = health::statements(summary);
    let worst = statements.iter().map(|statement| statement.level).max();
    let page = html! {
        p class={ "verdict " (worst.unwrap_or(Level::Fine).class()) } {
            span { (health::verdict(&statements)) }
            time datetime=(time) { (time.replace('T', " ").replace('Z', " UTC")) }
        }
        (figures(summary))
        (chart::chart(&summary.recent, summary.capture_info.is_classic()))
        div.tables {
            @for view in &summary.views { (tables::view(view, summary)) }
            @if !tables::has_unit(summary) { (tables::how_to_see_units(summary)) }
            (tables::failures(summary))
            (tables::ends(summary))
        }
        div.tables {
            section aria-labelledby="account" {
                h2 #account { "Whether the numbers are right" }
                ul.account {
                    @for statement in &statements {
                        li class=(statement.level.class()) { (statement.text) }
                    }
                }
            }
            (setup::setup(&summary.capture_info))
        }
    };
    page.into_string()
}

/// What is counted as execs.
fn execs(is_classic: bool) -> &'static str {
    if is_classic { "Attempts" } else { "Execs" }
}

/// Several of a kind, in words.
fn several(kind: Kind, is_classic: bool) -> &'static str {
    match kind {
        Kind::Exec if is_classic => "attempts to exec",
        Kind::Exec => "execs",
        Kind::Failure => "failed execs",
        Kind::Exit => "ends of processes",
    }
}
