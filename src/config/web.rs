//! The section `[web]` of the configuration file.

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
    /// Addresses of the same form that serve only `/-/healthy` and `/-/ready`, without TLS and
    /// users.
    pub probe_listen: Vec<String>,
    pub telemetry_path: String,
    /// Names by which clients can address this host, in addition to its own name, `localhost` and
    /// all IP addresses. Names are only checked if neither users nor client certificates are
    /// required.
    pub hosts: Vec<String>,
    /// The number of requests answered at a time, at most [`MAX_CONNECTIONS`]. The slots for
    /// connections and the memory for answers are proportional to it.
    pub max_connections: usize,
    /// The web configuration file of the exporter-toolkit. An empty path means none. Parsing
    /// resolves a relative path against the directory of the configuration file.
    pub config_file: PathBuf,
}

/// The addresses of `[web]`, with their hosts looked up.
#[derive(Debug, PartialEq, Eq)]
pub struct Listen {
    /// The addresses of `listen`.
    pub web: Vec<Address>,
    /// The addresses of `probe_listen`.
    pub probes: Vec<Address>,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:10190".to_owned()],
            probe_listen: Vec::new(),
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
        for (key, address) in self.addresses() {
            if let Err(reason) = check(address) {
                let forms = "HOST:PORT, :PORT or unix:PATH";
                let message = format!("{address:?} is not {forms}: {reason}");
                faults.push(Fault::new(key, message));
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

    /// Returns all addresses as written, each with its key.
    fn addresses(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let listen = self.listen.iter().map(|address| ("web.listen", address));
        let probes = self.probe_listen.iter();
        listen.chain(probes.map(|address| ("web.probe_listen", address)))
    }

    /// Looks up the hosts of `listen` and of `probe_listen`.
    pub(super) fn resolve(&self) -> Result<Listen, Fault> {
        let mut resolved: Vec<Address> = Vec::new();
        for (key, written) in self.addresses() {
            let address = resolve(written).map_err(|error| {
                Fault::unknown(key, format!("cannot resolve {written:?}: {error}"))
            })?;
            let mut others = resolved.iter().zip(self.addresses());
            if let Some((_, (_, other))) = others.find(|(other, _)| other.overlaps(&address)) {
                return Err(Fault::new(
                    key,
                    format!(
                        "{written:?} overlaps with {other:?}; remove one of them (:PORT, 0.0.0.0 \
                         and [::] mean all addresses of the host, IPv4 and IPv6)"
                    ),
                ));
            }
            resolved.push(address);
        }
        let probes = resolved.split_off(self.listen.len());
        Ok(Listen {
            web: resolved,
            probes,
        })
    }
}
