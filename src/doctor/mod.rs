//! The report on this host: what it supports, what that means, and what would change it.
//!
//! `host.rs` reads settings; `probes.rs` tries what the daemon would try, with the same code.

mod finding;
mod host;
mod probes;

use std::io::{self, Write};

use self::finding::{Finding, Status};
use crate::capture::{self, Capture, Error, Options};
use crate::record::Kind;

/// Writes the report to standard output. Returns the error with which the daemon would exit with
/// its default configuration, if any.
pub fn run(is_json: bool) -> io::Result<Option<Error>> {
    capture::libbpf_log::redirect();
    let mut findings = host::findings();
    let is_missing = |f: &Finding| f.check == host::CAPABILITIES && f.status == Status::Missing;
    findings.extend(probes::findings(!findings.iter().any(is_missing)));
    let (verdict, error) = verdict();
    findings.push(verdict);
    let mut stdout = io::stdout().lock();
    if is_json {
        serde_json::to_writer_pretty(&mut stdout, &findings)?;
        writeln!(stdout)?;
        return Ok(error);
    }
    for finding in &findings {
        let mark = match finding.status {
            Status::Ok => "✓",
            Status::Less => "–",
            Status::Missing => "✗",
        };
        writeln!(stdout, "{mark} {:<22} {}", finding.check, finding.found)?;
        for (what, text) in [("", &finding.means), ("fix: ", &finding.fix)] {
            if let Some(text) = text {
                writeln!(stdout, "{:<25}{what}{text}", "")?;
            }
        }
    }
    Ok(error)
}

/// Starts and stops the daemon's capture with the default configuration.
fn verdict() -> (Finding, Option<Error>) {
    match Capture::start(&Options::default()) {
        Ok(capture) => {
            let info = capture.info();
            let by = |kind| info.list(kind).unwrap_or_else(|| "nothing".to_owned());
            let found = format!(
                "runs: execs by {}, failed execs by {}, exits by {}, CPU time by {}, over the {} buffer",
                by(Kind::Exec),
                by(Kind::Failure),
                by(Kind::Exit),
                by(Kind::CpuTime),
                info.transport.name()
            );
            (Finding::ok("the daemon", found), None)
        }
        Err(error) => {
            let found = error.to_string();
            let means = "with its default configuration, the daemon exits with this error";
            (Finding::missing("the daemon", found, means), Some(error))
        }
    }
}
