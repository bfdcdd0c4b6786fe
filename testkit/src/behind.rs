//! The programs that stand behind others, on kernels that do not need them.

use execsnoopd::capture::probe::{Place, Treatment};

/// As a kernel that may skip programs at both places.
pub fn always_skipping(place: Place) -> Treatment {
    Treatment {
        may_skip: true,
        newest_first: place == Place::Fexit,
    }
}
