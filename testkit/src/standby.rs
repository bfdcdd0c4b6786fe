//! Standby programs on kernels that do not need them.

use execsnoopd::capture::hook::AttachPoint;
use execsnoopd::capture::preemption::Preemption;

/// The answer of a kernel that may skip programs at every attach point.
pub fn always_skipping(place: AttachPoint) -> Preemption {
    Preemption {
        may_skip: true,
        newest_first: place == AttachPoint::Fexit,
    }
}
