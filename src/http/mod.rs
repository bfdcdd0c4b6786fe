//! Requests to answers.
//!
//! Connections come in, answers go out: [`routes`] has what is answered, [`auth`] who is let in,
//! [`listener`] and [`server`] serve connections, `connections.rs` decides which of them keeps a
//! slot, and `tls` encrypts them as [`live_config`] says. Everything runs on the runtime's thread,
//! except that files are read and passwords compared on threads of their own. It knows snapshots
//! and text, no event and no counter.

pub mod auth;
mod bind;
mod body;
mod connections;
pub mod health;
pub mod listener;
pub mod live_config;
mod refresh;
pub mod routes;
pub mod server;
mod socket;
mod text;
mod tls;
