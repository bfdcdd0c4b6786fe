//! systemd's file descriptor store (`FileDescriptorStoreMax=` in `systemd.service(5)`), with the test in
//! the role of systemd.

use std::fs::read_to_string;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tempfile::NamedTempFile;

use crate::daemon::Daemon;
use crate::notified::{Message, Notified};
use crate::paths;

/// The first descriptor that systemd passes (`sd_listen_fds(3)`).
const FIRST: i32 = 3;

/// How long the store may take to handle what has been sent to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Handled like any other notification, so everything that was sent before it has been handled by then.
const BARRIER: &str = "BARRIER=1";

/// Ends the thread of the store.
const END: &str = "END=1";

/// A descriptor in a store.
#[derive(Debug)]
pub struct Stored {
    pub name: String,
    pub descriptor: OwnedFd,
}

/// A store that outlives the daemons that are started with it.
#[derive(Debug)]
pub struct Store {
    notified: Arc<Notified>,
    stored: Arc<Mutex<Vec<Stored>>>,
    barriers: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// A store with the limit of `execsnoopd.service`.
    pub fn new() -> Self {
        Self::with_limit(128)
    }

    /// A store that keeps at most this many descriptors, and closes those that do not fit.
    pub fn with_limit(limit: usize) -> Self {
        let notified = Arc::new(Notified::new());
        let stored = Arc::<Mutex<Vec<Stored>>>::default();
        let (barrier, barriers) = channel();
        let thread = std::thread::spawn({
            let (notified, stored) = (Arc::clone(&notified), Arc::clone(&stored));
            move || keep(&notified, &stored, limit, &barrier)
        });
        Self {
            notified,
            stored,
            barriers,
            thread: Some(thread),
        }
    }

    /// Starts a daemon with this configuration file and with the stored descriptors.
    pub fn start(&self, config: &Path) -> Daemon {
        let mut command = Command::new(paths::daemon());
        command.arg("--config").arg(config);
        self.spawn(&command)
    }

    /// Starts a daemon with this command and with the stored descriptors. The command has to execute
    /// the daemon in its own process.
    pub fn spawn(&self, command: &Command) -> Daemon {
        Daemon::spawn(self.with_stored(command))
    }

    /// Starts a daemon with this configuration file and the stored descriptors, and kills it when the
    /// store has handled this many of its messages. Ten more may be handled afterwards, and it does not
    /// send more than that.
    pub fn start_and_kill(&self, config: &Path, after: u32) {
        let mut command = Command::new(paths::daemon());
        command.arg("--config").arg(config);
        command.arg("--web.listen-address=127.0.0.1:0");
        let mut command = self.with_stored(&command);
        self.notified.hold_after(after);
        let log = NamedTempFile::new().unwrap();
        let stderr = log.reopen().unwrap();
        let mut daemon = command.stderr(stderr).spawn().unwrap();
        await_stuck(daemon.id(), log.path());
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        self.notified.release();
    }

    /// The command with the stored descriptors, as systemd passes them.
    fn with_stored(&self, command: &Command) -> Command {
        // `LISTEN_PID` has to be the ID of the daemon's process.
        let mut passing = Command::new("sh");
        passing
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            passing.env(name, value.expect("a variable is set, not removed"));
        }
        self.notified.by(&mut passing);
        let (mut names, mut mappings) = (Vec::new(), Vec::new());
        // systemd passes the newest descriptor first.
        for (child_fd, stored) in (FIRST..).zip(self.lock().iter().rev()) {
            names.push(stored.name.clone());
            mappings.push(FdMapping {
                parent_fd: stored.descriptor.try_clone().unwrap(),
                child_fd,
            });
        }
        if !names.is_empty() {
            passing.env("LISTEN_FDS", names.len().to_string());
            passing.env("LISTEN_FDNAMES", names.join(":"));
            passing
                .fd_mappings(mappings)
                .expect("no number is used twice");
        }
        passing
    }

    /// The names of the stored descriptors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.lock().iter().map(|kept| kept.name.clone()).collect();
        names.sort();
        names
    }

    /// Lets `change` change what is stored.
    pub fn tamper<T>(&self, change: impl FnOnce(&mut Vec<Stored>) -> T) -> T {
        change(&mut self.lock())
    }

    /// Closes all stored descriptors, as systemd does when a service has been stopped.
    pub fn clear(&self) {
        self.tamper(Vec::clear);
    }

    /// What is stored after everything that has been sent so far.
    fn lock(&self) -> MutexGuard<'_, Vec<Stored>> {
        self.notified.send(BARRIER);
        self.barriers.recv_timeout(PATIENCE).expect("in time");
        self.stored.lock().unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.notified.send(END);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until a daemon waits to send a message, which is `unix_wait_for_peer()` in the kernel, or
