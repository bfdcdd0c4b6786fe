//! The HTTP server: turns requests into answers.
//!
//! [`listener`] accepts connections, [`server`] serves each of them in a task, and `connections`
//! decides which connection is closed when others need room. `tls` encrypts connections, as the web
//! configuration in [`live_config`] specifies. [`hosts`] and [`auth`] decide which requests are
//! answered, and [`routes`] answers them. Requests that arrive before the same flush share one
//! rendered answer (`rendered`), in the format that
//! `negotiation` chooses. All tasks run on the runtime's thread; other threads read files and
//! compare passwords. This module uses snapshots and text, but no events.

pub mod auth;
mod bind;
mod body;
mod connections;
pub mod health;
pub mod hosts;
pub mod listener;
pub mod live_config;
mod negotiation;
mod refresh;
mod rendered;
pub mod routes;
pub mod server;
mod socket;
mod tls;
