//! The service: in which order it starts and stops, and what ends it.
//!
//! Each stage owns what it needs and ends when the stage before it does; that the
//! pipeline has ended, for whatever reason, shows as the end of its snapshots.

mod command;
mod listen;
pub mod notify;
mod pipeline;
pub mod reload;
mod signals;
mod watchdog;

use std::future::pending;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use listenfd::ListenFd;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::info;

pub use self::command::{Command, Load};
use self::pipeline::Pipeline;
use crate::capture::TransportKind;
use crate::capture::options::FailureHooks;
use crate::capture::source::Source;
use crate::capture::{self, Capture, CaptureInfo};
use crate::config::{self, Config, Resolved};
use crate::daemon::reload::Reloader;
use crate::http::auth;
use crate::http::hosts;
use crate::http::listener::Listener;
use crate::http::live_config::Live;
use crate::http::routes::{self, App};
use crate::http::server::{Limits, Server};
use crate::metrics::Metrics;
use crate::names::users::Users;
use crate::pipeline::flush::Control;
use crate::pipeline::flusher::Flusher;
use crate::pipeline::reader::Reader;
use crate::pipeline::snapshot::Snapshot;
use crate::pipeline::view::Label;
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
    let daemon = Daemon::new(capture, &capture_info, resolved, listeners)?;
    let commands = signals::commands(daemon.runtime.handle(), load)?;
    daemon.run(commands)?;
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

/// Counts what comes out of a source, and answers requests once it runs.
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
    runtime: Runtime,
}

impl Daemon {
    /// Gives up the calling thread's capabilities, starts to count, and prepares to answer on
    /// `listeners`.
    pub fn new<S: Source + 'static>(
        source: S,
        capture_info: &CaptureInfo,
        resolved: Resolved,
        listeners: Vec<Listener>,
    ) -> anyhow::Result<Self> {
        let config = resolved.config;
        let control = Control::new().context("cannot make an eventfd")?;
        let (sender, messages) = mpsc::channel(CHANNEL);
        let mut reader = Reader::new(source, control.clone(), sender);
        drop_privileges(&mut reader)?;

        // Without privileges, as for every later reading.
        let web_config = Live::load(&config.web.config_file)?.map(Arc::new);
        let (views, changes) = std_mpsc::sync_channel(1);
        let pipeline = Pipeline::start(reader, messages, resolved.views, changes)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let flusher = Flusher::new(control.clone(), pipeline.snapshots.clone());
        let users = Users::default();
        let metrics = Metrics::new(capture_info.clone()).context("cannot set up the metrics")?;
        let status = format!(
            "Counting execs by {} over the {} buffer",
            capture_info.list(Kind::Exec).unwrap_or_default(),
            capture_info.transport.name()
        );
        let reloader = Reloader::new(config.clone(), views, metrics.reload_successful(), status);
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
            runtime,
        })
    }

    /// Answers and obeys `commands` until it is told to stop or a stage fails. Returns the last
    /// counts. To be called on the thread of [`Daemon::new`], which has no capabilities left.
    pub fn run(
        mut self,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> anyhow::Result<Arc<Snapshot>> {
        let listeners = std::mem::take(&mut self.listeners);
        let (stopped, in_time) = self.runtime.block_on(async {
            let stopped = serve(
                listeners,
                &self.server,
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
            exits = totals.exits.total(),
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

/// Gives up all capabilities that `reader` can do without, which its first flush shows.
fn drop_privileges<S: Source>(reader: &mut Reader<S>) -> anyhow::Result<()> {
    let kept = privileges::drop_all(|| reader.flush_now().map_err(std::io::Error::other))
        .context("cannot give up privileges")?;
    match kept {
        Kept::Nothing => info!("gave up all capabilities"),
        Kept::Bpf => info!("kept CAP_BPF, which this kernel asks for at each use of a BPF map"),
    }
    Ok(())
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

/// Answers until a command to stop comes or a stage ends.
async fn serve(
    listeners: Vec<Listener>,
    server: &Server,
    flusher: &Flusher,
    web_config: Option<&Live>,
    reloader: &mut Reloader,
    commands: mpsc::UnboundedReceiver<Command>,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    let mut pings = Vec::new();
    for listener in listeners {
        let (ping, pinged) = mpsc::channel(1);
        pings.push(ping);
        running.spawn(server.clone().run(listener, pinged));
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
