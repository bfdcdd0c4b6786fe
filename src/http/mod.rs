//! HTTP: what is answered ([`routes`]) and how connections are served ([`server`]).
//!
//! It knows snapshots and text, no event and no counter.

mod page;
pub mod routes;
pub mod server;
