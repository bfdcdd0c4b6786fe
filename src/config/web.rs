//! `[web]`.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::address::{Address, check, resolve};
use super::error::Fault;

/// The upper limit of `max_connections`.
pub const MAX_CONNECTIONS: usize = 65_535;

/// `[web]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// `HOST:PORT`, `:PORT` (every address of the host) or `unix:PATH`.
    pub listen: Vec<String>,
    pub telemetry_path: String,
    /// Names of this host that clients can ask for, in addition to its own name, `localhost` and all
    /// IP addresses. They apply where neither users nor client certificates are required.
    pub hosts: Vec<String>,
    /// The number of requests answered at a time, at most [`MAX_CONNECTIONS`]. The slots for
    /// connections and the memory for answers are in proportion to it.
    pub max_connections: usize,
    /// The web configuration file of the exporter-toolkit. An empty path means none. After
    /// parsing, a relative path starts at the directory of the configuration file.
    pub config_file: PathBuf,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:10190".to_owned()],
            telemetry_path: "/metrics".to_owned(),
            hosts: Vec::new(),
            max_connections: 64,
            config_file: PathBuf::new(),
        }
    }
}

impl Web {
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.listen.is_empty() {
            faults.push(Fault::new("web.listen", "needs at least one address"));
        }
        for address in &self.listen {
            faults.extend(
                check(address)
                    .err()
                    .map(|error| bad_address(address, &error)),
            );
        }
        let path = &self.telemetry_path;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.~".contains(c);
        if !path.starts_with('/')
            || path == "/"
            || path.starts_with("/-/")
            || !path.chars().all(plain)
        {
            faults.push(Fault::new(
                "web.telemetry_path",
                format!(
                    "{path:?} is not a valid path: it must begin with a slash, contain only \
                     letters, digits and /_-.~, and be neither `/` nor below `/-/`"
                ),
            ));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        for host in &self.hosts {
            if host.is_empty() || !host.chars().all(is_name) {
                faults.push(Fault::new(
                    "web.hosts",
                    format!("{host:?} is not a host name (without scheme and port)"),
                ));
            }
        }
        let connections = self.max_connections;
        if !(1..=MAX_CONNECTIONS).contains(&connections) {
            faults.push(Fault::new(
                "web.max_connections",
                format!("{connections} is not from 1 to {MAX_CONNECTIONS}"),
            ));
        }
        faults
    }

    /// Looks up the hosts of `listen`.
    pub(super) fn resolve(&self) -> Result<Vec<Address>, Fault> {
        let addresses = self.listen.iter();
        let addresses =
            addresses.map(|address| resolve(address).map_err(|error| bad_address(address, &error)));
        addresses.collect()
    }
}

fn bad_address(address: &str, error: &io::Error) -> Fault {
    Fault::new(
        "web.listen",
        format!("{address:?} is not HOST:PORT, :PORT or unix:PATH ({error})"),
    )
}
