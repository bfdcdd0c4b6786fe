//! The current web configuration.
//!
//! As in the toolkit, a changed file takes effect with the next request or handshake. Each request
//! and each handshake waits until the web configuration, the certificates and the keys have been
//! read again. The thread `web-config` reads and parses the files, so that a slow disk does not
//! hold up the runtime's thread. Concurrent requests share a reading, and only what differs from
//! the last reading is parsed.
//!
//! If the files are invalid, all requests and handshakes are rejected. If a reading takes longer
//! than `PATIENCE` because the file system hangs, the last reading is used until it is older than
//! `GRACE`; after that, requests are answered with 503 and handshakes fail until a reading
//! succeeds.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_rustls::rustls::ServerConfig;
use tracing::{error, info, warn};

use crate::config::web_file::{Error, Fault, TlsSection, WebConfig, invalid, read_text, unusable};
use crate::http::refresh::Refresher;
use crate::http::tls::{Files, Tls};
use crate::sys::throttle::Throttle;

/// How long a request or handshake waits for a reading.
const PATIENCE: Duration = Duration::from_secs(1);

/// The age up to which the last reading is used if the next one hangs. Scrapes are more frequent
/// than this, because Prometheus treats a series as stale after five minutes without a sample.
const GRACE: Duration = Duration::from_secs(300);

/// A web configuration file and the thread that reads it.
#[derive(Debug)]
pub struct Live {
    /// Whether connections use TLS. As in the toolkit, this is decided at the start.
    serves_tls: bool,
    at_start: Arc<WebConfig>,
    files: Refresher<Reading>,
    overdue: Throttle,
}

/// The result of one reading.
#[derive(Clone)]
struct Reading {
    config: Option<Arc<WebConfig>>,
    tls: Option<Arc<ServerConfig>>,
}

/// Why there is no web configuration to apply. The log has the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The file cannot be read or is invalid.
    Invalid,
    /// The reading takes too long.
    Overdue,
}

#[derive(Default)]
struct State {
    text: String,
    config: Option<Arc<WebConfig>>,
    tls: Option<(Files, Tls)>,
    /// Rate-limits messages about certificates that are left out.
    skipped: Throttle,
    config_error: Reported,
    tls_error: Reported,
}

impl fmt::Debug for State {
    /// Omits all fields, because they contain private keys and password hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// A web configuration that was validated together with the files that it names.
#[derive(Debug, Default)]
pub struct Validated {
    /// The web configuration, certificates and keys.
    pub files: Vec<PathBuf>,
    /// Certificates that are left out because they cannot be used, with the reasons.
    pub skipped: Vec<String>,
}

/// Reads and validates a web configuration and the files that it names. Does nothing if the path is
/// empty.
pub fn validate(path: &Path) -> Result<Validated, Error> {
    if path == Path::new("") {
        return Ok(Validated::default());
    }
    let (state, config) = State::load(path)?;
    let named = config.tls.iter().flat_map(TlsSection::files);
    Ok(Validated {
        files: [path]
            .into_iter()
            .chain(named)
            .map(Path::to_owned)
            .collect(),
        skipped: state.tls.map(|(_, tls)| tls.skipped).unwrap_or_default(),
    })
}

impl Live {
    /// Reads and validates a web configuration and the files that it names, and starts the thread
    /// that reads them again on demand. Returns None if the path is empty.
    pub fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        if path == Path::new("") {
            return Ok(None);
        }
        let (mut state, at_start) = State::load(path)?;
        let serves_tls = at_start.tls.is_some();
        let first = Reading {
            config: Some(Arc::clone(&at_start)),
            tls: state.tls.as_ref().map(|(_, tls)| Arc::clone(&tls.config)),
        };
        state.warn_about_skipped();
        let path = path.to_owned();
        let files = Refresher::start("web-config", first, move || state.read(&path, serves_tls))
            .context("cannot start the thread that reads the web configuration")?;
        Ok(Some(Self {
            serves_tls,
            at_start,
            files,
            overdue: Throttle::default(),
        }))
    }

    /// Returns whether connections use TLS.
    pub(crate) fn serves_tls(&self) -> bool {
        self.serves_tls
    }

    /// Returns the configuration as it was at the start.
    pub(crate) fn at_start(&self) -> &WebConfig {
        &self.at_start
    }

    /// Returns the configuration that is in the file now.
    pub(crate) async fn config(&self) -> Result<Arc<WebConfig>, Unusable> {
        self.read(PATIENCE, GRACE)
            .await?
            .config
            .ok_or(Unusable::Invalid)
    }

    /// Returns the TLS configuration that is in the files now.
    pub(crate) async fn tls(&self) -> Result<Arc<ServerConfig>, Unusable> {
        self.read(PATIENCE, GRACE)
            .await?
            .tls
            .ok_or(Unusable::Invalid)
    }

    /// Returns when the thread that reads the files has panicked.
    pub(crate) async fn ended(&self) {
        self.files.ended().await;
    }

