//! The service as it is shipped, from bytes to answers, on a source of events that is no kernel; and
//! the program as a shell sees it. These tests need neither BPF nor root.

mod architecture; // imports point in one direction
mod command_line; // arguments, messages and exit statuses
mod connections; // who is served when all connections are in use
mod http; // answers to requests, valid or not
mod kubernetes; // the manifests agree with the program
mod pipeline; // from bytes to a scrape
mod reader; // the reader thread alone: order, backpressure, flushes
mod record; // the decoder agrees with the layout in C
mod stages; // stages that stop, fail, panic or hang
mod units; // the systemd units, judged by systemd's own tools
mod views; // labels, reserved series, reloads
mod web; // TLS, client certificates and users
