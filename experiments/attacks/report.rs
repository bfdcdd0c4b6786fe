//! Writes the results into docs/reliability.md, between two marks.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use experiments::machine::Machine;
use experiments::marked;

const PAGE: &str = "docs/reliability.md";

/// The results for one attack.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// How the daemon responds.
    pub(crate) answer: &'static str,
    /// Whether each attacker has an address of its own.
    pub(crate) from_many: bool,
    /// Connections, requests or bytes per second.
    pub(crate) rate: f64,
    /// Number of honest scrapes, and the durations of those that were answered.
    pub(crate) asked: usize,
    pub(crate) answered: Vec<Duration>,
    /// CPU time of the daemon, as a share of one CPU.
    pub(crate) cpu_share: f64,
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
    /// The most memory that the kernel held for the connections, in bytes.
    pub(crate) sockets: u64,
}

/// Replaces the text between the marks.
pub(crate) fn write(rows: &[Row], machine: &Machine) -> Result<&'static str> {
    marked::write(PAGE, "bench-attacks", &text(rows, machine))?;
    Ok(PAGE)
}

pub(crate) fn text(rows: &[Row], machine: &Machine) -> String {
    let mut text =
        "\n| attack | from | what happens | per second | honest scrapes answered | scrape \
                    duration: median, longest | memory: before, peak | sockets | CPU |\n\
                    |---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        let mut ms: Vec<_> = row.answered.iter().map(|t| t.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        let times = match (ms.get(ms.len() / 2), ms.last()) {
            (Some(median), Some(longest)) => format!("{median:.1} ms, {longest:.1} ms"),
            _ => "–".to_owned(),
        };
        let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
        writeln!(
            text,
            "| {} | {} | {} | {:.0} | {} of {} | {times} | {:.1} MB, {:.1} MB | {:.1} MB | {:.0} % |",
            row.name,
            if row.from_many { "many" } else { "one" },
            row.answer,
            row.rate,
            row.answered.len(),
            row.asked,
            mb(row.resident_kib),
            mb(row.peak_kib),
            row.sockets as f64 / 1e6,
            row.cpu_share * 100.0,
        )
        .expect("strings can be written to");
    }
    let kind = if machine.is_virtual {
        " (a virtual machine)"
    } else {
        ""
    };
    writeln!(
        text,
        "\n{cpu}, {cores} CPUs{kind}, kernel {kernel}, {date}; load average before: {load}. Attackers, \
         scraper\nand daemon share the CPUs. During each attack, a slow reader, a slow writer and a \
         silent client are connected as well.\nThe column \"from\" shows whether the attackers use one \
         address, which is also the scraper's, or many,\na different one for each connection. \
         \"Per second\" is the number of connections, requests or, for slow clients, bytes \
         that the\nattackers completed. A scrape counts as answered if it took at most 2 s. \
         \"Memory\" is the resident memory of the daemon.\n\"Sockets\" is the memory that the kernel \
         held for its connections, including those in the backlog. \"CPU\" is the daemon's\nshare of \
         one CPU.\n",
        cpu = machine.cpu,
        cores = machine.cores,
        kernel = machine.kernel,
        date = machine.date,
        load = machine.load,
    )
    .expect("strings can be written to");
    text
}
