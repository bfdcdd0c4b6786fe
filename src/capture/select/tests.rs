//! One case for each row of docs/kernels.md, and for each fallback.

use super::*;
use crate::capture::hook::AttachPoint::{self, Fexit, Tracepoint};
use crate::capture::hook::{
    CPU_RAW_TP, CPU_TP_BTF, EXEC_RAW_TP, EXEC_SYS_EXIT, EXEC_TP_BTF, EXIT_LIVE, EXIT_TP_BTF,
};

const ESRCH: &str = "No such process (os error 3)";
const EPERM: &str = "Operation not permitted (os error 1)";
const ENOTSUPP: &str = "Unknown error 524 (os error 524)";
const EMFILE: &str = "Too many open files (os error 24)";

type Answer = Option<(&'static str, &'static str)>;

/// A kernel, as the answers that it gives.
struct Kernel {
    /// The step and the error of a refusal.
    refusal: fn(&Hook) -> Answer,
    skips_at: &'static [AttachPoint],
    tracefs: Tracefs,
    shortage: Option<&'static str>,
}

impl Facts for Kernel {
    fn try_hook(&mut self, hook: Hook) -> Result<(), Refusal> {
        let Some((step, error)) = (self.refusal)(&hook) else {
            return Ok(());
        };
        Err(Refusal {
            hook,
            step,
            error: error.to_owned(),
            not_permitted: error == EPERM,
            shortage: (error == EMFILE).then(|| "descriptors".into()),
        })
    }

    fn supports_all(&mut self, hooks: &[Hook]) -> bool {
        hooks.iter().all(|hook| (self.refusal)(hook).is_none())
    }

    fn shortage(&mut self) -> Option<String> {
        self.shortage.map(ToOwned::to_owned)
    }

    fn may_skip(&mut self, attach_point: AttachPoint) -> bool {
        self.skips_at.contains(&attach_point)
    }

    fn tracefs(&mut self) -> Tracefs {
        self.tracefs.clone()
    }
}

fn kernel(refusal: fn(&Hook) -> Answer, skips_at: &'static [AttachPoint]) -> Kernel {
    Kernel {
        refusal,
        skips_at,
        tracefs: Tracefs::NotMounted,
        shortage: None,
    }
}

/// Before 6.16 the tracepoint does not say which thread is the last.
fn before_6_16(hook: &Hook) -> Answer {
    (*hook == EXIT_TP_BTF).then_some(("load", "Invalid argument (os error 22)"))
}

fn on_6_16(_: &Hook) -> Answer {
    None
}

fn arm64_6_1(hook: &Hook) -> Answer {
    let refused = (hook.program_type == "fexit").then_some(("attach", ENOTSUPP));
    refused.or_else(|| before_6_16(hook))
}

/// A 6.18 kernel that refuses every fexit program with EPERM, even to root.
fn without_fexit(hook: &Hook) -> Answer {
    (hook.program_type == "fexit").then_some(("load", EPERM))
}

fn without_compat(hook: &Hook) -> Answer {
    let refused = FEXIT[2..].contains(hook).then_some(("load", ESRCH));
    refused.or_else(|| before_6_16(hook))
}

/// Lockdown forbids programs that read memory without types.
fn locked_down(hook: &Hook) -> Answer {
    let is_exit = hook.kind == crate::record::Kind::Exit;
    is_exit.then_some(("load", "Invalid argument (os error 22)"))
}

fn programs(selection: &Selection) -> Vec<&'static str> {
    selection.hooks.iter().map(|hook| hook.program).collect()
}

#[track_caller]
fn selected(mut kernel: Kernel, options: &Options) -> Selection {
    select(options, &mut kernel).expect("this kernel is supported")
}

fn all_with(exit: Hook) -> Vec<Hook> {
    [&[EXEC_TP_BTF], &FEXIT[..], &[exit, CPU_TP_BTF]].concat()
}

/// Without standby copies.
fn first_copies(selection: &Selection) -> Vec<Hook> {
    let hooks = selection.hooks.iter().copied();
    hooks.filter(Hook::is_first_copy).collect()
}

