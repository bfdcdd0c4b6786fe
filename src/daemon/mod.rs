//! Starts, reloads and stops the daemon.
//!
//! A configuration and signals come in; an exit status and the last counts go out. The main thread
//! runs this code and then the runtime. Each stage owns what it needs and ends when the stage
//! before it ends: when the reader or the aggregator ends, for whatever reason, the channel of
//! snapshots is closed, which stops the daemon. `reload.rs` decides which changes of the
//! configuration can be applied while counting.

mod command;
mod error;
mod handover;
pub mod notify;
mod observed;
mod pipeline;
pub mod reload;
pub mod signals;
mod store;
pub(crate) mod unprivileged;
mod watchdog;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::info;

pub use self::command::{Command, Load};
pub use self::error::Error;
pub use self::handover::Beginning;
use self::pipeline::Pipeline;

use crate::capture::CaptureInfo;
use crate::capture::source::Source;
use crate::config::{self, Address, Resolved, Start};
use crate::daemon::reload::Reloader;
use crate::daemon::signals::Signals;
use crate::daemon::store::Passed;
use crate::http::auth;
use crate::http::health;
use crate::http::hosts;
use crate::http::listener::Listener;
use crate::http::live_config::Live;
use crate::http::routes::{self, App};
use crate::http::server::{Limits, Server};
use crate::metrics::Metrics;
use crate::names::users::Users;
use crate::pipeline::aggregator::Aggregator;
use crate::pipeline::change::Changes;
use crate::pipeline::flush::Control;
use crate::pipeline::flusher::Flusher;
use crate::pipeline::reader::Reader;
use crate::pipeline::snapshot::Snapshot;
use crate::record::Kind;
use crate::sys::malloc;
use crate::sys::privileges::{self, Kept};

/// The capacity of the channel between reader and aggregator, in batches.
const CHANNEL: usize = 16;

/// The time limit for the last flush when the daemon stops. In a storm on an emulated CPU, it has taken
/// more than ten seconds. With [`ANSWERS_DEADLINE`], it is below `TimeoutStopSec` in the unit.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// The limit of requests that are answered at a time on `web.probe_listen`.
const MAX_PROBE_CONNECTIONS: usize = 16;

/// The time limit for the last answers, after the last flush.
const ANSWERS_DEADLINE: Duration = Duration::from_secs(2);

/// Counts what this host executes until SIGTERM or SIGINT arrives or a stage fails. Each SIGHUP
/// applies the configuration that `load` reads.
pub fn run(
    start: Start,
    signals: Signals,
    load: impl Fn() -> Result<Resolved, config::Error> + Clone + Send + 'static,
) -> Result<(), Error> {
    let passed = Passed::take()?;
    let Start {
        resolved,
        listen,
        files,
    } = start;
    let successor = unprivileged::successor(&resolved.config.run_as)?;
    let (capture, beginning) = handover::start(&resolved.config, passed.stored)?;
    malloc::give_back();
    let capture_info = capture.info().clone();
    // From here on, SIGTERM and SIGINT no longer end the process at once, so that the files of Unix
    // sockets are removed when it stops.
    let (runtime, commands) = signals.commands(load);
    let listeners = if passed.listeners.is_empty() {
        // A single address that cannot be bound is an error, because otherwise nobody would notice
        // that it is missing.
        bind(&listen.web)?
    } else {
        info!(
            sockets = passed.listeners.len(),
            "listening on the sockets that systemd passed, web.listen is ignored"
        );
        passed.listeners
    };
    let probes = bind(&listen.probes)?;
    let sockets = listen.web.into_iter().chain(listen.probes);
    let sockets = sockets.filter_map(|address| match address {
        Address::Unix(path) => Some(path),
        Address::Tcp(_) => None,
    });
    unprivileged::leave_root(successor.as_ref(), &files, &sockets.collect::<Vec<_>>())?;
    Daemon::new(
        runtime,
        capture,
        &capture_info,
        beginning,
        resolved,
        listeners,
    )?
    .with_probes(probes)
    .run(commands)?;
    Ok(())
}

