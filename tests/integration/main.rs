//! Tests of the service from the bytes of events to HTTP answers, with a fake kernel as the source of
//! events, and of the program's command line. They need neither BPF nor root.

mod architecture; // imports point in one direction
mod command_line; // arguments, messages and exit statuses
mod connections; // which clients are served when all connections are in use
mod cookbook; // the configurations in docs/cookbook.md
mod formats; // the text and the protobuf format of the metrics
mod http; // answers to valid and invalid requests
mod kubernetes; // the manifests agree with the program
mod metrics_of_views; // what a view counts besides execs
mod pipeline; // from bytes to a scrape
mod queries; // what the rules, the dashboard and the documentation query
mod reader; // the reader thread alone: order, backpressure, flushes
mod record; // the decoder agrees with the layout in C
mod stages; // stages that stop, fail, panic or hang
mod units; // the systemd units, checked with systemd's own tools
mod views; // labels, reserved series, reloads
mod web; // TLS, client certificates and users
