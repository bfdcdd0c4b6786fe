//! The report on this host: what it can do, what that means, and what would change it.

mod host;
mod tried;

use std::io::{self, Write};

use serde::Serialize;

use crate::capture::{self, Capture, Error, Options};
use crate::record::Kind;

/// How a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// Something is missing that can be done without.
    Less,
    /// The daemon needs it.
    Missing,
}

/// One thing that was looked at or tried. As it is serialized, it is the schema that
/// docs/doctor.md describes.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    status: Status,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    means: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            status: Status::Ok,
            found: found.into(),
            means: None,
            fix: None,
        }
    }

    fn less(check: &'static str, found: impl Into<String>, means: &str) -> Self {
        Self {
            status: Status::Less,
            means: Some(means.to_owned()),
            ..Self::ok(check, found)
        }
    }

    fn missing(check: &'static str, found: impl Into<String>, means: &str) -> Self {
        Self {
            status: Status::Missing,
            ..Self::less(check, found, means)
        }
    }

    fn fix(self, fix: &str) -> Self {
        let fix = Some(fix.to_owned());
        Self { fix, ..self }
    }
}

/// Look at this host, try what the daemon would try, and say what came of it. Returns what
/// the daemon would end with on its defaults, if it would.
pub fn run(is_json: bool) -> io::Result<Option<Error>> {
    capture::libbpf_log::redirect();
    let mut findings = host::findings();
    let is_missing = |f: &Finding| f.check == host::CAPABILITIES && f.status == Status::Missing;
    findings.extend(tried::findings(!findings.iter().any(is_missing)));
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

/// The daemon on its defaults, started and ended.
fn verdict() -> (Finding, Option<Error>) {
    match Capture::start(&Options::default()) {
        Ok(capture) => {
            let info = capture.info();
            let by = |kind| info.list(kind).unwrap_or_else(|| "nothing".to_owned());
            let found = format!(
                "runs: execs by {}, failed ones by {}, exits by {}, over the {} buffer",
                by(Kind::Exec),
                by(Kind::Failure),
                by(Kind::Exit),
                info.transport.name()
            );
            (Finding::ok("the daemon", found), None)
        }
        Err(error) => {
            let found = error.to_string();
            let means = "on its defaults, it would end with this";
            (Finding::missing("the daemon", found, means), Some(error))
        }
    }
}