#[test]
fn kernels_that_support_all_hooks_use_typed_tracepoints_and_fexit() {
    for (name, kernel, exit, loaded) in [
        ("5.10 amd64", kernel(before_6_16, &[]), EXIT_LIVE[0], 7),
        ("6.1 amd64", kernel(before_6_16, &[Fexit]), EXIT_LIVE[0], 15),
        (
            "6.12 amd64",
            kernel(before_6_16, &[Fexit]),
            EXIT_LIVE[0],
            15,
        ),
        (
            "6.12 with cgroups of version 1",
            kernel(before_6_16, &[Fexit]),
            EXIT_LIVE[0],
            15,
        ),
        (
            "7.3 amd64",
            kernel(on_6_16, &[Tracepoint, Fexit]),
            EXIT_TP_BTF,
            21,
        ),
        ("6.12 arm64", kernel(before_6_16, &[]), EXIT_LIVE[0], 7),
        ("7.3 arm64", kernel(on_6_16, &[]), EXIT_TP_BTF, 7),
    ] {
        let selection = selected(kernel, &Options::default());
        assert_eq!(first_copies(&selection), all_with(exit), "{name}");
        assert_eq!(selection.hooks.len(), loaded, "{name}");
        let notes: &[Note] = if exit == EXIT_TP_BTF {
            &[]
        } else {
            &[Note::HookRefused(
                "tp_btf/sched_process_exit refused at load: Invalid argument (os error 22)"
                    .to_owned(),
            )]
        };
        assert_eq!(selection.notes, notes, "{name}");
    }
}

#[test]
fn standby_copies_follow_the_hooks_that_the_kernel_may_skip_and_no_others() {
    let options = Options {
        exits: false,
        ..Options::default()
    };
    let selection = selected(kernel(on_6_16, &[Fexit]), &options);
    assert_eq!(
        programs(&selection)[..5],
        [
            "exec_tp_btf",
            "fail_execve",
            "fail_execve_2",
            "fail_execve_3",
            "fail_execveat"
        ]
    );
    let selection = selected(kernel(on_6_16, &[Tracepoint]), &options);
    assert_eq!(
        programs(&selection)[..5],
        [
            "exec_tp_btf",
            "exec_tp_btf_2",
            "exec_tp_btf_3",
            "fail_execve",
            "fail_execveat"
        ]
    );
}

#[test]
fn without_fexit_failures_are_off_whatever_the_error() {
    for (name, refusal, exit, step, error) in [
        (
            "6.1 arm64",
            arm64_6_1 as fn(&Hook) -> Answer,
            EXIT_LIVE[0],
            "attach",
            ENOTSUPP,
        ),
        (
            "6.18 that refuses to load fexit",
            without_fexit,
            EXIT_TP_BTF,
            "load",
            EPERM,
        ),
    ] {
        let selection = selected(kernel(refusal, &[]), &Options::default());
        assert_eq!(selection.hooks, [EXEC_TP_BTF, exit, CPU_TP_BTF], "{name}");
        let Note::FailuresOff(refused) = &selection.notes[0] else {
            panic!("{name}: {:?}", selection.notes);
        };
        let first = format!("fexit/execve refused at {step}: {error}; ");
        assert!(refused.starts_with(&first), "{name}: {refused}");
        assert_eq!(refused.matches("fexit/").count(), 4, "{name}");
        let exit_notes = &selection.notes[1..];
        assert_eq!(exit_notes.len(), usize::from(exit != EXIT_TP_BTF), "{name}");
    }
}

#[test]
fn without_32_bit_programs_the_native_calls_are_observed() {
    for request in [FailureHooks::Fexit, FailureHooks::FexitOrTracepoint] {
        let selection = failures(request, &mut kernel(without_compat, &[])).unwrap();
        assert_eq!(selection.hooks, FEXIT[..2]);
        let refused = format!(
            "fexit/compat execve refused at load: {ESRCH}; \
             fexit/compat execveat refused at load: {ESRCH}"
        );
        assert_eq!(selection.notes, [Note::SomeFailuresOff(refused)]);
    }
}

#[test]
fn with_btf_hidden_the_error_names_every_refusal() {
    let error = select(
        &Options::default(),
        &mut kernel(|_| Some(("load", ESRCH)), &[]),
    )
    .unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
    let documented = include_str!("../../../docs/kernels.md");
    assert!(documented.contains(&format!("| 69 | {error} |")), "{error}");
}

#[test]
fn under_lockdown_execs_and_cpu_time_are_observed_and_exits_are_off() {
    let selection = selected(kernel(locked_down, &[]), &Options::default());
    assert_eq!(
        selection.hooks,
        [&[EXEC_TP_BTF], &FEXIT[..], &[CPU_TP_BTF]].concat()
    );
    let (last, refused) = selection.notes.split_last().unwrap();
    assert_eq!(refused.len(), 3);
    assert!(
        refused
            .iter()
            .all(|note| matches!(note, Note::HookRefused(_)))
    );
    let Note::ExitsOff(refused) = last else {
        panic!("{last:?}");
    };
    assert_eq!(refused.matches("sched_process_exit refused").count(), 3);
}

#[test]
fn without_a_hook_cpu_time_is_off_and_exits_are_observed() {
    let no_hook: fn(&Hook) -> Answer =
        |hook| (hook.target == "sched_process_free").then_some(("load", ESRCH));
    let selection = selected(kernel(no_hook, &[]), &Options::default());
    assert_eq!(
        selection.hooks,
        [&[EXEC_TP_BTF], &FEXIT[..], &[EXIT_TP_BTF]].concat()
    );
    let Some(Note::CpuTimeOff(refused)) = selection.notes.last() else {
        panic!("{:?}", selection.notes);
    };
    assert_eq!(refused.matches("sched_process_free refused").count(), 2);
}

