//! HTTP: what is answered ([`routes`]), to whom ([`auth`]), and how connections are served
//! ([`listener`], [`server`], who gives way in `places.rs`, TLS as the [`web_config`] says).
//!
//! It knows snapshots and text, no event and no counter.

pub mod auth;
mod connections;
pub mod listener;
pub mod live_config;
pub mod routes;
pub mod server;
mod tls;
