//! The alerts, from end to end: real programs, the real daemon, a real Prometheus. Each of them
//! is quiet before its cause, fires under it, and is the only one that does.
//!
//! Alerts without `for`, which need nobody's patience, are driven by the rules as they are
//! shipped ([`shipped`]); the others by the same rules with time going faster ([`scaled`]).
//! Needs root and Debian's package `prometheus`.

mod scaled;
mod shipped;
mod site;
mod under_their_causes;
