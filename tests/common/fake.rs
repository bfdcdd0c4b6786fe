//! A source of bytes that is no kernel, and the service on top of it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use execsnoopd::capture::hook::{EXEC_TP_BTF, EXIT_TP_BTF, FEXIT};
use execsnoopd::capture::source::{ProgramStats, Source};
use execsnoopd::capture::{CaptureInfo, TransportKind};
use execsnoopd::config::Config;
use execsnoopd::daemon;
use execsnoopd::daemon::reload::Reloader;
use execsnoopd::pipeline::snapshot::Snapshot;
use execsnoopd::record::{Event, FailureCounts, Kind, Ledgers};
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc;

use super::bytes::encode_count;
use super::http::Scrape;

/// How long what is waited for may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the kernel side would hold. Tests fill it; the reader empties it.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    pub(crate) events: VecDeque<Vec<u8>>,
    pub(crate) tally: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) ledgers: Ledgers,
    pub(crate) failures: FailureCounts,
    /// Paths of cgroups.
    pub(crate) cgroups: HashMap<u64, Vec<u8>>,
    /// The next read of the ledger fails with this.
    pub(crate) ledger_error: Option<io::Error>,
    /// The next drain of the events panics.
    pub(crate) panic: bool,
    pub(crate) detached: bool,
}

impl Kernel {
    /// As a program does it when the buffer has room.
    pub(crate) fn emit(&mut self, bytes: Vec<u8>) {
        self.emit_as(Kind::Exec, bytes);
    }

    pub(crate) fn emit_as(&mut self, kind: Kind, bytes: Vec<u8>) {
        self.ledgers[kind].seen += 1;
        self.ledgers[kind].sent += 1;
        self.events.push_back(bytes);
    }

    /// As a program does it when the buffer is full.
    pub(crate) fn tally(&mut self, key: Vec<u8>, count: u64) {
        self.tally_as(Kind::Exec, key, count, 0);
    }

    pub(crate) fn tally_as(&mut self, kind: Kind, key: Vec<u8>, count: u64, cpu_ns: u64) {
        let ledger = &mut self.ledgers[kind];
        ledger.seen += count;
        ledger.buffer_full += count;
        ledger.tallied += count;
        self.tally.push((key, encode_count(count, cpu_ns)));
    }

    /// As a program does it when the tally is full too.
    pub(crate) fn fail_to_attribute(&mut self, kind: Kind, count: u64) {
        let ledger = &mut self.ledgers[kind];
        ledger.seen += count;
        ledger.buffer_full += count;
        ledger.unattributed += count;
    }

    /// As a program does it for an exec that fails.
    pub(crate) fn fail(&mut self, errno: i32, count: u64) {
        self.ledgers[Kind::Failure].seen += count;
        self.failures.add(errno, count);
    }
}

/// The source's end of a [`Kernel`] that the test shares.
#[derive(Debug)]
pub(crate) struct Fake {
    kernel: Arc<Mutex<Kernel>>,
    wakeup: OwnedFd,
}

impl Fake {
    /// The two ends.
    pub(crate) fn new(kernel: Kernel) -> (Self, Arc<Mutex<Kernel>>) {
        let kernel = Arc::new(Mutex::new(kernel));
        let fake = Self {
            kernel: Arc::clone(&kernel),
            wakeup: eventfd(0, EventfdFlags::empty()).unwrap(),
        };
        (fake, kernel)
    }
}

impl Source for Fake {
    fn wakeup_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    fn drain_events(&mut self, event: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let events = {
            let mut kernel = self.kernel.lock().unwrap();
            assert!(!kernel.panic, "the test asked for a panic");
            std::mem::take(&mut kernel.events)
        };
        for bytes in &events {
            event(bytes);
        }
        Ok(())
    }

