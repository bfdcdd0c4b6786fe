//! The log lines of a watch.

use std::time::Duration;

use tracing::info;

use crate::names::escape::{printable, printable_or_unknown};
use crate::pipeline::name_cache::Named;
use crate::record::{Fact, NO_LOGIN, Subject, loginuid, nul_terminated};

/// The number of lines that a watch may log per minute.
const LINES: u32 = 10;

/// Limits the lines of a watch, which any user may be able to trigger at will.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The minute of the lines in `logged`, counted from the start.
    minute: u64,
    logged: u32,
    left_out: u64,
}

impl Lines {
    /// Returns how many lines were left out since the last one, or None if this one is to be left out,
    /// too.
    pub(super) fn allow(&mut self, now: Duration) -> Option<u64> {
        let minute = now.as_secs() / 60;
        if minute != self.minute {
            self.minute = minute;
            self.logged = 0;
        }
        if self.logged == LINES {
            self.left_out += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Logs a hit, without the names that are empty and the facts that do not hold, for example because the
/// kernel side does not read them.
pub(super) fn log(watch: &str, subject: &Subject, names: Named<'_>, execs: u64, left_out: u64) {
    let name = |name: &[u8]| (!name.is_empty()).then(|| printable(name));
    let fact = |fact: Fact| (fact.of(subject) > 0).then(|| fact.text_of(subject));
    info!(
        watch,
        execs,
        comm = name(nul_terminated(&subject.comm)),
        exe = names.exe.map(|exe| printable_or_unknown(exe)),
        parent_comm = name(nul_terminated(&subject.parent_comm)),
        uid = subject.uid,
        loginuid = Some(loginuid(subject)).filter(|uid| *uid != NO_LOGIN),
        entry = fact(Fact::Entry),
        origin = fact(Fact::Origin),
        elevated = fact(Fact::Elevated),
        tty = fact(Fact::Tty),
        unit = names.cgroup.and_then(|cgroup| name(&cgroup.unit)),
        container = names.cgroup.and_then(|cgroup| name(&cgroup.container)),
        pod_uid = names.cgroup.and_then(|cgroup| name(&cgroup.pod_uid)),
        lines_left_out = (left_out > 0).then_some(left_out),
        "an exec matches a watch"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_logs_ten_lines_per_minute_and_then_how_many_it_left_out() {
        let mut lines = Lines::default();
        let mut at = |seconds| lines.allow(Duration::from_secs(seconds));
        assert_eq!([(); 10].map(|()| at(59)), [Some(0); 10]);
        assert_eq!([at(59), at(59)], [None; 2]);
        assert_eq!([at(60), at(61)], [Some(2), Some(0)]);
    }
}
