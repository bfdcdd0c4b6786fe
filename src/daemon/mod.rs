//! The service: in which order it starts and stops, and what ends it.
//!
//! Each stage owns what it needs and ends when the stage before it does; that the
//! pipeline has ended, for whatever reason, shows as the end of its snapshots.

mod listen;
pub mod notify;
pub mod reload;
mod watchdog;

use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use listenfd::ListenFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::info;

use crate::capture::TransportKind;
use crate::capture::options::FailureHooks;
use crate::capture::source::Source;
use crate::capture::{self, Capture, CaptureInfo};
use crate::config::{self, Config, Resolved};
use crate::daemon::reload::Reloader;
use crate::http::auth;
use crate::http::listener::Listener;
use crate::http::live_config::Live;
use crate::http::routes::{self, App};
use crate::http::server::{Limits, Server};
use crate::metrics::Metrics;
use crate::names::users::Users;
use crate::pipeline::aggregator::Aggregator;
use crate::pipeline::flush::Control;
use crate::pipeline::flusher::Flusher;
use crate::pipeline::message::Message;
use crate::pipeline::reader::{self, Reader};
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::{Label, View};
use crate::record::Kind;
use crate::sys::malloc;
use crate::sys::privileges::{self, Kept};

/// Batches between reader and aggregator.
const CHANNEL: usize = 16;

/// How long the last flush may take.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How long the last answers may take, after it.
const ANSWERS_DEADLINE: Duration = Duration::from_secs(2);

/// Why the service could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be captured.
    #[error(transparent)]
    Capture(#[from] capture::Error),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// Capture what this host executes until SIGTERM or SIGINT, or until a stage fails. At each
/// SIGHUP, take up what `load` reads.
pub fn run(
    resolved: Resolved,
    load: impl Fn() -> Result<Resolved, config::Error> + Clone + Send + 'static,
) -> Result<(), Error> {
    // Before there are threads: it reads and clears the environment.
    let passed = passed(ListenFd::from_env())?;
    let capture = Capture::start(&options(&resolved.config))?;
    malloc::give_back();
    let capture_info = capture.info().clone();
    let listeners = if passed.is_empty() {
        // An address that cannot be bound is an error: half of what was asked for would look
        // like all of it.
        let listeners = resolved.listen.iter().map(listen::bind);
        listeners.collect::<Result<_, _>>()?
    } else {
        info!(
            sockets = passed.len(),
            "listening on what systemd passed, not on web.listen"
        );
        passed
    };
    run_source(
        capture,
        &capture_info,
        resolved,
        listeners,
        async |reloader: &mut Reloader| {
            let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
            let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
            let mut reload = async || {
                hangup.recv().await;
                reloader.reload(load.clone()).await;
            };
            let signal = loop {
                tokio::select! {
                    _ = terminate.recv() => break "SIGTERM",
                    _ = interrupt.recv() => break "SIGINT",
                    () = reload() => {}
                }
            };
            info!(signal, "stopping");
            Ok(())
        },
    )?;
    Ok(())
}

/// What the configuration asks of the kernel side.
fn options(config: &Config) -> capture::Options {
    capture::Options {
        transports: match config.capture.transport {
            config::Transport::Auto => vec![TransportKind::Perf, TransportKind::Ring],
            config::Transport::Perf => vec![TransportKind::Perf],
            config::Transport::Ringbuf => vec![TransportKind::Ring],
        },
        buffer_pages: config.capture.buffer_pages,
        with_parent_comm: config.has_label(|label| label == Label::ParentComm),
        with_cgroup: config.has_label(Label::is_of_cgroup),
        failures: match config.capture.failures {
            config::Failures::Auto => Some(FailureHooks::Fexit),
            config::Failures::Tracepoint => Some(FailureHooks::FexitOrTracepoint),
            config::Failures::Off => None,
        },
        exits: config.capture.exits,
        classic: config.capture.classic,
        ..capture::Options::default()
    }
}

/// Count what comes out of `source` and answer on `listeners`, until `stop` returns or a
/// stage fails; `stop` may reload the configuration meanwhile. Gives up the calling thread's
/// capabilities. Returns the last counts.
pub fn run_source<S: Source + 'static>(
    source: S,
    capture_info: &CaptureInfo,
    resolved: Resolved,
    listeners: Vec<Listener>,
    stop: impl AsyncFnOnce(&mut Reloader) -> anyhow::Result<()>,
) -> anyhow::Result<Arc<Snapshot>> {
    let Resolved {
        config,
        views: initial_views,
        ..
    } = resolved;
    let control = Control::new().context("cannot make an eventfd")?;
    let (sender, messages) = mpsc::channel(CHANNEL);
    let channel = sender.downgrade();
    let mut reader = Reader::new(source, control.clone(), sender);

    // The first flush shows which privileges reading needs.
    let kept = privileges::drop_all(|| reader.flush_now().map_err(std::io::Error::other))
        .context("cannot give up privileges")?;
    match kept {
        Kept::Nothing => info!("gave up all capabilities"),
        Kept::Bpf => info!("kept CAP_BPF, which this kernel asks for at each use of a BPF map"),
    }

    // With no more privileges than it is read with later.
    let web_config = Live::load(&config.web.config_file)?.map(Arc::new);
    let (views, changes) = std_mpsc::sync_channel(1);
    let pipeline = Pipeline::start(reader, messages, initial_views, changes)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let snapshots = pipeline.snapshots.clone();
    let flusher = Flusher::new(control.clone(), snapshots.clone());
    let users = Users::default();
    let metrics = Metrics::new(capture_info.clone(), snapshots, channel, users.clone())
        .context("cannot set up the metrics")?;
    let status = format!(
        "Counting execs by {} over the {} buffer",
        capture_info.list(Kind::Exec).unwrap_or_default(),
        capture_info.transport.name()
    );
    let mut reloader = Reloader::new(
        config.clone(),
        views,
        metrics.reload_successful(),
        status.clone(),
    );
    let note = reloader.note();
    let telemetry_path = config.web.telemetry_path.clone();
    let app = Arc::new(App::new(
        flusher.clone(),
        metrics,
        capture_info.clone(),
        users,
        telemetry_path,
    ));
    auth::warn_if_exposed(&listeners, web_config.as_deref());
    let router = routes::router(Arc::clone(&app));
    let router = match &web_config {
        Some(live) => auth::protect(router, Arc::clone(live)),
        None => router,
    };
    let server = Server::new(router, Limits::new(config.web.max_connections)).with_tls(web_config);
    let (stopped, in_time) = runtime.block_on(async {
        let systemd = Systemd { status, note };
        let stop = stop(&mut reloader);
        let stopped = serve(&server, &flusher, systemd, listeners, stop).await;
        app.not_ready();
        control.stop();
        let in_time = timeout(STOP_DEADLINE, flusher.closed()).await.is_ok();
        server.finish(ANSWERS_DEADLINE).await;
        (stopped, in_time)
    });
    drop(runtime);
    if !in_time {
        bail!("reader and aggregator did not stop within {STOP_DEADLINE:?}");
    }
    let totals = pipeline.join()?; // why the pipeline ended, if that is why we stopped
    stopped?;
    info!(
        execs = totals.execs,
        unattributed = totals.unattributed,
        exits = totals.exits.total(),
        failures = capture_info
            .observes(Kind::Failure)
            .then(|| totals.flush.failures.total()),
        ledger_difference = totals.differences.iter().map(|d| d.abs()).sum::<i64>(),
        "stopped"
    );
    Ok(totals)
}

