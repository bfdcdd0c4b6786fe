//! Turns SIGHUP, SIGTERM and SIGINT into commands.
//!
//! The signals are blocked from the first statement of `main` until their handlers are installed.
//! While the daemon is starting, SIGTERM and SIGINT end the process with status 0, and the kernel
//! detaches the programs. A SIGHUP that arrives in this time causes a reload after the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal as Number};
use signal_hook::flag::register_conditional_shutdown;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use crate::config::{self, Resolved};
use crate::daemon::command::Command;

/// The signals of the daemon while they are blocked. Those that arrive stay pending in the kernel.
#[derive(Debug)]
pub struct Held(SigSet);

impl Held {
    /// Blocks the signals of the daemon. Call it before anything else.
    pub fn block() -> Self {
        let signals = SigSet::from_iter([Number::SIGHUP, Number::SIGINT, Number::SIGTERM]);
        // `pthread_sigmask(3)` fails only for an invalid argument.
        let _ = signals.thread_block();
        Self(signals)
    }

    /// Unblocks the signals. Those that are pending are delivered to the handlers that are
    /// installed now.
    pub fn deliver(self) {
        let _ = self.0.thread_unblock();
    }
}

/// The signal handlers of a daemon that is starting, and the runtime that receives the signals.
#[derive(Debug)]
pub struct Signals {
    runtime: Runtime,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    is_starting: Arc<AtomicBool>,
}

impl Signals {
    /// Installs the handlers and unblocks the signals, so that those that are pending are handled,
    /// too.
    pub fn handle(held: Held) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        let context = runtime.enter();
        let is_starting = Arc::new(AtomicBool::new(true));
        for number in [Number::SIGTERM, Number::SIGINT] {
            register_conditional_shutdown(number as i32, 0, Arc::clone(&is_starting))
                .with_context(|| format!("cannot handle {number}"))?;
        }
        let stream = |kind, name| signal(kind).with_context(|| format!("cannot handle {name}"));
        let hangup = stream(SignalKind::hangup(), "SIGHUP")?;
        let terminate = stream(SignalKind::terminate(), "SIGTERM")?;
        let interrupt = stream(SignalKind::interrupt(), "SIGINT")?;
        drop(context);
        held.deliver();
        Ok(Self {
            runtime,
            hangup,
            terminate,
            interrupt,
            is_starting,
        })
    }

    /// Turns signals into commands from now on: SIGHUP reloads the configuration that `load` reads;
    /// SIGTERM and SIGINT stop the daemon. Returns the runtime and the channel on which the
    /// commands arrive.
    pub(super) fn commands(
        self,
        load: impl Fn() -> Result<Resolved, config::Error> + Clone + Send + 'static,
    ) -> (Runtime, mpsc::UnboundedReceiver<Command>) {
        let Self {
            runtime,
            mut hangup,
            mut terminate,
            mut interrupt,
            is_starting,
        } = self;
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
        is_starting.store(false, Ordering::SeqCst);
        (runtime, commands)
    }
}
