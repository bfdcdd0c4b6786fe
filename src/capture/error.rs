//! Why this host cannot be observed, and what to do about it.

use std::fmt;
use std::io;

use super::hook::Refusal;

/// Capturing could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not do it. Another user, or more capabilities, could.
    #[error("{0}")]
    NotPermitted(String),
    /// The kernel does not support it. This is not a permission problem.
    #[error("{0}")]
    Unsupported(String),
    /// The kernel has not the memory for it now.
    #[error("{0}")]
    OutOfMemory(String),
    /// The buffer of one transport may not be opened; another may.
    #[error("{0}")]
    Buffer(String),
}

impl Error {
    /// No hook could be loaded and attached for something that was asked for.
    pub(super) fn no_hook(what: &str, refusals: &[Refusal]) -> Self {
        let tried: Vec<_> = refusals.iter().map(Refusal::to_string).collect();
        let tried = tried.join("; ");
        if refusals.iter().any(|refusal| refusal.out_of_memory) {
            Self::OutOfMemory(format!(
                "there is not enough memory to load the programs that observe {what} ({tried}). \
                 Some 10 MB are needed, which count to the memory cgroup that this runs in"
            ))
        } else if refusals.iter().any(|refusal| refusal.not_permitted) {
            Self::NotPermitted(format!(
                "the kernel refuses to load the programs that observe {what} ({tried}). The \
                 capabilities are there, so something else forbids it: a seccomp filter or a \
                 user namespace (in a container), an LSM, kernel lockdown, or, before Linux 5.11, \
                 the limit of locked memory. Run in the initial user namespace with bpf(2) \
                 allowed, and on such a kernel after `ulimit -l unlimited`"
            ))
        } else {
            Self::Unsupported(format!(
                "this kernel cannot run the programs that observe {what} ({tried}). Needed are \
                 Linux 5.10 or newer with CONFIG_BPF_SYSCALL and CONFIG_DEBUG_INFO_BTF \
                 (/sys/kernel/btf/vmlinux exists), and in a container a seccomp profile that \
                 allows bpf(2)"
            ))
        }
    }

    /// Capabilities are missing, by name.
    pub(super) fn missing_capabilities(missing: &[&str]) -> Self {
        Self::NotPermitted(format!(
            "observing execs needs {}, which this process does not have. Start it as root, by \
             its systemd unit, or after `setcap cap_bpf,cap_perfmon=p` on the program. In a \
             container, add the capabilities BPF and PERFMON, or SYS_ADMIN, which includes both, \
             if the runtime does not know them (docs/kubernetes.md)",
            missing.join(" and ")
        ))
    }

    /// The perf buffer could not be opened.
    pub(super) fn perf_buffer(pages: usize, error: &io::Error) -> Self {
        let what = format!("cannot open a perf buffer of {pages} pages per CPU: {error}");
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Buffer(format!(
                "{what}. Either kernel.perf_event_paranoid is 3 or more, which refuses \
                 perf_event_open(2) to all but CAP_SYS_ADMIN (`sysctl \
                 kernel.perf_event_paranoid=2`, or grant it), or the rings exceed \
                 kernel.perf_event_mlock_kb (raise it, or lower capture.buffer_pages)"
            )),
            // ENOSYS: what some seccomp profiles of container runtimes answer.
            io::ErrorKind::Unsupported => Self::Buffer(format!(
                "{what}. A seccomp filter forbids perf_event_open(2), or the kernel lacks \
                 CONFIG_PERF_EVENTS"
            )),
            io::ErrorKind::OutOfMemory => Self::OutOfMemory(format!(
                "{what}. Lower capture.buffer_pages, or give it more memory"
            )),
            _ => Self::Unsupported(what),
        }
    }

    /// Any other step of setting up failed.
    pub(super) fn setup(step: &str, error: &impl Cause) -> Self {
        let what = format!("{step}: {error:#}");
        if error.is_out_of_memory() {
            Self::OutOfMemory(format!(
                "{what}. Lower capture.buffer_pages, or give it more memory"
            ))
        } else {
            Self::Unsupported(what)
        }
    }
}

/// What the kernel said.
pub(super) trait Cause: fmt::Display {
    fn is_out_of_memory(&self) -> bool;
}

impl Cause for io::Error {
    fn is_out_of_memory(&self) -> bool {
        self.kind() == io::ErrorKind::OutOfMemory
    }
}

impl Cause for libbpf_rs::Error {
    fn is_out_of_memory(&self) -> bool {
        self.kind() == libbpf_rs::ErrorKind::OutOfMemory
    }
}
