//! What the kernel says of a loaded program, in the `fdinfo` of its descriptor
//! (`bpf_prog_show_fdinfo()` in `kernel/bpf/syscall.c`): readable without any
//! capability, which the equivalent `BPF_OBJ_GET_INFO_BY_FD` is not on older kernels.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::hooks::Hook;
use crate::source::ProgramStats;

pub(super) fn of(program: &impl AsFd, hook: &Hook) -> io::Result<ProgramStats> {
    let fd = program.as_fd().as_raw_fd();
    let fdinfo = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    Ok(parse(&fdinfo, hook))
}

/// Lines of the form `key:\tvalue`. A key that this kernel does not have counts as 0:
/// `recursion_misses` came with 5.12.
fn parse(fdinfo: &str, hook: &Hook) -> ProgramStats {
    let value = |key: &str| {
        fdinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(k, _)| *k == key)
            .and_then(|(_, v)| v.trim().parse().ok())
            .unwrap_or(0)
    };
    ProgramStats {
        name: hook.program,
        each_run: hook.each_run(),
        missed_runs: value("recursion_misses"),
        runs: value("run_cnt"),
        run_time_ns: value("run_time_ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hooks::EXEC_TP_BTF;
    use super::*;
    use crate::event::Kind;

    #[test]
    fn statistics_are_read_from_fdinfo_by_name_and_absent_ones_are_zero() {
        let fdinfo = "pos:\t0\nprog_type:\t26\nrun_time_ns:\t1500\nrun_cnt:\t3\n";
        assert_eq!(
            parse(fdinfo, &EXEC_TP_BTF),
            ProgramStats {
                name: "exec_tp_btf",
                each_run: Some(Kind::Exec),
                missed_runs: 0,
                runs: 3,
                run_time_ns: 1500,
            }
        );
    }
}
