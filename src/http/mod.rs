//! HTTP: what is answered ([`routes`]), to whom ([`auth`]), and how connections are served
//! ([`listener`], [`server`], who gives way in `places.rs`, TLS as the [`web_config`] says).
//!
//! It knows snapshots and text, no event and no counter.

pub mod auth;
mod handshake;
pub mod listener;
pub mod live;
mod page;
mod places;
mod rate;
pub mod routes;
pub mod server;
mod tls;
pub mod web_config;
