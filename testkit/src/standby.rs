//! Standby programs on kernels that do not need them.

use execsnoopd::capture::probe::{Place, Treatment};

/// The answer of a kernel that may skip programs at every attach point.
pub fn always_skipping(place: Place) -> Treatment {
    Treatment {
        may_skip: true,
        newest_first: place == Place::Fexit,
    }
}
