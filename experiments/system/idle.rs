//! What the tools use on an idle machine, measured for all of them in the same ten seconds.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use experiments::process;

use crate::results::Results;
use crate::tool::Running;
use crate::workspace::Workspace;

const WINDOW: Duration = Duration::from_secs(10);

/// The pause between the first scrape and the measurement, which keeps the cost of the scrape out of
/// the results.
const PAUSE: Duration = Duration::from_secs(1);

/// What an idle tool uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// Voluntary context switches of its threads per second: each is followed by a wakeup.
    pub(crate) switches: f64,
    /// Percent of one core.
    pub(crate) cpu: f64,
    pub(crate) reader: Option<Reader>,
}

/// From the daemon's own metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader {
    /// `execsnoop_reader_wakeups_total` per second.
    pub(crate) wakeups: f64,
    /// Execs on this machine per second, which shows how idle the machine was.
    pub(crate) execs: f64,
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    switches: u64,
    cpu_ns: u64,
}

impl Moment {
    fn of(pid: u32) -> Result<Self> {
        Ok(Self {
            switches: process::voluntary_switches(pid)?,
            cpu_ns: process::cpu_ns(pid)?,
        })
    }
}

/// A scrape of the daemon, and its time.
#[derive(Debug, Clone, Copy)]
struct Scraped {
    at: Instant,
    wakeups: f64,
    execs: f64,
}

impl Scraped {
    fn of(running: &Running) -> Option<Self> {
        let scrape = running.scrape()?;
        Some(Self {
            at: Instant::now(),
            wakeups: scrape.value("execsnoop_reader_wakeups_total"),
            execs: scrape.value("execsnoop_execs_total"),
        })
    }

    fn until(self, after: Self) -> Reader {
        let seconds = (after.at - self.at).as_secs_f64();
        Reader {
            // The second scrape itself woke the reader once.
            wakeups: (after.wakeups - self.wakeups - 1.0).max(0.0) / seconds,
            execs: (after.execs - self.execs) / seconds,
        }
    }
}

pub(crate) fn measure(workspace: &Workspace, results: &mut Results) -> Result<()> {
    eprintln!("idle: {WINDOW:?}");
    let mut running = Vec::new();
    for (n, row) in results.rows.iter_mut().enumerate() {
        let dir = workspace.dir().join(format!("idle{n}")); // a peer tool writes its output there
        std::fs::create_dir(&dir)?;
        row.attempt(|row| {
            running.push((n, row.tool.start(&dir)?));
            Ok(())
        });
    }
    let scraped: Vec<_> = running.iter().map(|(_, tool)| Scraped::of(tool)).collect();
    thread::sleep(PAUSE);
    let mut before = Vec::new();
    for (n, tool) in &running {
        before.push((Instant::now(), results.rows[*n].moment(tool)));
    }
    thread::sleep(WINDOW);
    for (((n, tool), scraped), (began, before)) in running.iter().zip(scraped).zip(before) {
        let seconds = began.elapsed().as_secs_f64();
        let after = results.rows[*n].moment(tool);
        if let (Some(before), Some(after)) = (before, after) {
            results.rows[*n].idle = Some(Idle {
                switches: after.switches.saturating_sub(before.switches) as f64 / seconds,
                cpu: after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / seconds / 1e9 * 100.0,
                reader: scraped
                    .zip(Scraped::of(tool))
                    .map(|(before, after)| before.until(after)),
            });
        }
    }
    Ok(())
}

impl crate::results::Row {
    /// Returns None and records the error if the tool has exited.
    fn moment(&mut self, tool: &Running) -> Option<Moment> {
        let mut moment = None;
        self.attempt(|_| {
            moment = Some(Moment::of(tool.pid())?);
            Ok(())
        });
        moment
    }
}
