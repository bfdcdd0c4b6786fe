//! `execsnoopd trace`, the live table, with real execs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::daemon::code;

mod details;
mod filters;
mod output;
mod rows;

pub(crate) use rows::FAILURES;

/// A running `execsnoopd trace`.
struct Tracer {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
    /// The line that names the hooks.
    hooks: String,
}

/// The output of a trace that has exited.
struct Traced {
    rows: Vec<String>,
    errors: String,
    status: i32,
}

impl Tracer {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_execsnoopd"));
        command.arg("trace").args(args);
        Self::spawn(command)
    }

    /// Starts a trace with tracefs mounted, which observing failed execs may require.
    fn start_with_tracefs(args: &[&str]) -> Self {
        let mount = "mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null; exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", mount, "sh"])
            .args([env!("CARGO_BIN_EXE_execsnoopd"), "trace"])
            .args(args);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tracer can be started");
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut hooks = String::new();
        errors.read_line(&mut hooks).unwrap();
        assert!(hooks.starts_with("execsnoopd: tracing by "), "{hooks}");
        Self {
            child,
            errors,
            hooks,
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the tracer can be signalled");
    }

    /// Stops the trace as Ctrl-C does.
    fn stop(self) -> Traced {
        self.signal(Signal::INT);
        self.wait()
    }

    /// Waits until the trace exits.
    fn wait(mut self) -> Traced {
        let stdout = BufReader::new(self.child.stdout.take().unwrap());
        let rows = stdout.lines().map(Result::unwrap).collect();
        let mut errors = String::new();
        std::io::Read::read_to_string(&mut self.errors, &mut errors).unwrap();
        let status = code(self.child.wait().unwrap());
        Traced {
            rows,
            errors,
            status,
        }
    }
}

impl Traced {
    fn objects(&self) -> Vec<Value> {
        let parsed = self.rows.iter().map(|row| serde_json::from_str(row));
        parsed
            .collect::<Result<_, _>>()
            .expect("each row is an object")
    }

    /// The rows of a program, split into columns.
    fn of(&self, comm: &str) -> Vec<Vec<&str>> {
        let rows = self.rows[1..]
            .iter()
            .map(|row| row.split_whitespace().collect());
        rows.filter(|columns: &Vec<&str>| columns[6] == comm)
            .collect()
    }
}
