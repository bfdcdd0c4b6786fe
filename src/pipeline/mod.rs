//! From bytes to counts.

pub mod aggregator;
pub mod cgroup_cache;
pub mod exits;
pub mod flush;
pub mod flusher;
pub mod history;
pub mod message;
pub mod reader;
pub mod series;
pub mod snapshot;
pub mod view;
