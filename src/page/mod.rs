//! Renders a snapshot as HTML: the page at `/`.
//!
//! A snapshot, the capture info and the names of users come in; a complete page goes out,
//! without scripts and without anything to load from elsewhere. It runs on the runtime's thread,
//! once per flush. `summary` decides what is shown.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::figures::figures;
use crate::page::summary::Summary;

mod chart;
mod figures;
mod health;
mod numbers;
mod setup;
pub mod summary;
mod tables;
mod top;
mod words;

/// The intervals at which the page can reload itself, in seconds.
const REFRESHES: [u32; 2] = [10, 60];

const STYLE: &str = include_str!("page.css");

/// The content security policy: the page may load only its own style, which the browser verifies
/// by the hash. A test compares the hash with the style.
pub(super) const POLICY: &str = "default-src 'none'; \
     style-src 'sha256-fk9JizQqTIPxZMow7g+nfctanLi7ET/33fJjkbybqD4='; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The part of the page that does not depend on the counts.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// The host's name.
    pub(super) host: &'a str,
    /// The path at which the metrics are served.
    pub(super) telemetry_path: &'a str,
    /// The interval at which the page reloads itself, in seconds.
    pub(super) refresh: Option<u32>,
}

/// Returns the reload interval that a query asks for, in seconds.
pub(super) fn refresh(query: Option<&str>) -> Option<u32> {
    let seconds = query?.strip_prefix("refresh=")?.parse().ok()?;
    REFRESHES.contains(&seconds).then_some(seconds)
}

impl Frame<'_> {
    /// Returns the page with these counts, as rendered by [`counts`].
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

    /// Relative links, so that the page works behind a reverse proxy that adds a path prefix.
    fn links(&self) -> Markup {
        html! {
            nav aria-label="Pages" {
                a href={ "." (self.telemetry_path) } { "Metrics" }
                a href="./-/healthy" { "Healthy?" }
                a href="./-/ready" { "Ready?" }
                span.refresh {
                    "Reload "
                    @match self.refresh {
                        Some(_) => a href="./" { "by hand" },
                        None => b aria-current="true" { "by hand" },
                    }
                    @for seconds in REFRESHES {
                        " · "
                        @if self.refresh == Some(seconds) {
                            b aria-current="true" { (seconds) " s" }
                        } @else {
                            a href={ "./?refresh=" (seconds) } { (seconds) " s" }
                        }
                    }
                }
            }
        }
    }
}

/// Renders what depends on the counts, as of `time`.
pub(super) fn counts(summary: &Summary, time: &str) -> String {
    let statements = health::statements(summary);
    let verdict = health::verdict(&statements, summary);
    let page = html! {
        p class={ "verdict " (verdict.level.class()) } {
            span { (verdict.text) }
            time datetime=(time) { (time.replace('T', " ").replace('Z', " UTC")) }
        }
        (figures(summary))
        (chart::chart(&summary.recent, summary.capture_info.is_classic()))
        div.tables {
            @if !summary.watches.is_empty() { (tables::watches(&summary.watches)) }
            @for view in &summary.views { (tables::view(view, summary)) }
            @if !tables::has_unit(summary) { (tables::how_to_see_units(summary)) }
            (tables::failures(summary))
            (tables::exits(summary))
        }
        div.tables {
            section aria-labelledby="accuracy" {
                h2 #accuracy { "Accuracy" }
                ul.accuracy {
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
