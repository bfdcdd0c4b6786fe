//! What the integration tests share.

#![allow(dead_code)] // each test binary uses a part of it

pub(crate) mod behind;
pub(crate) mod busy;
pub(crate) mod bytes;
pub(crate) mod certificates;
pub(crate) mod cgroups;
pub(crate) mod chromium;
pub(crate) mod confined;
pub(crate) mod daemon;
pub(crate) mod dashboard;
pub(crate) mod docs;
pub(crate) mod dom;
pub(crate) mod fake;
pub(crate) mod fixed;
pub(crate) mod guest;
pub(crate) mod http;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod nop;
pub(crate) mod nuisances;
pub(crate) mod peers;
pub(crate) mod pod;
pub(crate) mod programs;
pub(crate) mod prometheus;
pub(crate) mod promql;
pub(crate) mod remains;
pub(crate) mod tls;
pub(crate) mod unix_http;
pub(crate) mod web;
