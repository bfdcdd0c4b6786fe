//! The programs that stand behind others, on kernels that do not need them.

use execsnoopd::capture::preemption::{AttachPoint, Preemption};

/// As a kernel that may skip programs at both places.
pub(crate) fn always_skipping(place: AttachPoint) -> Preemption {
    Preemption {
        may_skip: true,
        newest_first: place == AttachPoint::Fexit,
    }
}
