//! The live table: prints each observation as a row when it arrives.
//!
//! Arguments come in, rows go to standard output. The reader thread runs the same code as in the
//! daemon, the thread `table` prints, and the main thread waits for signals. `filter.rs` checks the
//! filters, `row.rs` decides what a row contains, `process.rs` remembers what earlier rows have shown of a
//! process, and `output.rs` decides how rows are written.

mod filter;
mod output;
mod process;
mod row;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use self::output::Output;
use self::process::Processes;
use self::row::{Clock, Row};
use crate::capture::options::FailureHooks;
use crate::capture::{Capture, Input, Live, Options, TransportKind};
use crate::cli::{Column, Exits, Trace};
use crate::daemon::{Error, unprivileged};
use crate::names::cgroup::Cgroup;
use crate::pipeline::flush::{Control, Flush};
use crate::pipeline::message::Message;
use crate::pipeline::missed;
use crate::pipeline::reader::Reader;
use crate::record::{Fact, Kind, Ledger, Observation, Traced};
use crate::sys::{privileges, user};

/// The longest time that an observation stays in a buffer before its row is printed.
const TICK: Duration = Duration::from_millis(50);

/// The capacity of the channel between reader and output, in batches.
const CHANNEL: usize = 16;

/// The size of the buffer in bytes if details are sent, because such a record takes 2.2 KiB: per CPU, and the limit for all CPUs together.
const DETAILED_BYTES: usize = 4 << 20;
const DETAILED_BYTES_TOTAL: usize = 64 << 20;

/// The time limit for printing the last rows after a stop was requested.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// The duration of a trace without a limit. `sleep` needs a finite one: 30 years.
const FOREVER: Duration = Duration::from_secs(946_080_000);

/// Prints rows until the requested number is reached, SIGINT or SIGTERM arrives, or the output is
/// closed. Returns true if details were lost.
pub fn run(args: &Trace) -> Result<bool, Error> {
    let options = options(args)?;
    for doubt in filter::doubts(args) {
        print_notice(&doubt);
    }
    let successor = unprivileged::successor(user::NOBODY)?;
    let capture = Capture::start(&options)?;
    filter::check_hook(args, capture.info())?;
    if let Some(notice) = filter::describe_absent_columns(args, capture.info()) {
        print_notice(&notice);
    }
    let seen_by = [Kind::Exec, Kind::Failure, Kind::Exit].map(|kind| capture.info().list(kind));
    let seen_by: Vec<String> = seen_by.into_iter().flatten().collect();
    unprivileged::leave_root(successor.as_ref(), &[], &[])?;
    let control = Control::new().context("cannot make an eventfd")?;
    let (sender, messages) = mpsc::channel(CHANNEL);
    let mut reader = Reader::<_, Traced>::new(capture, control.clone(), sender).with_tick(TICK);
    privileges::drop_all(|| reader.flush_now().map_err(io::Error::other))
        .context("cannot drop privileges")?;
    let begin = format!("tracing by {} (Ctrl-C stops)", seen_by.join(", "));
    let reader = thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || reader.run())
        .context("cannot start the reader thread")?;
    let table = Table::new(args);
    let stop = control.clone();
    let (done, finished) = oneshot::channel();
    thread::Builder::new()
        .name("table".to_owned())
        .spawn(move || done.send(table.show(messages, &stop)))
        .context("cannot start the table's thread")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let Some(shown) = runtime.block_on(end(finished, &control, args.duration, &begin))? else {
        print_notice("standard output is blocked: the last observations are not shown");
        return Ok(true);
    };
    let lost = shown.context("cannot write")?;
    reader
        .join()
        .map_err(|_| anyhow!("the reader thread panicked"))?
        .context("the reader failed")?;
    Ok(lost)
}

/// Writes a line to standard error, and ignores errors. A single write keeps the line in one piece,
/// although the thread `table` may write to the same terminal.
fn print_notice(line: &str) {
    let _ = io::stderr().write_all(format!("execsnoopd: {line}\n").as_bytes());
}