fn bind(addresses: &[Address]) -> anyhow::Result<Vec<Listener>> {
    addresses.iter().map(Listener::bind).collect()
}

/// Counts the records of a source and answers requests.
#[derive(Debug)]
pub struct Daemon {
    capture_info: CaptureInfo,
    control: Control,
    pipeline: Pipeline,
    flusher: Flusher,
    reloader: Reloader,
    app: Arc<App>,
    web_config: Option<Arc<Live>>,
    server: Server,
    listeners: Vec<Listener>,
    probes: Vec<Listener>,
    runtime: Runtime,
}

impl Daemon {
    /// Drops the capabilities of the calling thread, starts to count, and prepares to answer on
    /// `listeners`. `runtime` must run its tasks on that thread.
    pub fn new<S: Source + 'static>(
        runtime: Runtime,
        source: S,
        capture_info: &CaptureInfo,
        beginning: Beginning,
        resolved: Resolved,
        listeners: Vec<Listener>,
    ) -> anyhow::Result<Self> {
        let config = resolved.config;
        let control = Control::new().context("cannot make an eventfd")?;
        let (sender, messages) = mpsc::channel(CHANNEL);
        let changes = Changes::default();
        let mut reader = Reader::new(source, control.clone(), sender)
            .continuing(beginning.counts.is_some())
            .with_labels(resolved.labels)
            .with_changes(Arc::clone(&changes));
        drop_privileges(&mut reader)?;

        // The privileges are dropped by now. So a file that cannot be read without them is an error
        // at the start, and not only when it is read again.
        let web_config = Live::load(&config.web.config_file)?.map(Arc::new);
        let aggregator = match beginning.counts {
            Some(counts) => Aggregator::resume(counts, resolved.views),
            None => Aggregator::new(resolved.views),
        };
        let aggregator = aggregator.with_watches(resolved.watches);
        let aggregator = match beginning.saver {
            Some(saver) => aggregator.with_saver(saver),
            None => aggregator,
        };
        let pipeline = Pipeline::start(reader, messages, aggregator)?;
        let flusher = Flusher::new(control.clone(), pipeline.snapshots.clone());
        let users = Users::default();
        let metrics = Metrics::new(capture_info.clone()).context("cannot set up the metrics")?;
        let status = format!(
            "Counting execs by {} over the {} buffer",
            capture_info.list(Kind::Exec).unwrap_or_default(),
            capture_info.transport.name()
        );
        let reloader = Reloader::new(config.clone(), changes, metrics.reload_successful(), status);
        let app = Arc::new(App::new(
            flusher.clone(),
            metrics,
            capture_info.clone(),
            users,
            config.web.telemetry_path.clone(),
        ));
        auth::warn_if_exposed(&listeners, web_config.as_deref());
        let router = routes::router(Arc::clone(&app));
        let is_protected = web_config
            .as_ref()
            .is_some_and(|live| live.at_start().authenticates());
        let router = if is_protected {
            router
        } else {
            hosts::restrict(router, &config.web.hosts)
        };
        let router = match &web_config {
            Some(live) => auth::protect(router, Arc::clone(live)),
            None => router,
        };
        let limits = Limits::new(config.web.max_connections);
        Ok(Self {
            capture_info: capture_info.clone(),
            control,
            pipeline,
            flusher,
            reloader,
            app,
            server: Server::new(router, limits).with_tls(web_config.clone()),
            web_config,
            listeners,
            probes: Vec::new(),
            runtime,
        })
    }

    /// Also answers `/-/healthy` and `/-/ready` on these listeners, without TLS and users.
    #[must_use]
    pub fn with_probes(self, probes: Vec<Listener>) -> Self {
        Self { probes, ..self }
    }

    /// Answers requests and executes `commands` until one of them stops the daemon or a stage fails.
    /// Returns the last counts. Call it on the thread of [`Daemon::new`], which has no capabilities
    /// left.
    pub fn run(
        mut self,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> anyhow::Result<Arc<Snapshot>> {
        let served = std::mem::take(&mut self.listeners).into_iter();
        let served = served.map(|listener| (listener, self.server.clone()));
        let probes = std::mem::take(&mut self.probes).into_iter();
        let without_users = Server::new(
            health::router(self.app.health()),
            Limits::new(MAX_PROBE_CONNECTIONS),
        );
        let probes = probes.map(|listener| (listener, without_users.clone()));
        let served = served.chain(probes).collect();
        let (stopped, in_time) = self.runtime.block_on(async {
            let stopped = serve(
                served,
                &self.flusher,
                self.web_config.as_deref(),
                &mut self.reloader,
                commands,
            )
            .await;
            self.app.not_ready();
            self.control.stop();
            let in_time = timeout(STOP_DEADLINE, self.flusher.closed()).await.is_ok();
            self.server.finish(ANSWERS_DEADLINE).await;
            (stopped, in_time)
        });
        drop(self.runtime);
        if !in_time {
            bail!("reader and aggregator did not stop within {STOP_DEADLINE:?}");
        }
        // If a thread of the pipeline failed, its error explains why serving ended.
        let totals = self.pipeline.join()?;
        stopped?;
        info!(
            execs = totals.execs,
            unattributed = totals.unattributed,
            exits = totals.flush.exits.total(),
            failures = self
                .capture_info
                .observes(Kind::Failure)
                .then(|| totals.flush.failures.total()),
            ledger_difference = totals.differences.iter().map(|d| d.abs()).sum::<i64>(),
            "stopped"
        );
        Ok(totals)
    }
}