/// listens, as there is no such message.
fn await_stuck(pid: u32, log: &Path) {
    let deadline = Instant::now() + PATIENCE;
    let is_stuck = || {
        let function = read_to_string(format!("/proc/{pid}/wchan")).expect("it runs");
        let log = read_to_string(log).expect("it can be read");
        function == "unix_wait_for_peer" || log.contains("listening")
    };
    while !is_stuck() {
        assert!(Instant::now() < deadline, "{:?}", read_to_string(log));
        sleep(Duration::from_millis(1));
    }
}

/// Handles notifications until [`END`].
fn keep(notified: &Notified, stored: &Mutex<Vec<Stored>>, limit: usize, barrier: &Sender<()>) {
    loop {
        // No daemon has to send anything for a minute.
        let Some(message) = notified.next() else {
            continue;
        };
        let mut stored = stored.lock().unwrap();
        let name = message.value("FDNAME").unwrap_or("stored").to_owned();
        match &*message.text {
            END => return,
            BARRIER => _ = barrier.send(()),
            _ if message.value("FDSTOREREMOVE") == Some("1") => {
                stored.retain(|kept| kept.name != name);
            }
            _ if message.value("FDSTORE") == Some("1") => add(&mut stored, &name, message, limit),
            _ => {}
        }
    }
}

/// Does what `service_add_fd_store()` of systemd does (`src/core/service.c`).
fn add(stored: &mut Vec<Stored>, name: &str, message: Message, limit: usize) {
    // systemd removes a descriptor that reports an error or a hang-up, unless it is not polled. Most BPF
    // maps always report an error (`bpf_map_poll()` in the kernel).
    let is_polled = message.value("FDPOLL") != Some("0");
    for descriptor in message.descriptors {
        let is_known = stored
            .iter()
            .any(|kept| are_same(&kept.descriptor, &descriptor));
        if stored.len() < limit && !is_known && !(is_polled && has_failed(&descriptor)) {
            let name = name.to_owned();
            stored.push(Stored { name, descriptor });
        }
    }
}

fn has_failed(descriptor: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(descriptor, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default())).expect("a descriptor can be polled");
    polled[0]
        .revents()
        .intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Whether both are duplicates of one descriptor, as `kcmp(2)` reports it. Only then do they share
/// their flags.
fn are_same(a: &OwnedFd, b: &OwnedFd) -> bool {
    let flags = |descriptor| fcntl_getfl(descriptor).expect("a descriptor has flags");
    let (before, other) = (flags(a), flags(b));
    fcntl_setfl(a, before ^ OFlags::NONBLOCK).expect("this flag can be changed");
    let is_same = flags(b) != other;
    fcntl_setfl(a, before).expect("this flag can be changed");
    is_same
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{IoSlice, pipe};
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    fn send(store: &Store, text: &str, descriptor: impl AsFd) {
        let mut command = Command::new("true");
        store.notified.by(&mut command);
        let path = command.get_envs().next().unwrap().1.unwrap().to_owned();
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(path).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let slices = [IoSlice::new(text.as_bytes())];
        sendmsg(&socket, &slices, &mut ancillary, SendFlags::empty()).unwrap();
    }

    #[test]
    fn a_store_keeps_what_fits_once_until_it_is_removed() {
        let store = Store::with_limit(2);
        let null = File::open("/dev/null").unwrap();
        send(&store, "FDSTORE=1\nFDNAME=a", &null);
        send(&store, "FDSTORE=1\nFDNAME=again", null.try_clone().unwrap());
        send(&store, "FDSTORE=1", File::open("/dev/null").unwrap());
        send(
            &store,
            "FDSTORE=1\nFDNAME=full",
            File::open("/dev/null").unwrap(),
        );
        assert_eq!(store.names(), ["a", "stored"]);
        store.notified.send("FDSTOREREMOVE=1\nFDNAME=a");
        assert_eq!(store.names(), ["stored"]);
    }

    #[test]
    fn a_descriptor_that_reports_an_error_is_kept_only_if_it_is_not_polled() {
        let store = Store::new();
        let (_, without_reader) = pipe().unwrap();
        send(&store, "FDSTORE=1\nFDNAME=polled", &without_reader);
        assert_eq!(store.names(), [""; 0]);
        send(&store, "FDSTORE=1\nFDNAME=kept\nFDPOLL=0", &without_reader);
        assert_eq!(store.names(), ["kept"]);
    }
}