#[test]
fn execs_fall_back_in_the_order_of_preference() {
    let options = Options {
        failures: None,
        exits: false,
        ..Options::default()
    };
    let no_btf_types: fn(&Hook) -> Answer =
        |hook| (hook.program_type == "tp_btf").then_some(("load", ESRCH));
    assert_eq!(
        selected(kernel(no_btf_types, &[]), &options).hooks,
        [EXEC_RAW_TP]
    );
    let tracepoints_only: fn(&Hook) -> Answer =
        |hook| (hook.program_type != "tracepoint").then_some(("load", ESRCH));
    let selection = selected(kernel(tracepoints_only, &[Tracepoint]), &options);
    assert_eq!(selection.hooks, EXEC_SYS_EXIT);
    assert_eq!(selection.notes.len(), 2);
}

#[test]
fn a_missing_permission_is_reported_as_such() {
    let refuses_all: fn(&Hook) -> Answer = |_| Some(("load", EPERM));
    let error = select(&Options::default(), &mut kernel(refuses_all, &[])).unwrap_err();
    assert!(matches!(error, Error::NotPermitted(_)), "{error:?}");
}

#[test]
fn classic_mode_and_failures_by_tracepoint_require_tracefs() {
    let classic = Options {
        classic: true,
        failures: None,
        exits: false,
        ..Options::default()
    };
    let by_tracepoint = Options {
        failures: Some(FailureHooks::FexitOrTracepoint),
        exits: false,
        ..Options::default()
    };
    let with = |tracefs| Kernel {
        tracefs,
        ..kernel(without_fexit, &[])
    };
    let readable = || with(Tracefs::Readable("/sys/kernel/tracing".into()));
    let selection = selected(readable(), &classic);
    assert_eq!(selection.hooks, CLASSIC);
    assert_eq!(selection.notes, [Note::Classic]);
    let selection = selected(readable(), &by_tracepoint);
    assert_eq!(selection.hooks, [&[EXEC_TP_BTF], &SYS_EXIT[..]].concat());
    for options in [&classic, &by_tracepoint] {
        let error = select(options, &mut with(Tracefs::NotMounted)).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
        let unreadable = Tracefs::NotReadable("Permission denied".to_owned());
        let error = select(options, &mut with(unreadable)).unwrap_err();
        assert!(matches!(error, Error::NotPermitted(_)), "{error:?}");
    }
}

#[test]
fn the_selection_fails_if_a_hook_cannot_be_tried_for_lack_of_a_resource() {
    let exec: fn(&Hook) -> Answer = |hook| (*hook == EXEC_TP_BTF).then_some(("load", EMFILE));
    let failure: fn(&Hook) -> Answer = |hook| (*hook == FEXIT[1]).then_some(("attach", EMFILE));
    let exit: fn(&Hook) -> Answer = |hook| (*hook == EXIT_TP_BTF).then_some(("load", EMFILE));
    for (refusal, step) in [(exec, "load"), (failure, "attach"), (exit, "load")] {
        let error = select(&Options::default(), &mut kernel(refusal, &[])).unwrap_err();
        assert!(matches!(error, Error::Shortage(_)), "{error:?}");
        let error = error.to_string();
        let expected = format!("refused at {step}: {EMFILE}. The limit is descriptors");
        assert!(error.ends_with(&expected), "{error}");
    }
}

#[test]
fn the_selection_fails_while_the_kernel_cannot_load_any_object() {
    let refuses_all: fn(&Hook) -> Answer = |_| Some(("load", ESRCH));
    for refusal in [
        refuses_all,
        locked_down as fn(&Hook) -> Answer,
        without_fexit,
        without_compat,
    ] {
        let mut kernel = Kernel {
            shortage: Some("memory"),
            ..kernel(refusal, &[])
        };
        let error = select(&Options::default(), &mut kernel).unwrap_err();
        let expected = "BPF objects cannot be loaded. The limit is memory";
        assert!(matches!(error, Error::Shortage(_)), "{error:?}");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn cpu_time_falls_back_to_the_untyped_tracepoint() {
    let no_types: fn(&Hook) -> Answer = |hook| (*hook == CPU_TP_BTF).then_some(("load", ESRCH));
    let selection = selected(kernel(no_types, &[]), &Options::default());
    assert_eq!(selection.hooks.last(), Some(&CPU_RAW_TP));
}

#[test]
fn a_live_stream_of_exits_has_no_hook_for_cpu_time() {
    let mut options = Options::default();
    options.live.exits = true;
    let selection = selected(kernel(on_6_16, &[]), &options);
    assert_eq!(selection.hooks.last(), Some(&EXIT_TP_BTF));
}
