//! The web configuration as it is now.
//!
//! Like the toolkit, it reads the file at each request, and file, certificates and keys at
//! each handshake: what was changed counts from then on, however it was changed. Only what
//! is different from the last time is parsed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::ServerConfig;
use tracing::{error, info};

use crate::config::web_file::{Error, Fault, WebConfig, invalid, read_text};
use crate::http::tls::Files;

/// A web configuration file, and what it said when it was last looked at.
#[derive(Debug)]
pub struct Live {
    path: PathBuf,
    /// Whether connections are TLS: as in the toolkit, that is decided at the start.
    tls: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    text: String,
    config: Option<Arc<WebConfig>>,
    tls: Option<(Files, Arc<ServerConfig>)>,
    /// What is wrong, once it was logged.
    said: Said,
}

impl fmt::Debug for State {
    /// There are keys and hashes in the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// What is wrong with the file, and with the TLS that it asks for.
#[derive(Debug, Default)]
struct Said {
    config: Option<String>,
    tls: Option<String>,
}

impl Live {
    /// Read and validate a file, and what it names; nothing if the path is empty.
    pub fn load(path: &Path) -> Result<Option<Self>, Error> {
        if path == Path::new("") {
            return Ok(None);
        }
        let mut state = State::default();
        let config = state.config(path)?;
        if config.tls.is_some() {
            state.tls(&config).map_err(|fault| invalid(path, fault))?;
        }
        Ok(Some(Self {
            path: path.to_owned(),
            tls: config.tls.is_some(),
            state: Mutex::new(state),
        }))
    }

    /// Whether connections are TLS.
    pub(crate) fn serves_tls(&self) -> bool {
        self.tls
    }

    /// What the file says now; none, and a line in the log, if it cannot be used.
    pub(crate) fn config(&self) -> Option<Arc<WebConfig>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let config = state.config(&self.path);
        note(config, &mut state.said.config)
    }

    /// TLS as the file says now; none, and a line in the log, if it cannot be used.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let config = state.config(&self.path);
        let config = note(config, &mut state.said.config)?;
        let tls = state.tls(&config);
        let tls = tls.map_err(|fault| invalid(&self.path, fault));
        note(tls, &mut state.said.tls)
    }
}

impl State {
    fn config(&mut self, path: &Path) -> Result<Arc<WebConfig>, Error> {
        let text = read_text(path)?;
        match &self.config {
            Some(config) if self.text == text => Ok(Arc::clone(config)),
            before => {
                let is_change = before.is_some();
                let config = Arc::new(WebConfig::parse(&text, path)?);
                if let Some(before) = before {
                    // The half of a file that is being written may well be a valid one.
                    config
                        .asks_for_what(before)
                        .map_err(|fault| invalid(path, fault))?;
                }
                self.text = text;
                self.config = Some(Arc::clone(&config));
                // What it says of TLS may be different with the same files.
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
                message: "tls_server_config is gone; TLS can be switched off by a restart only"
                    .to_owned(),
            });
        };
        let files = Files::read(section)?;
        match &self.tls {
            Some((before, tls)) if *before == files => Ok(Arc::clone(tls)),
            before => {
                let is_change = before.is_some();
                let tls = Arc::new(files.server_config(section)?);
                self.tls = Some((files, Arc::clone(&tls)));
                if is_change {
                    info!("certificates changed");
                }
                Ok(tls)
            }
        }
    }
}

/// Log what is wrong, though not again and again.
fn note<T>(result: Result<T, Error>, said: &mut Option<String>) -> Option<T> {
    match result {
        Ok(value) => {
            if said.take().is_some() {
                info!("the web configuration can be used again");
            }
            Some(value)
        }
        Err(error) => {
            let error = error.to_string();
            if said.as_ref() != Some(&error) {
                error!(
                    error,
                    "the web configuration cannot be used: nobody is let in"
                );
                *said = Some(error);
            }
            None
        }
    }
}
