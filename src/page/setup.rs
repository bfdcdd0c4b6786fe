//! The hooks and the transport that were chosen.

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
        section aria-labelledby="setup" {
            h2 #setup { "Capture" }
            dl.setup {
                dt { @if info.is_classic() { "Attempts to exec" } @else { "Execs" } }
                dd { (by(Kind::Exec)) }
                dt { "Failed execs" }
                dd { (by(Kind::Failure)) }
                dt { "Process exits" }
                dd { (by(Kind::Exit)) }
                dt { "CPU time" }
                dd { (by(Kind::CpuTime)) }
                dt { "Transport" }
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
                    "Classic mode counts attempts to exec, including failed ones, by the first 15 bytes of the path. "
                } @else {
                    "Every successful exec is counted exactly once, in all containers. "
                }
                "Arguments are not captured."
            }
        }
    }
}
