//! From bytes to counts.
//!
//! Bytes come in from a [`Source`](crate::capture::source::Source), and a
//! [`Snapshot`](snapshot::Snapshot) of all counts goes out at each flush. Two threads run the
//! pipeline: `reader` drains, decodes and orders observations and sends them as
//! [`Message`](message::Message)s over a bounded channel, and `aggregator` counts them. A scrape
//! requests a flush through [`Control`](flush::Control) and waits for the snapshot that answers
//! it. `aggregator` decides what is counted, `view` in which series, and `watch` on which conditions.

pub mod aggregator;
pub mod change;
pub mod continuity;
pub mod flush;
pub mod flusher;
pub mod history;
pub mod matcher;
pub mod message;
pub(crate) mod missed;
pub mod name_cache;
pub mod per_second;
pub mod reader;
pub mod saved;
pub mod saver;
mod seen;
pub mod series;
pub mod snapshot;
pub mod view;
pub mod watch;