    fn drain_tally(&mut self, entry: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<()> {
        let tally = std::mem::take(&mut self.kernel.lock().unwrap().tally);
        for (key, count) in &tally {
            entry(key, count);
        }
        Ok(())
    }

    fn ledgers(&mut self) -> io::Result<Ledgers> {
        let mut kernel = self.kernel.lock().unwrap();
        match kernel.ledger_error.take() {
            Some(error) => Err(error),
            None => Ok(kernel.ledgers),
        }
    }

    fn failures(&mut self) -> io::Result<FailureCounts> {
        Ok(self.kernel.lock().unwrap().failures)
    }

    fn cgroup_path(&mut self, id: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(self.kernel.lock().unwrap().cgroups.get(&id).cloned())
    }

    fn programs(&mut self) -> Vec<ProgramStats> {
        Vec::new()
    }

    fn detach(&mut self) {
        self.kernel.lock().unwrap().detached = true;
    }
}

/// The service as it is shipped, but for its way to stop.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    control: mpsc::UnboundedSender<Config>,
    thread: JoinHandle<anyhow::Result<Arc<Snapshot>>>,
}

/// Run the service on a source.
pub(crate) fn run_on(
    source: impl Source + 'static,
    means: &CaptureInfo,
    config: &Config,
) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (control, mut controlled) = mpsc::unbounded_channel::<Config>();
    let (means, config) = (means.clone(), config.clone());
    let thread = std::thread::spawn(move || {
        let control = async |reloader: &mut Reloader| {
            // No sender is left: stop, or the test is over.
            while let Some(config) = controlled.recv().await {
                reloader.reload(move || Ok(config.resolve()?)).await;
            }
            Ok(())
        };
        let resolved = config.resolve()?;
        daemon::run_source(source, &means, resolved, vec![listener.into()], control)
    });
    Running {
        address,
        control,
        thread,
    }
}

impl Running {
    pub(crate) fn scrape(&self) -> Scrape {
        Scrape::of(self.address)
    }

    /// Have it take up another configuration. It may not have come to it on return.
    pub(crate) fn reload(&self, config: &Config) {
        self.control.send(config.clone()).expect("it runs");
    }

    /// Ask it to stop.
    pub(crate) fn stop(self) -> anyhow::Result<Arc<Snapshot>> {
        drop(self.control);
        self.thread.join().expect("no panic in the service")
    }

    /// Wait until it ends by itself.
    pub(crate) fn ended(self) -> anyhow::Result<Arc<Snapshot>> {
        let ended = self.thread.join().expect("no panic in the service");
        drop(self.control);
        ended
    }
}

/// The service on a kernel side that the test fills.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) kernel: Arc<Mutex<Kernel>>,
    pub(crate) address: SocketAddr,
    running: Running,
}

impl Service {
    pub(crate) fn start(config: &Config) -> Self {
        let (source, kernel) = Fake::new(Kernel::default());
        let running = run_on(source, &means(), config);
        Self {
            kernel,
            address: running.address,
            running,
        }
    }

    /// Fill the kernel side.
    pub(crate) fn kernel(&self, fill: impl FnOnce(&mut Kernel)) {
        fill(&mut self.kernel.lock().unwrap());
    }

    /// Have it take up another configuration. It may not have come to it on return.
    pub(crate) fn reload(&self, config: &Config) {
        self.running.reload(config);
    }

    /// Scrape until a sample is there with this value.
    #[track_caller]
    pub(crate) fn await_sample(&self, sample: &str, value: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.running.scrape().find(sample) != Some(value) {
            assert!(Instant::now() < deadline, "{sample} is not {value}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ask it to stop.
    pub(crate) fn stop(self) -> anyhow::Result<Arc<Snapshot>> {
        self.running.stop()
    }

    /// Wait until it ends by itself.
    pub(crate) fn ended(self) -> anyhow::Result<Arc<Snapshot>> {
        self.running.ended()
    }
}

/// What observes on most kernels.
pub(crate) fn means() -> CaptureInfo {
    CaptureInfo {
        hooks: vec![EXEC_TP_BTF, FEXIT[0], EXIT_TP_BTF],
        transport: TransportKind::Perf,
        buffer_bytes: 4096,
    }
}

/// An event of a program, by a user, at a time.
pub(crate) fn event(comm: &[u8], uid: u32, time_ns: u64) -> Event {
    let mut event = Event {
        time_ns,
        pid: 2,
        ppid: 1,
        ..Event::default()
    };
    event.subject.comm[..comm.len()].copy_from_slice(comm);
    event.subject.uid = uid;
    event
}
