//! Requests to answers.
//!
//! Connections come in, answers go out. [`listener`] accepts connections, [`server`] serves each of
//! them in a task, and `connections` decides which is closed when others need what it holds.
//! [`hosts`] and [`auth`] decide which requests are answered, [`routes`] answers them with a `text`
//! that is shared by all requests of a flush, and `tls` encrypts as [`live_config`] says. All tasks
//! run on the runtime's thread; other threads read files and compare passwords. This folder uses
//! snapshots and text, but no events.

pub mod auth;
mod bind;
mod body;
mod connections;
pub mod health;
pub mod hosts;
pub mod listener;
pub mod live_config;
mod refresh;
pub mod routes;
pub mod server;
mod socket;
mod text;
mod tls;
