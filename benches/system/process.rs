//! What `/proc` says of a process; `proc(5)`.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// For how long a process must be quiet to count as set up.
pub(crate) const SET_UP: Duration = Duration::from_millis(400);
/// For how long to have worked off what it had to: more than the daemon's idle tick,
/// after which nothing is left in its buffers.
pub(crate) const WORKED_OFF: Duration = Duration::from_millis(1300);
/// Use below a twentieth of a CPU is next to none.
const QUIET_SHARE: f64 = 0.05;
const LOOK: Duration = Duration::from_millis(100);
/// bpftrace compiles for a few seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// CPU time of all threads, in nanoseconds.
pub(crate) fn cpu_ns(pid: u32) -> io::Result<u64> {
    sum_over_tasks(pid, "schedstat", |text| {
        text.split(' ').next()?.parse().ok()
    })
}

/// How often its threads went to sleep.
pub(crate) fn voluntary_switches(pid: u32) -> io::Result<u64> {
    sum_over_tasks(pid, "status", |text| field(text, "voluntary_ctxt_switches"))
}

/// Resident memory, in KiB.
pub(crate) fn resident_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    field(&status, "VmRSS").ok_or_else(|| io::Error::other("no VmRSS: the process has ended"))
}

/// Wait until a process has been quiet for so long: neither used CPU, nor opened or
/// closed files, nor written to its output.
pub(crate) fn settle(pid: u32, output: Option<&Path>, quiet: Duration) -> Result<()> {
    let began = Instant::now();
    let mut state = None;
    let mut cpu = cpu_ns(pid)?;
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < quiet {
        if began.elapsed() > PATIENCE {
            bail!("did not come to rest within {PATIENCE:?}");
        }
        let looked = Instant::now();
        thread::sleep(LOOK);
        let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        let written = output.map(fs::metadata).transpose()?.map(|m| m.len());
        let now = Some((files, written));
        let used = cpu_ns(pid)?;
        // A thread that ended takes its time with it.
        let used_share = Duration::from_nanos(used.saturating_sub(cpu)).as_secs_f64()
            / looked.elapsed().as_secs_f64();
        if now != state || used_share > QUIET_SHARE {
            quiet_since = Instant::now();
        }
        (state, cpu) = (now, used);
    }
    Ok(())
}

fn sum_over_tasks(pid: u32, file: &str, value: impl Fn(&str) -> Option<u64>) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        if let Ok(text) = fs::read_to_string(task?.path().join(file)) {
            sum += value(&text).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// The number in a line `name:\t  number`.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.split_whitespace().next()?.parse().ok())
}
