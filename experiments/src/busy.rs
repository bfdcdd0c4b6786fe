//! CPU time of the whole machine; see `proc_stat(5)`.

use std::fs;
use std::io;

use rustix::param::clock_ticks_per_second;

/// CPU time of all processes and the kernel since boot, in seconds.
pub fn busy_seconds() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    // user, nice, system, idle, iowait, irq, softirq, steal. user includes guest.
    let ticks = stat.split_whitespace().skip(1).take(8).enumerate();
    let ticks = ticks.filter(|(column, _)| ![3, 4].contains(column));
    let ticks: u64 = ticks.filter_map(|(_, n)| n.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}