    async fn read(&self, patience: Duration, grace: Duration) -> Result<Reading, Unusable> {
        if let Some(reading) = self.files.fresh(patience).await {
            return Ok(reading);
        }
        let (reading, age) = self.files.latest();
        let is_recent = age < grace;
        if let Some(times) = self.overdue.allow(Instant::now()) {
            let instead = if is_recent {
                "using the last reading"
            } else {
                "rejecting all requests"
            };
            warn!(
                times,
                age_seconds = age.as_secs(),
                "reading the web configuration takes too long, {instead}"
            );
        }
        if is_recent {
            Ok(reading)
        } else {
            Err(Unusable::Overdue)
        }
    }
}

impl State {
    fn load(path: &Path) -> Result<(Self, Arc<WebConfig>), Error> {
        let mut state = Self::default();
        let config = state.config(path)?;
        if let Some(section) = &config.tls {
            let tls = state.tls(&config);
            tls.map_err(|fault| unusable(path, section, fault))?;
        }
        Ok((state, config))
    }

    fn read(&mut self, path: &Path, serves_tls: bool) -> Reading {
        let config = self.config(path);
        let config = self.config_error.report(config);
        let tls = config.as_deref().filter(|_| serves_tls).and_then(|config| {
            let tls = self.tls(config).map_err(|fault| invalid(path, fault));
            self.tls_error.report(tls)
        });
        if tls.is_some() {
            self.warn_about_skipped();
        }
        Reading { config, tls }
    }

    fn config(&mut self, path: &Path) -> Result<Arc<WebConfig>, Error> {
        let text = read_text(path)?;
        match &self.config {
            Some(config) if self.text == text => Ok(Arc::clone(config)),
            before => {
                let is_change = before.is_some();
                let config = Arc::new(WebConfig::parse(&text, path)?);
                if let Some(before) = before {
                    // A half-written file, which is often valid, must not remove access control.
                    config
                        .keeps_access_control_of(before)
                        .map_err(|fault| invalid(path, fault))?;
                }
                self.text = text;
                self.config = Some(Arc::clone(&config));
                // Even if the certificates are the same, other settings of the TLS section may
                // differ.
                self.tls = None;
                if is_change {
                    info!(path = %path.display(), "web configuration changed");
                }
                Ok(config)
            }
        }
    }

    fn tls(&mut self, config: &WebConfig) -> Result<Arc<ServerConfig>, Fault> {
        let Some(section) = &config.tls else {
            return Err(Fault {
                line: 1,
                message: "tls_server_config was removed; removing it needs a restart".to_owned(),
            });
        };
        let files = Files::read(section)?;
        match &self.tls {
            Some((before, tls)) if *before == files => Ok(Arc::clone(&tls.config)),
            before => {
                let is_change = before.is_some();
                let tls = files.server_config(section)?;
                let config = Arc::clone(&tls.config);
                self.tls = Some((files, tls));
                self.skipped = Throttle::default();
                if is_change {
                    info!("certificates changed");
                }
                Ok(config)
            }
        }
    }

    /// Logs the certificates that are left out, at most once per minute.
    fn warn_about_skipped(&self) {
        let Some((_, tls)) = &self.tls else { return };
        if tls.skipped.is_empty() || self.skipped.allow(Instant::now()).is_none() {
            return;
        }
        let (certificates, first) = (tls.skipped.len(), &tls.skipped[0]);
        warn!(
            certificates,
            first, "certificates that cannot be used are left out"
        );
    }
}

/// The error that was logged last, if it still persists.
#[derive(Debug, Default)]
struct Reported(Option<(String, Throttle)>);

impl Reported {
    /// Logs an error when it appears, then once per minute, and when it is gone.
    fn report<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => {
                if self.0.take().is_some() {
                    info!("the web configuration can be used again");
                }
                Some(value)
            }
            Err(error) => {
                let error = error.to_string();
                let (_, throttle) = match self.0.take() {
                    Some(same) if same.0 == error => self.0.insert(same),
                    _ => self.0.insert((error.clone(), Throttle::default())),
                };
                if throttle.allow(Instant::now()).is_some() {
                    error!(
                        error,
                        "the web configuration cannot be used, rejecting all requests"
                    );
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_reading_is_used_for_a_while_when_a_file_system_hangs() {
        let (resume, hung) = std::sync::mpsc::channel::<()>();
        let at_start = Arc::new(WebConfig::parse("", Path::new("web.yml")).unwrap());
        let first = Reading {
            config: Some(Arc::clone(&at_start)),
            tls: None,
        };
        let next = Reading {
            config: None,
            tls: None,
        };
        let files = Refresher::start("web-config", first, move || {
            hung.recv().unwrap();
            next.clone()
        });
        let live = Live {
            serves_tls: false,
            at_start,
            files: files.unwrap(),
            overdue: Throttle::default(),
        };
        let short = Duration::from_millis(1);
        let last = live
            .read(short, GRACE)
            .await
            .map(|last| last.config.is_some());
        assert_eq!(last, Ok(true));
        let rejected = live.read(short, Duration::ZERO).await.map(|_| ());
        assert_eq!(rejected, Err(Unusable::Overdue));
        for _request in 0..3 {
            resume.send(()).unwrap();
        }
        assert_eq!(live.config().await.err(), Some(Unusable::Invalid));
    }
}