/// Drops all capabilities, except `CAP_BPF` if `reader` cannot flush without it.
fn drop_privileges<S: Source>(reader: &mut Reader<S>) -> anyhow::Result<()> {
    let kept = privileges::drop_all(|| reader.flush_now().map_err(std::io::Error::other))
        .context("cannot drop privileges")?;
    match kept {
        Kept::Nothing => info!("dropped all capabilities"),
        Kept::Bpf => info!("kept CAP_BPF, which this kernel checks at each use of a BPF map"),
    }
    Ok(())
}

/// Answers requests and executes commands until one of them stops the daemon or a stage ends.
async fn serve(
    served: Vec<(Listener, Server)>,
    flusher: &Flusher,
    web_config: Option<&Live>,
    reloader: &mut Reloader,
    commands: mpsc::UnboundedReceiver<Command>,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    let mut pings = Vec::new();
    for (listener, server) in served {
        let (ping, pinged) = mpsc::channel(1);
        pings.push(ping);
        running.spawn(server.run(listener, pinged));
    }
    notify::ready(reloader.status());
    let watchdog = watchdog::feed(flusher.clone(), pings, reloader.note());
    tokio::select! {
        () = command::obey(commands, reloader) => {
            notify::stopping();
            Ok(())
        }
        () = flusher.closed() => Err(anyhow!("the pipeline ended")),
        Some(ended) = running.join_next() => Err(match ended {
            Ok(Err(error)) => anyhow!(error).context("a listener failed"),
            Err(error) => anyhow!(error).context("a listener panicked"),
        }),
        () = web_config_ended(web_config) => {
            Err(anyhow!("the thread that reads the web configuration panicked"))
        }
        () = watchdog => Err(anyhow!("the watchdog ended")),
    }
    // Dropping the tasks of the listeners closes their sockets, so no new client connects.
}

/// Returns when the thread that reads the web configuration has panicked.
async fn web_config_ended(live: Option<&Live>) {
    match live {
        Some(live) => live.ended().await,
        None => pending().await,
    }
}
