//! Each alert is quiet before its cause, fires under it, and no other alert fires. The programs, the
//! daemon and Prometheus are real.
//!
//! Alerts without `for` are tested with the rules of the package ([`shipped`]), the others, and those of
//! jobs, with the same rules at 60 times the speed ([`scaled`]).

mod jobs;
mod scaled;
mod shipped;
mod site;
mod under_their_causes;
