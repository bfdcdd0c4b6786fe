//! `[web]`.

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
            if let Err(reason) = check(address) {
                let forms = "HOST:PORT, :PORT or unix:PATH";
                let message = format!("{address:?} is not {forms}: {reason}");
                faults.push(Fault::new("web.listen", message));
            }
        }
        let path = &self.telemetry_path;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.~".contains(c);
        if !path.starts_with('/')
            || path == "/"
            || path.starts_with("/-/")
            || !path.chars().all(plain)
            || path.split('/').any(|part| part == "." || part == "..")
        {
            faults.push(Fault::new(
                "web.telemetry_path",
                format!(
                    "{path:?} is not a valid path: it must begin with a slash, contain only \
                     letters, digits and /_-.~, have no component `.` or `..`, and be neither `/` nor \
                     below `/-/`"
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
        let mut addresses: Vec<Address> = Vec::new();
        for written in &self.listen {
            let fault = |message| Fault::new("web.listen", message);
            let address = resolve(written).map_err(|error| {
                Fault::unknown("web.listen", format!("cannot resolve {written:?}: {error}"))
            })?;
            if let Some(other) = addresses.iter().position(|other| other.overlaps(&address)) {
                let other = &self.listen[other];
                return Err(fault(format!(
                    "{written:?} overlaps with {other:?}; remove one of them (:PORT, 0.0.0.0 and \
                     [::] mean all addresses of the host, IPv4 and IPv6)"
                )));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }
}
