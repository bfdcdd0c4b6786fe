//! The service as shipped, but in a thread of the test, which stops and reloads it without signals.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use execsnoopd::capture::hook::{CPU_TP_BTF, EXEC_TP_BTF, EXIT_TP_BTF, FEXIT};
use execsnoopd::capture::source::Source;
use execsnoopd::capture::{CaptureInfo, TransportKind};
use execsnoopd::config::Config;
use execsnoopd::daemon::{Beginning, Command, Daemon};
use execsnoopd::pipeline::snapshot::Snapshot;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::fake::{Fake, Kernel};
use crate::http::Scrape;

/// How long a test waits for the value of a sample before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that runs in a separate thread.
#[derive(Debug)]
pub struct Running {
    pub address: SocketAddr,
    commands: mpsc::UnboundedSender<Command>,
    thread: JoinHandle<anyhow::Result<Arc<Snapshot>>>,
}

/// Runs the service with this source of events. Returns when it has read its configuration and the
/// files that this names, so that a test can replace them.
pub fn run_on(source: impl Source + 'static, info: &CaptureInfo, config: &Config) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (commands, commanded) = mpsc::unbounded_channel();
    let (info, config) = (info.clone(), config.clone());
    let (set_up, is_set_up) = channel();
    let thread = std::thread::spawn(move || {
        let listeners = vec![listener.into()];
        let daemon = Daemon::new(
            runtime(),
            source,
            &info,
            Beginning::default(),
            config.resolve()?,
            listeners,
        )?;
        set_up.send(()).expect("the test waits");
        daemon.run(commanded)
    });
    // Fails if the service cannot start; the thread's result says why.
    let _ = is_set_up.recv();
    Running {
        address,
        commands,
        thread,
    }
}

impl Running {
    pub fn scrape(&self) -> Scrape {
        Scrape::of(self.address)
    }

    /// Sends a configuration to apply. The service may not have applied it yet on return.
    pub fn reload(&self, config: &Config) {
        let config = config.clone();
        let reload = Command::Reload(Box::new(move || Ok(config.resolve()?)));
        self.commands.send(reload).expect("it runs");
    }

    /// Stops the service, and returns its last snapshot.
    pub fn stop(self) -> anyhow::Result<Arc<Snapshot>> {
        // Fails if the service has ended on its own.
        let _ = self.commands.send(Command::Stop);
        self.thread.join().expect("no panic in the service")
    }

    /// Waits until the service ends on its own.
    pub fn wait(self) -> anyhow::Result<Arc<Snapshot>> {
        let result = self.thread.join().expect("no panic in the service");
        drop(self.commands);
        result
    }
}

/// The service on a fake kernel side, which the test fills.
#[derive(Debug)]
pub struct Service {
    pub kernel: Arc<Mutex<Kernel>>,
    pub address: SocketAddr,
    running: Running,
}

impl Service {
    pub fn start(config: &Config) -> Self {
        let (source, kernel) = Fake::new(Kernel::default());
        let running = run_on(source, &capture_info(), config);
        Self {
            kernel,
            address: running.address,
            running,
        }
    }

    /// Lets `fill` change the kernel side.
    pub fn kernel(&self, fill: impl FnOnce(&mut Kernel)) {
        fill(&mut self.kernel.lock().unwrap());
    }

    /// Sends a configuration to apply. The service may not have applied it yet on return.
    pub fn reload(&self, config: &Config) {
        self.running.reload(config);
    }

    /// Scrapes until a sample has this value.
    #[track_caller]
    pub fn await_sample(&self, sample: &str, value: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.running.scrape().find(sample) != Some(value) {
            assert!(Instant::now() < deadline, "{sample} is not {value}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops the service, and returns its last snapshot.
    pub fn stop(self) -> anyhow::Result<Arc<Snapshot>> {
        self.running.stop()
    }

    /// Waits until the service ends on its own.
    pub fn wait(self) -> anyhow::Result<Arc<Snapshot>> {
        self.running.wait()
    }
}

/// A single-threaded runtime, such as the daemon uses.
pub fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be started")
}

/// The hooks and the transport that the daemon chooses on most kernels.
pub fn capture_info() -> CaptureInfo {
    CaptureInfo {
        hooks: vec![EXEC_TP_BTF, FEXIT[0], EXIT_TP_BTF, CPU_TP_BTF],
        transport: TransportKind::Perf,
        buffer_bytes: 4096,
    }
}
