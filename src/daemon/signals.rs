//! Turns signals into commands.

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use crate::config::{self, Resolved};
use crate::daemon::command::Command;

/// Handles signals from now on: SIGHUP reloads the configuration that `load` reads; SIGTERM and
/// SIGINT stop the daemon.
pub(super) fn commands(
    runtime: &Handle,
    load: impl Fn() -> Result<Resolved, config::Error> + Clone + Send + 'static,
) -> anyhow::Result<mpsc::UnboundedReceiver<Command>> {
    let _context = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let (send, commands) = mpsc::unbounded_channel();
    runtime.spawn(async move {
        let signal = loop {
            tokio::select! {
                _ = terminate.recv() => break "SIGTERM",
                _ = interrupt.recv() => break "SIGINT",
                _ = hangup.recv() => {
                    // Fails if the daemon is stopping for another reason.
                    let _ = send.send(Command::Reload(Box::new(load.clone())));
                }
            }
        };
        info!(signal, "stopping");
        let _ = send.send(Command::Stop);
    });
    Ok(commands)
}
