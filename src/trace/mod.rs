//! The live table: each observation as a row, as it comes.

mod output;
mod row;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use self::output::Output;
use self::row::{Clock, Row};
use crate::capture::hooks::Failures;
use crate::capture::{Capture, Live, Options, TransportKind};
use crate::cli::{Column, Trace};
use crate::event::{Kind, Observation, Traced};
use crate::privileges;
use crate::reader::{Control, Flush, Message, Reader};
use crate::service::Error;

/// How long an observation may lie in a buffer before its row is shown.
const TICK: Duration = Duration::from_millis(50);

/// Batches between reader and output.
const CHANNEL: usize = 16;

/// Pages of each CPU's share of the buffer where each record has 2 KiB.
const DETAILED_PAGES: usize = 1024;

/// How long it takes without end, to `tokio`: 30 years.
const FOREVER: Duration = Duration::from_secs(946_080_000);

/// Show what is asked for until it is enough, or SIGINT or SIGTERM comes, or nobody reads
/// the output. True if the details of anything were lost.
pub fn run(args: &Trace) -> Result<bool, Error> {
    let options = options(args)?;
    let capture = Capture::start(&options)?;
    let seen_by = [Kind::Exec, Kind::Failure, Kind::Exit].map(|kind| capture.means().list(kind));
    let seen_by: Vec<String> = seen_by.into_iter().flatten().collect();
    let control = Control::new().context("cannot make an eventfd")?;
    let (sender, messages) = mpsc::channel(CHANNEL);
    let mut reader = Reader::<_, Traced>::new(capture, control.clone(), sender).with_tick(TICK);
    privileges::drop_all(|| reader.flush_now().map_err(io::Error::other))
        .context("cannot give up privileges")?;
    let reader = thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || reader.run())
        .context("cannot start the reader thread")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let mut table = Table {
        output: Output::new(args),
        clock: Clock::start(args.timestamps),
        unit: args.unit.as_ref().map(String::as_bytes),
        rows: args.count.unwrap_or(u64::MAX),
        shown: 0,
        tallied: 0,
        account: None,
    };
    eprintln!(
        "execsnoopd: tracing by {} (Ctrl-C stops)",
        seen_by.join(", ")
    );
    runtime.block_on(show(&mut table, messages, &control, args.duration))?;
    let read = reader
        .join()
        .map_err(|_| anyhow!("the reader thread panicked"))?;
    match read {
        // Nobody receives any more once there are rows enough.
        Ok(()) | Err(crate::reader::Error::Closed) => {}
        Err(error) => return Err(anyhow!(error).context("the reader failed").into()),
    }
    Ok(table.closing_line())
}

fn options(args: &Trace) -> Result<Options, Error> {
    let is_detailed = args.path || args.args;
    let shows = |column| args.show.contains(&column);
    let defaults = Options::default();
    Ok(Options {
        // Only there is place for details.
        transports: if is_detailed {
            vec![TransportKind::Ring]
        } else {
            defaults.transports.clone()
        },
        buffer_pages: if is_detailed {
            DETAILED_PAGES
        } else {
            defaults.buffer_pages
        },
        with_parent_comm: shows(Column::ParentComm),
        with_cgroup: args.unit.is_some() || shows(Column::Unit) || shows(Column::Container),
        failures: args.failed.then_some(Failures::FexitOrTracepoint),
        exits: args.exits,
        live: Live {
            uid: args.uid,
            comm: args.comm.map(|name| name.0),
            parent_comm: args.parent.map(|name| name.0),
            cgroup_id: args.cgroup.as_deref().map(cgroup_id).transpose()?,
            failures: args.failed,
            path: args.path,
            args: args.args,
        },
        ..defaults
    })
}

/// A cgroup's id is its directory's inode number (`cgroup_id()` in `include/linux/cgroup.h`).
fn cgroup_id(directory: &Path) -> anyhow::Result<u64> {
    let found = directory.metadata().and_then(|metadata| {
        directory.join("cgroup.procs").metadata()?;
        Ok(metadata.ino())
    });
    found.with_context(|| {
        format!(
            "{} is not the directory of a cgroup, as /sys/fs/cgroup/system.slice is",
            directory.display()
        )
    })
}

/// Show rows until there are enough of them, a signal comes, the time is over, or the
/// reader ends.
async fn show(
    table: &mut Table<'_>,
    mut messages: mpsc::Receiver<Message<Traced>>,
    control: &Control,
    duration: Option<Duration>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut over = pin!(sleep(duration.unwrap_or(FOREVER)));
    let mut stopping = false;
    table.output.begin()?;
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => {
                    if !table.take(message)? && !stopping {
                        stopping = true;
                        control.stop();
                    }
                }
                None => return Ok(()),
            },
            // What was observed until now is still shown.
            () = &mut over, if !stopping => { stopping = true; control.stop(); }
            _ = terminate.recv(), if !stopping => { stopping = true; control.stop(); }
            _ = interrupt.recv(), if !stopping => { stopping = true; control.stop(); }
        }
    }
}

/// Rows, and how many there may be.
struct Table<'a> {
    output: Output,
    clock: Clock,
    unit: Option<&'a [u8]>,
    rows: u64,
    shown: u64,
    /// Counted in the kernel only.
    tallied: u64,
    account: Option<Box<Flush>>,
}

impl Table<'_> {
    /// Show what a message brings. False if that is enough.
    fn take(&mut self, message: Message<Traced>) -> io::Result<bool> {
        match message {
            Message::Events(observed, cgroups) => {
                for traced in &observed {
                    if self.shown == self.rows {
                        break;
                    }
                    let cgroup = cgroups.get(&traced.event().subject.cgroup_id);
                    let is_in = |unit| cgroup.is_some_and(|cgroup| &*cgroup.unit == unit);
                    if self.unit.is_none_or(is_in) {
                        self.output.row(&Row::new(traced, cgroup, &self.clock))?;
                        self.shown += 1;
                    }
                }
                match self.output.flush() {
                    // Nobody reads any more: no reason to complain.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        self.rows = self.shown;
                    }
                    flushed => flushed?,
                }
            }
            Message::Tally(counts, _) => {
                let lost: u64 = counts.iter().map(|(_, count)| count.count).sum();
                self.tallied += lost;
                eprintln!("execsnoopd: {lost} observations have no row: the buffer was full");
            }
            Message::Flushed(flush) => self.account = Some(flush),
        }
        Ok(self.shown < self.rows)
    }

    /// Say how much of what was observed is shown. True if the details of anything were lost.
    fn closing_line(&self) -> bool {
        let Some(flush) = &self.account else {
            return false;
        };
        let of_all = |field: fn(&crate::event::Ledger) -> u64| -> u64 {
            Kind::ALL
                .iter()
                .map(|&kind| field(&flush.after[kind]))
                .sum()
        };
        let lost = self.tallied + of_all(|ledger| ledger.unattributed) + flush.undecodable;
        eprintln!(
            "execsnoopd: {} observed, {} shown, the details of {lost} lost",
            of_all(|ledger| ledger.seen),
            self.shown,
        );
        lost > 0
    }
}