/// The sockets that systemd has bound, if any: `execsnoopd.socket`.
fn passed(mut sockets: ListenFd) -> anyhow::Result<Vec<Listener>> {
    let taken = (0..sockets.len()).map(|i| match sockets.take_tcp_listener(i) {
        Ok(tcp) => Ok(tcp.map(Listener::from)),
        Err(_) => sockets
            .take_unix_listener(i)
            .map(|unix| unix.map(Listener::from)),
    });
    let taken: Result<Vec<_>, _> = taken.collect();
    let taken = taken.context("systemd passed a socket that is neither a TCP nor a Unix one")?;
    Ok(taken.into_iter().flatten().collect())
}

/// The threads of reader and aggregator.
struct Pipeline {
    reader: JoinHandle<Result<(), reader::Error>>,
    aggregator: JoinHandle<Arc<Snapshot>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Pipeline {
    fn start<S: Source + 'static>(
        reader: Reader<S>,
        messages: mpsc::Receiver<Message>,
        views: Vec<View>,
        changes: std_mpsc::Receiver<Vec<View>>,
    ) -> anyhow::Result<Self> {
        let aggregator = Aggregator::new(views).with_changes(changes);
        let (publish, snapshots) = watch::channel(Arc::default());
        Ok(Self {
            reader: thread::Builder::new()
                .name("reader".to_owned())
                .spawn(move || reader.run())
                .context("cannot start the reader thread")?,
            aggregator: thread::Builder::new()
                .name("aggregator".to_owned())
                .spawn(move || aggregator.run(messages, &publish))
                .context("cannot start the aggregator thread")?,
            snapshots,
        })
    }

    /// The last counts, or why a thread ended before it was asked to. To be called when
    /// the threads are ending.
    fn join(self) -> anyhow::Result<Arc<Snapshot>> {
        // Without its receiver the reader cannot go on: it comes to an end after the
        // aggregator, if not before.
        let totals = self
            .aggregator
            .join()
            .map_err(|_| anyhow!("the aggregator thread panicked"))?;
        self.reader
            .join()
            .map_err(|_| anyhow!("the reader thread panicked"))?
            .context("the reader failed")?;
        Ok(totals)
    }
}

/// What systemd is told.
struct Systemd {
    /// Once the service is ready.
    status: String,
    /// And later beside what it is told then.
    note: watch::Receiver<String>,
}

/// Answer until `stop` returns or a stage ends.
async fn serve(
    server: &Server,
    flusher: &Flusher,
    systemd: Systemd,
    listeners: Vec<Listener>,
    stop: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    let mut pings = Vec::new();
    for listener in listeners {
        let (ping, pinged) = mpsc::channel(1);
        pings.push(ping);
        running.spawn(server.clone().run(listener, pinged));
    }
    // Poll once, so that what it waits for (signals) is waited for before we are ready.
    let mut stop = pin!(stop);
    tokio::select! {
        biased;
        stopped = &mut stop => return stopped,
        () = std::future::ready(()) => {}
    }
    notify::ready(&systemd.status);
    let watchdog = watchdog::feed(flusher.clone(), pings, systemd.note);
    tokio::select! {
        stopped = stop => {
            notify::stopping();
            stopped
        }
        () = flusher.closed() => Err(anyhow!("the pipeline ended")),
        Some(ended) = running.join_next() => Err(match ended {
            Ok(Err(error)) => anyhow!(error).context("a listener failed"),
            Err(error) => anyhow!(error).context("a listener panicked"),
        }),
        () = watchdog => Err(anyhow!("the watchdog ended")),
    }
    // Dropping the listeners' tasks closes their sockets: nobody new is let in.
}
