//! What the aggregator has counted, at one moment: all that the stages behind it know.

use crate::pipeline::exits::Exits;
use crate::pipeline::flush::Flush;
use crate::pipeline::history::History;
use crate::pipeline::view::ViewCounts;
use crate::record::Kind;

/// All counts behind one flush.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Execs, whatever is known of them: the sum of all that follows.
    pub execs: u64,
    /// The execs of the last minutes.
    pub recent: History,
    /// Execs of which nothing but their number is known.
    pub unattributed: u64,
    /// Those of them at which the kernel skipped every program.
    pub missed: u64,
    /// By kind in the order of [`Kind::ALL`], the most observations at which the kernel can
    /// have skipped every program. Failures and exits of this number are not counted.
    pub missed_at_most: [u64; Kind::ALL.len()],
    /// Exits of which something is known.
    pub exits: Exits,
    /// What the kernel saw minus what is accounted for, by kind in the order of
    /// [`Kind::ALL`]; 0 when all is well.
    pub differences: [i64; Kind::ALL.len()],
    /// The views, in the order of the configuration. An unattributed exec is in none.
    pub views: Vec<ViewCounts>,
    /// The stages before, when they were flushed.
    pub flush: Flush,
    /// Messages that waited for the aggregator then.
    pub channel_depth: usize,
}

impl Snapshot {
    /// Execs and exits whose event was lost on the way, by why. They are counted all the same.
    pub fn lost(&self) -> [(Loss, u64); 4] {
        let (execs, exits) = (&self.flush.after[Kind::Exec], &self.flush.after[Kind::Exit]);
        [
            (Loss::BufferFull, execs.buffer_full + exits.buffer_full),
            (Loss::NoBuffer, execs.no_buffer + exits.no_buffer),
            (Loss::Other, execs.other + exits.other),
            (Loss::Undecodable, self.flush.undecodable),
        ]
    }
}

/// Why an event was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The reader was not fast enough.
    BufferFull,
    /// It was on a CPU that came online after the start.
    NoBuffer,
    /// The kernel refused it for another reason.
    Other,
    /// The bytes were no event.
    Undecodable,
}

impl Loss {
    /// The `reason` label.
    pub fn name(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::NoBuffer => "no_buffer",
            Self::Other => "other",
            Self::Undecodable => "undecodable",
        }
    }
}
