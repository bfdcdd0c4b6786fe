//! How it is observed.

use maud::{Markup, html};

use super::text::grouped;
use crate::capture::{Means, TransportKind};
use crate::event::Kind;

pub(super) fn means(means: &Means) -> Markup {
    let by = |kind| {
        html! {
            @match means.list(kind) {
                Some(hooks) => code { (hooks) },
                None => "not observed",
            }
        }
    };
    html! {
        section aria-labelledby="means" {
            h2 #means { "How it is observed" }
            dl.means {
                dt { @if means.is_classic() { "Attempts to exec" } @else { "Execs" } }
                dd { (by(Kind::Exec)) }
                dt { "Failed execs" }
                dd { (by(Kind::Failure)) }
                dt { "Ends of processes" }
                dd { (by(Kind::Exit)) }
                dt { "Events cross by" }
                dd {
                    @match means.transport {
                        TransportKind::Perf => "perf buffers, ",
                        TransportKind::Ring => "ring buffer, ",
                    }
                    (grouped(means.buffer_bytes as u64 / 1024)) " KiB for all CPUs"
                }
            }
            p.note {
                @if means.is_classic() {
                    "Classic mode counts attempts, failed ones too, by the first 15 bytes of the path. "
                } @else {
                    "Successful execs of every kind, in all containers, each exactly once. "
                }
                "Arguments are not captured."
            }
        }
    }
}
