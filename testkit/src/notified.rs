//! Notifications that a daemon sends to systemd (`sd_notify(3)`).

use std::fs::{Permissions, set_permissions};
use std::io::{self, ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

use crate::paths::public_dir;

/// The kernel's limit for one message (`SCM_MAX_FD`).
const MAX_DESCRIPTORS: usize = 253;

/// A notification.
#[derive(Debug)]
pub struct Message {
    pub text: String,
    pub descriptors: Vec<OwnedFd>,
}

impl Message {
    /// The value of a variable.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The notifications of a daemon. A thread receives them, as systemd does at once: the kernel lets a
/// sender wait if ten are in the queue (`net.unix.max_dgram_qlen`).
#[derive(Debug)]
pub struct Notified {
    messages: Mutex<Receiver<Message>>,
    gate: Arc<Gate>,
    dir: TempDir,
}

/// How many messages more may be received. None: all of them.
#[derive(Debug, Default)]
struct Gate {
    more: Mutex<Option<u32>>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, more: Option<u32>) {
        *self.more.lock().unwrap() = more;
        self.changed.notify_all();
    }

    /// Waits until a message more may be received.
    fn pass(&self) {
        let more = self.more.lock().unwrap();
        let is_closed = |more: &mut Option<u32>| *more == Some(0);
        let mut more = self.changed.wait_while(more, is_closed).unwrap();
        *more = more.map(|more| more - 1);
        self.changed.notify_all();
    }
}

/// How long a test waits for a notification.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the thread.
const CLOSE: &str = "CLOSE=1";

impl Notified {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let dir = public_dir();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let (sender, messages) = channel();
        let gate = Arc::new(Gate::default());
        let passed = Arc::clone(&gate);
        thread::spawn(move || {
            loop {
                passed.pass();
                let Ok(message) = next(&socket) else { break };
                if message.text == CLOSE || sender.send(message).is_err() {
                    break;
                }
            }
        });
        let messages = Mutex::new(messages);
        let notified = Self {
            messages,
            gate,
            dir,
        };
        // Every user may write to systemd's socket as well.
        set_permissions(notified.path(), Permissions::from_mode(0o777)).unwrap();
        notified
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("notify")
    }

    /// Lets a daemon send its notifications here.
    pub fn by(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", self.path());
    }

    /// Waits for the next notification other than about the descriptor store.
    pub fn receive(&self) -> String {
        loop {
            let message = self.next().expect("a notification in time");
            let is_of_store = |name| message.value(name).is_some();
            if !is_of_store("FDSTORE") && !is_of_store("FDSTOREREMOVE") {
                return message.text;
            }
        }
    }

    /// Waits for the next notification, with its descriptors. None if there is none in time.
    pub fn next(&self) -> Option<Message> {
        self.messages.lock().unwrap().recv_timeout(PATIENCE).ok()
    }

    /// Sends a notification from this process.
    pub fn send(&self, text: &str) {
        let socket = UnixDatagram::unbound().unwrap();
        socket.send_to(text.as_bytes(), self.path()).unwrap();
    }

    /// Waits for a notification with this line.
    pub fn await_line(&self, line: &str) -> String {
        loop {
            let message = self.receive();
            if message.lines().any(|l| l == line) {
                return message;
            }
        }
    }

    /// Receives this many messages more, and then none until [`release`](Self::release). Whoever sends
    /// waits as soon as ten are in the queue.
    pub fn hold_after(&self, messages: u32) {
        self.gate.set(Some(messages));
    }

    /// Receives all messages again.
    pub fn release(&self) {
        self.gate.set(None);
    }

    /// Forgets the notifications that have arrived.
    pub fn discard(&self) {
        let messages = self.messages.lock().unwrap();
        messages.try_iter().for_each(drop);
    }
}

impl Drop for Notified {
    fn drop(&mut self) {
        self.release();
        self.send(CLOSE);
    }
}

fn next(socket: &UnixDatagram) -> io::Result<Message> {
    let mut buffer = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let slices = &mut [IoSliceMut::new(&mut buffer)];
        match recvmsg(socket, slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => break received?,
        }
    };
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    let text = String::from_utf8(buffer[..received.bytes].to_vec()).unwrap();
    Ok(Message { text, descriptors })
}
