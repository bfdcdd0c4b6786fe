//! The content of a row. Names are escaped, and the wait status of an exit is converted to the
//! number that a shell shows.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::capture::Input;
use crate::cli::Timestamps;
use crate::names::escape::{printable, printable_or_unknown};
use crate::pipeline::name_cache::Named;
use crate::record::{
    self, Comm, Fact, Family, Kind, NO_LOGIN, Observation, Subject, Text, Traced, WaitStatus,
    loginuid, nul_terminated,
};
use crate::sys::clock;

/// One observation. Its serialized form is the schema that docs/trace.md describes.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time: Option<Time>,
    pub(super) event: &'static str,
    pub(super) pid: u32,
    pub(super) ppid: u32,
    pub(super) uid: u32,
    pub(super) retval: i32,
    pub(super) is_exit: bool,
    pub(super) comm: String,
    /// The number of ancestors above it in the tree.
    #[serde(skip)]
    pub(super) depth: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) parent_comm: String,
    /// Of a failed exec, if it is not that of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_comm: Option<String>,
    /// Of the thread that has forked, if it is not that of its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_thread_comm: Option<String>,
    /// The names of the ancestors, the parent last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ancestors: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ancestor_pids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exe: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entry: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) elevated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tty: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loginuid: Option<Login>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) path_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) args: Option<Vec<String>>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) args_cut: bool,
    /// This and `cpu_seconds` are only set for an exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    lifetime_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
}

/// The ID of the user who logged in, or None without a login.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(transparent)]
pub(super) struct Login(pub(super) Option<u32>);

/// When the observation was made.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Time {
    /// RFC 3339, in UTC.
    OfDay(String),
    /// Seconds since the start of the trace.
    Seconds(f64),
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfDay(text) => f.pad(text),
            Self::Seconds(seconds) => f.pad(&format!("{seconds:.6}")),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature is serde's
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Row {
    /// `inputs` are what the kernel side was asked for.
    pub(super) fn new(
        traced: &Traced,
        names: Named<'_>,
        clock: &Clock,
        inputs: &BTreeSet<Input>,
    ) -> Self {
        let event = traced.event();
        let subject = &event.subject;
        let kind = record::kind(subject);
        let is_exit = kind == Kind::Exit;
        let of_exit = |ns: u64| is_exit.then_some(ns as f64 / 1e9);
        let fact = |fact: Fact| {
            let has = kind == Kind::Exec || !fact.is_only_at_exec();
            (has && inputs.contains(&Input::Fact(fact))).then(|| fact.text_of(subject))
        };
        let is_true = |of: Fact| fact(of).and_then(|text| text.parse().ok());
        let has_exe = kind == Kind::Exec && inputs.contains(&Input::Exe);
        let has_loginuid = inputs.contains(&Input::Loginuid);
        let family = traced.family.as_ref();
        let name = |comm: &Comm| printable(nul_terminated(comm));
        let thread = |thread: fn(&Family) -> &Comm, process: Option<&Comm>| {
            let thread = family.map(thread).filter(|comm| comm[0] != 0);
            thread.filter(|comm| Some(*comm) != process).map(name)
        };
        let parent = family.and_then(|family| family.ancestors.first());
        let ancestors = family.map(|family| family.ancestors.iter().rev());
        let mut row = Self {
            time: clock.at(event.time_ns),
            event: kind.name(),
            pid: event.pid,
            ppid: event.ppid,
            uid: subject.uid,
            retval: if is_exit {
                status(subject.retval)
            } else {
                subject.retval
            },
            is_exit,
            comm: name(&subject.comm),
            depth: 0,
            parent_comm: name(&subject.parent_comm),
            thread_comm: thread(|family| &family.thread_comm, Some(&subject.comm)),
            parent_thread_comm: thread(
                |family| &family.parent_thread_comm,
                parent.map(|(_, comm)| comm),
            ),
            ancestors: ancestors
                .clone()
                .map(|all| all.map(|(_, comm)| name(comm)).collect()),
            ancestor_pids: ancestors.map(|all| all.map(|(pid, _)| *pid).collect()),
            exe: has_exe.then(|| printable_or_unknown(names.exe.map_or(&[], |exe| exe))),
            unit: names.cgroup.map(|cgroup| printable(&cgroup.unit)),
            container: names.cgroup.map(|cgroup| printable(&cgroup.container)),
            entry: fact(Fact::Entry),
            origin: fact(Fact::Origin),
            elevated: is_true(Fact::Elevated),
            tty: is_true(Fact::Tty),
            loginuid: has_loginuid.then(|| login(subject)),
            path: None,
            path_cut: false,
            args: None,
            args_cut: false,
            lifetime_seconds: of_exit(event.lifetime_ns),
            cpu_seconds: of_exit(event.cpu_ns),
        };
        row.set_details(traced.path.as_ref(), traced.args.as_ref());
        row
    }

    /// Sets the path and the arguments.
    pub(super) fn set_details(&mut self, path: Option<&Text>, args: Option<&Text>) {
        let is_cut = |text: Option<&Text>| text.is_some_and(|text| text.is_truncated);
        self.path = path.map(|path| printable(&path.bytes));
        self.path_cut = is_cut(path);
        self.args = args.map(arguments);
        self.args_cut = is_cut(args);
    }
}

fn login(subject: &Subject) -> Login {
    Login(Some(loginuid(subject)).filter(|uid| *uid != NO_LOGIN))
}

/// Returns the status as a shell shows it: the exit status, or 128 plus the number of the signal.
fn status(wait_status: i32) -> i32 {
    match WaitStatus::of(wait_status) {
        WaitStatus::Exited(status) => i32::from(status),
        WaitStatus::Signaled(signal) => 128 + i32::from(signal),
    }
}

/// Splits a list of arguments, each of which ends with a NUL, except the last of a truncated list.
fn arguments(args: &Text) -> Vec<String> {
    let bytes = args.bytes.strip_suffix(b"\0").unwrap_or(&args.bytes);
    bytes.split(|&b| b == 0).map(printable).collect()
}

/// Converts times of the kernel's clock to timestamps.
#[derive(Debug)]
pub(super) struct Clock {
    timestamps: Timestamps,
    /// The kernel's clock at the start.
    start: Duration,
    /// The time of day when that clock was 0.
    zero: SystemTime,
}

/// Smaller changes of `Clock::zero` are ignored, because the two clocks are not read at the same
/// instant.
const NOTICEABLE: Duration = Duration::from_millis(10);

impl Clock {
    pub(super) fn start(timestamps: Timestamps) -> Self {
        let start = clock::now();
        Self {
            timestamps,
            start,
            zero: SystemTime::now() - start,
        }
    }

    /// Adjusts to changes: the kernel's clock stops while the host is suspended, and the time of
    /// day may be set.
    pub(super) fn follow(&mut self) {
        let zero = SystemTime::now() - clock::now();
        let apart = zero
            .duration_since(self.zero)
            .unwrap_or_else(|error| error.duration());
        if apart > NOTICEABLE {
            self.zero = zero;
        }
    }

    fn at(&self, time_ns: u64) -> Option<Time> {
        let time = Duration::from_nanos(time_ns);
        match self.timestamps {
            Timestamps::Rfc3339 => {
                let time = humantime::format_rfc3339_millis(self.zero + time);
                Some(Time::OfDay(time.to_string()))
            }
            // Observations from before the start, while programs were being attached, get 0.
            Timestamps::Relative => {
                Some(Time::Seconds(time.saturating_sub(self.start).as_secs_f64()))
            }
            Timestamps::None => None,
        }
    }
}
