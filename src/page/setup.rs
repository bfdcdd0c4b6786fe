//! How it is observed.

use maud::{Markup, html};

use super::numbers::grouped;
use crate::capture::{CaptureInfo, TransportKind};
use crate::record::Kind;

pub(super) fn setup(info: &CaptureInfo) -> Markup {
    let by = |kind| {
        html! {
            @match info.list(kind) {
                Some(hooks) => code { (hooks) },
                None => "not observed",
            }
        }
    };
    html! {
        section aria-labelledby="means" {
            h2 #means { "How it is observed" }
            dl.means {
                dt { @if info.is_classic() { "Attempts to exec" } @else { "Execs" } }
                dd { (by(Kind::Exec)) }
                dt { "Failed execs" }
                dd { (by(Kind::Failure)) }
                dt { "Ends of processes" }
                dd { (by(Kind::Exit)) }
                dt { "Events cross by" }
                dd {
                    @match info.transport {
                        TransportKind::Perf => "perf buffers, ",
                        TransportKind::Ring => "ring buffer, ",
                    }
                    (grouped(info.buffer_bytes as u64 / 1024)) " KiB for all CPUs"
                }
            }
            p.note {
                @if info.is_classic() {
                    "Classic mode counts attempts, failed ones too, by the first 15 bytes of the path. "
                } @else {
                    "Successful execs of every kind, in all containers, each exactly once. "
                }
                "Arguments are not captured."
            }
        }
    }
}