/// Reports that tracing has begun and waits until the table is done. A signal or the end of
/// `duration` stops the trace. Returns None if standard output blocks and the table is not done by
/// [`STOP_DEADLINE`] or the next signal.
async fn end(
    mut finished: oneshot::Receiver<io::Result<bool>>,
    control: &Control,
    duration: Option<Duration>,
    begin: &str,
) -> anyhow::Result<Option<io::Result<bool>>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    print_notice(begin);
    let ended = |ended: Result<_, _>| ended.context("the table's thread panicked").map(Some);
    tokio::select! {
        shown = &mut finished => return ended(shown),
        () = sleep(duration.unwrap_or(FOREVER)) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // The table still prints what was observed before the stop.
    control.stop();
    tokio::select! {
        shown = &mut finished => ended(shown),
        () = sleep(STOP_DEADLINE) => Ok(None),
        _ = terminate.recv() => Ok(None),
        _ = interrupt.recv() => Ok(None),
    }
}

fn detailed_pages() -> usize {
    let cpus = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let bytes = DETAILED_BYTES.min(DETAILED_BYTES_TOTAL / cpus);
    let pages = (bytes / rustix::param::page_size()).max(1);
    1 << pages.ilog2()
}

fn options(args: &Trace) -> Result<Options, Error> {
    filter::check_comm(args)?;
    filter::check_numbers(args)?;
    filter::check_facts(args)?;
    filter::check_pid(args)?;
    filter::check_loginuid(args, Path::new("/proc/self"))?;
    filter::check_unit(args)?;
    let live = live(args)?;
    let defaults = Options::default();
    let is_detailed = live.is_detailed();
    Ok(Options {
        // Details need the ring buffer.
        transports: if is_detailed {
            vec![TransportKind::Ring]
        } else {
            defaults.transports.clone()
        },
        buffer_pages: if is_detailed {
            detailed_pages()
        } else {
            defaults.buffer_pages
        },
        inputs: inputs(args),
        failures: args.failed.then_some(FailureHooks::FexitOrTracepoint),
        exits: args.exits.is_some(),
        live,
        ..defaults
    })
}

fn live(args: &Trace) -> anyhow::Result<Live> {
    let facts = [
        args.entry.map(|value| (Fact::Entry, value)),
        args.elevated.then_some((Fact::Elevated, 1)),
        args.tty.then_some((Fact::Tty, 1)),
    ];
    let names_threads = args.failed || inputs(args).contains(&Input::ParentComm);
    Ok(Live {
        uids: args.uid.clone(),
        comms: args.comm.iter().map(|name| name.0).collect(),
        parent_comm: args.parent.map(|name| name.0),
        cgroup_id: args.cgroup.as_deref().map(filter::cgroup_id).transpose()?,
        pid: args.pid,
        loginuid: args.loginuid,
        exes: args.exe.iter().map(|name| name.0.clone()).collect(),
        origins: args.origin.clone(),
        facts: facts.into_iter().flatten().collect(),
        process: true,
        failures: args.failed,
        exits: args.exits.is_some(),
        only_unsuccessful: args.exits == Some(Exits::Failed),
        path: args.path,
        args: args.args,
        family: args.ancestors || args.tree || (args.json && names_threads),
    })
}

/// Returns what the columns and the filters need.
fn inputs(args: &Trace) -> BTreeSet<Input> {
    let columns = args.show.iter().map(|column| match column {
        Column::ParentComm => Input::ParentComm,
        Column::Exe => Input::Exe,
        Column::Unit | Column::Container => Input::Cgroup,
        Column::Entry => Input::Fact(Fact::Entry),
        Column::Origin => Input::Fact(Fact::Origin),
        Column::Elevated => Input::Fact(Fact::Elevated),
        Column::Tty => Input::Fact(Fact::Tty),
        Column::Loginuid => Input::Loginuid,
    });
    let filters = [
        (args.parent.is_some(), Input::ParentComm),
        (!args.unit.is_empty(), Input::Cgroup),
        (!args.exe.is_empty(), Input::Exe),
        (args.entry.is_some(), Input::Fact(Fact::Entry)),
        (!args.origin.is_empty(), Input::Fact(Fact::Origin)),
        (args.elevated, Input::Fact(Fact::Elevated)),
        (args.tty, Input::Fact(Fact::Tty)),
        (args.loginuid.is_some(), Input::Loginuid),
    ];
    let filters = filters.into_iter().filter(|(is_given, _)| *is_given);
    columns.chain(filters.map(|(_, input)| input)).collect()
}

