//! Makes the daemon attach standby copies of its programs on kernels that do not need them, too.

use execsnoopd::capture::hook::AttachPoint;

/// Answers for every attach point that the kernel may skip programs there.
pub fn always_skipping(_: AttachPoint) -> bool {
    true
}
