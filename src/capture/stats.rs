//! The kernel's statistics of a loaded program, from the `fdinfo` of its descriptor
//! (`bpf_prog_show_fdinfo()` in `kernel/bpf/syscall.c`).

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::fdinfo;
use super::hook::Hook;
use crate::capture::source::ProgramStats;

/// An attached program and its `fdinfo`. The file is opened at the start because, before Linux 5.14,
/// a process that was root and has become another user cannot open it: it still belongs to root
/// (`proc_fdinfo_instantiate()` in `fs/proc/fd.c`).
#[derive(Debug)]
pub(super) struct Program {
    hook: Hook,
    fdinfo: File,
    descriptor: OwnedFd,
}

impl Program {
    pub(super) fn new(hook: Hook, program: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            hook,
            fdinfo: fdinfo::open(&program)?,
            descriptor: program,
        })
    }

    pub(super) fn hook(&self) -> &Hook {
        &self.hook
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    pub(super) fn stats(&mut self) -> io::Result<ProgramStats> {
        self.fdinfo.rewind()?;
        Ok(parse(&io::read_to_string(&self.fdinfo)?, &self.hook))
    }
}

/// Whether this kernel skips a program that is already running on a CPU. Such kernels count
/// the skipped runs.
pub(super) fn counts_skips(program: &impl AsFd) -> io::Result<bool> {
    Ok(fdinfo::number(&fdinfo::read(program)?, SKIPPED).is_some())
}

/// The key of the number of skipped runs, since Linux 5.12.
const SKIPPED: &str = "recursion_misses";

/// The value of a key that this kernel lacks is 0.
fn parse(fdinfo: &str, hook: &Hook) -> ProgramStats {
    let value = |key| fdinfo::number(fdinfo, key).unwrap_or(0);
    ProgramStats {
        name: hook.program,
        observes: hook.is_first_copy().then_some(hook.kind),
        each_run_observes: hook.each_run_observes(),
        missed_runs: value(SKIPPED),
        runs: value("run_cnt"),
        run_time_ns: value("run_time_ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hook::EXEC_TP_BTF;
    use super::*;
    use crate::record::Kind;

    #[test]
    fn statistics_are_read_from_fdinfo_by_name_and_absent_ones_are_zero() {
        let fdinfo = "pos:\t0\nprog_type:\t26\nrun_time_ns:\t1500\nrun_cnt:\t3\n";
        assert_eq!(
            parse(fdinfo, &EXEC_TP_BTF),
            ProgramStats {
                name: "exec_tp_btf",
                observes: Some(Kind::Exec),
                each_run_observes: true,
                missed_runs: 0,
                runs: 3,
                run_time_ns: 1500,
            }
        );
    }
}