/// Prints rows up to a limit.
struct Table {
    output: Output,
    clock: Clock,
    inputs: BTreeSet<Input>,
    processes: Processes,
    units: Vec<Vec<u8>>,
    rows: u64,
    shown: u64,
    /// Observations without a row: counted only in the kernel, or in a cgroup whose unit is not
    /// known.
    lost: u64,
    account: Option<Box<Flush>>,
}

impl Table {
    fn new(args: &Trace) -> Self {
        Self {
            output: Output::new(args),
            clock: Clock::start(args.timestamps),
            inputs: inputs(args),
            processes: Processes::new(args),
            units: args.unit.iter().map(|unit| unit.0.clone()).collect(),
            rows: args.count.unwrap_or(u64::MAX),
            shown: 0,
            lost: 0,
            account: None,
        }
    }

    /// Prints rows until the limit is reached or the reader ends. Returns true if details were
    /// lost.
    fn show(
        mut self,
        mut messages: mpsc::Receiver<Message<Traced>>,
        control: &Control,
    ) -> io::Result<bool> {
        let mut is_enough = self.until_unread(|table| table.output.begin())?;
        loop {
            if is_enough {
                control.stop();
            }
            // The reader exits after it has sent everything that was observed before the stop.
            let Some(message) = messages.blocking_recv() else {
                return Ok(self.closing_line());
            };
            is_enough = self.until_unread(|table| table.take(message))?;
        }
    }

    /// Calls `write`. Returns true if no more rows are wanted: the limit is reached, or the output
    /// was closed, which is not an error.
    fn until_unread(
        &mut self,
        write: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<bool> {
        match write(self) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.rows = self.shown,
            written => written?,
        }
        Ok(self.shown >= self.rows)
    }

    /// Prints the rows of a message.
    fn take(&mut self, message: Message<Traced>) -> io::Result<()> {
        match message {
            Message::Events(observed, names) => {
                self.clock.follow();
                for traced in &observed {
                    if self.shown >= self.rows {
                        break;
                    }
                    let names = names.of(&traced.event().subject);
                    if self.is_wanted(1, names.cgroup) {
                        let mut row = Row::new(traced, names, &self.clock, &self.inputs);
                        self.processes.complete(&mut row, traced);
                        self.output.row(&row)?;
                        self.shown += 1;
                    }
                }
                self.output.flush()?;
            }
            Message::Tally(counts, names) => {
                self.processes.forget_details();
                let before = self.lost;
                for (subject, count) in &counts {
                    if self.is_wanted(count.count, names.of(subject).cgroup) {
                        self.lost += count.count;
                    }
                }
                let lost = self.lost - before;
                print_notice(&format!(
                    "{lost} observations have no row: the buffer was full"
                ));
            }
            Message::Flushed(flush) => self.account = Some(flush),
            Message::Seen { .. }
            | Message::Settled { .. }
            | Message::Change(..)
            | Message::Idle => {}
        }
        Ok(())
    }

    /// Returns whether to print observations in this cgroup. If that depends on a unit that is not
    /// known, counts them as lost.
    fn is_wanted(&mut self, observations: u64, cgroup: Option<&Cgroup>) -> bool {
        if self.units.is_empty() {
            return true;
        }
        let Some(cgroup) = cgroup else {
            self.lost += observations;
            return false;
        };
        self.units.iter().any(|unit| **unit == *cgroup.unit)
    }

    /// Reports how many observations were printed. Returns true if details were lost.
    fn closing_line(&self) -> bool {
        let Some(flush) = &self.account else {
            return false;
        };
        let of_all = |field: fn(&Ledger) -> u64| -> u64 {
            let ledgers = Kind::ALL.iter().map(|&kind| &flush.after[kind]);
            ledgers.map(field).sum()
        };
        let skipped = missed::missing(flush);
        let nowhere = of_all(|ledger| ledger.unattributed) + flush.undecodable + skipped;
        let lost = self.lost + nowhere;
        print_notice(&format!(
            "{} observed, {} shown, the details of {lost} lost",
            of_all(|ledger| ledger.seen) + skipped,
            self.shown,
        ));
        lost > 0
    }
}
