//! Why capturing cannot start, and what to do about it.

use std::fmt::Display;
use std::io;

use super::hook::Refusal;
use super::shortage;

/// Why capturing cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process lacks a permission.
    #[error("{0}")]
    NotPermitted(String),
    /// The kernel does not support what was requested. This is not a permission problem.
    #[error("{0}")]
    Unsupported(String),
    /// A resource of the kernel or of this process was exhausted. A later start may succeed.
    #[error("{0}")]
    Shortage(String),
    /// The kernel refuses the buffer of one transport. It may allow the other one.
    #[error("{0}")]
    Buffer(String),
}

impl Error {
    /// The kernel refused every hook that can observe `what`.
    pub(super) fn no_hook(what: &str, refusals: &[Refusal]) -> Self {
        let tried: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
        let tried = tried.join("; ");
        if refusals.iter().any(|refusal| refusal.not_permitted) {
            Self::NotPermitted(format!(
                "the kernel refuses to load the programs that observe {what} ({tried}). The \
                 process has the capabilities, so something else forbids it: a seccomp filter or a \
                 user namespace (in a container), an LSM, or kernel lockdown. Run it in the initial \
                 user namespace with bpf(2) allowed"
            ))
        } else {
            Self::Unsupported(format!(
                "this kernel cannot run the programs that observe {what} ({tried}). They need \
                 Linux 5.10 or newer with CONFIG_BPF_SYSCALL and CONFIG_DEBUG_INFO_BTF \
                 (/sys/kernel/btf/vmlinux exists), and in a container a seccomp profile that \
                 allows bpf(2)"
            ))
        }
    }

    /// A resource was exhausted. `what` is what failed, and `limit` describes the limit that was
    /// reached.
    pub(super) fn shortage(what: &str, limit: &str) -> Self {
        let what = what.to_owned();
        Self::Shortage(format!("{what}. The limit is {limit}"))
    }

    /// This process lacks the capabilities with these names.
    pub(super) fn missing_capabilities(missing: &[&str]) -> Self {
        Self::NotPermitted(format!(
            "observing execs needs {}, which this process does not have. Start it as root, by \
             its systemd unit, or after `setcap cap_bpf,cap_perfmon=p` on the program. In a \
             container, add the capabilities BPF and PERFMON, or SYS_ADMIN, which includes both, \
             if the runtime does not know them (docs/kubernetes.md)",
            missing.join(" and ")
        ))
    }

    pub(super) fn perf_buffer(pages: usize, error: &io::Error) -> Self {
        let step = format!("opening a perf buffer of {pages} pages per CPU");
        let what = format!("{step}: {error}");
        if let Some(limit) = shortage::limit(error) {
            return Self::shortage(&what, &format!("{limit}. Or lower capture.buffer_pages"));
        }
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Buffer(format!(
                "{what}. Either kernel.perf_event_paranoid is 3 or more, which refuses \
                 perf_event_open(2) to all but CAP_SYS_ADMIN (`sysctl \
                 kernel.perf_event_paranoid=2`, or grant it), or the rings exceed \
                 kernel.perf_event_mlock_kb (raise it, or lower capture.buffer_pages)"
            )),
            // ENOSYS, which the seccomp profiles of some container runtimes return.
            io::ErrorKind::Unsupported => Self::Buffer(format!(
                "{what}. A seccomp filter forbids perf_event_open(2), or the kernel lacks \
                 CONFIG_PERF_EVENTS"
            )),
            _ => Self::setup(&step, error),
        }
    }

    /// Loading failed with a ring buffer of this size. The kernel creates the ring buffer in the
    /// same step as it loads the programs, so the size may be the reason.
    pub(super) fn ring_buffer(bytes: u32, error: &libbpf_rs::Error) -> Self {
        let what = format!("loading the chosen BPF programs with a ring buffer of {bytes} bytes");
        match Self::setup(&what, error) {
            Self::Shortage(what) => {
                Self::Shortage(format!("{what}. Or lower capture.buffer_pages"))
            }
            error => error,
        }
    }

    /// A step of the start failed that the kernel supports, because it has accepted every chosen
    /// program before.
    pub(super) fn setup(step: &str, error: &impl Display) -> Self {
        let what = format!("{step}: {error:#}");
        match shortage::limit(error) {
            Some(limit) => Self::shortage(&what, &limit),
            None => Self::Shortage(format!("{what}. The kernel supports this: try again")),
        }
    }
}
