//! The page at `/`, for people.

use crate::capture::Means;
use crate::event::Kind;

/// What this is, what it captures and how, and where to go.
pub(super) fn index(means: &Means, telemetry_path: &str) -> String {
    let by = |kind| match means.list(kind) {
        Some(hooks) => format!("seen by <code>{hooks}</code>"),
        None => "not observed".to_owned(),
    };
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>execsnoopd</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; }}
dt {{ font-weight: 600; }}
dd {{ margin: 0 0 .6rem; }}
</style>
</head>
<body>
<h1>execsnoopd</h1>
<p>Counts every program that this host executes, by program and by user, for Prometheus.</p>
<ul>
<li><a href="{telemetry_path}">Metrics</a></li>
<li><a href="/-/healthy">Healthy?</a> The process answers.</li>
<li><a href="/-/ready">Ready?</a> It is attached and counting.</li>
</ul>
<dl>
<dt>Version</dt><dd>{version}</dd>
<dt>Counted</dt><dd>{what}: {execs}. Arguments are not captured.</dd>
<dt>Failed execs</dt><dd>{failures}</dd>
<dt>Ends of processes</dt><dd>{exits}</dd>
<dt>Events cross by</dt><dd>{transport} buffer, {buffer} KiB for all CPUs. What does not fit is counted
in the kernel instead; <code>execsnoop_lost_events_total</code> says how much that was.</dd>
</dl>
</body>
</html>
"#,
        version = env!("CARGO_PKG_VERSION"),
        what = if means.is_classic() {
            "Attempts to exec, failed ones too, by path (classic mode)"
        } else {
            "Successful execs (execve, execveat and all that leads there), each exactly once"
        },
        execs = by(Kind::Exec),
        failures = by(Kind::Failure),
        exits = by(Kind::Exit),
        transport = means.transport.name(),
        buffer = means.buffer_bytes / 1024,
    )
}
