//! What tests, benchmarks, experiments and fuzz targets share: the daemon as a child process, a fake
//! kernel side, clients, programs to execute, cgroups, certificates.

pub mod attacks;
pub mod bpf_objects;
pub mod busy;
pub mod bytes;
pub mod certificates;
pub mod cgroups;
pub mod chromium;
pub mod compiled;
pub mod confined;
pub mod daemon;
pub mod dashboard;
pub mod docs;
pub mod dom;
pub mod fake;
pub mod fixed;
pub mod guest;
pub mod host;
pub mod http;
pub mod limits;
pub mod mounts;
pub mod notified;
pub mod paths;
pub mod pod;
pub mod programs;
pub mod prometheus;
pub mod promql;
pub mod protobuf;
pub mod service;
pub mod standby;
pub mod tls;
pub mod traffic;
pub mod transports;
pub mod unix_http;
pub mod web;
