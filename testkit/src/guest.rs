//! Guests: virtual machines that run nothing but tests.

/// Whether this is a guest of `make test-vm`, where nothing but the test executes programs.
pub fn in_a_guest() -> bool {
    std::env::var_os("EXECSNOOPD_GUEST").is_some()
}

/// Panics outside of a guest, where the test would disturb other programs or be disturbed by them.
pub fn only_in_a_guest() {
    assert!(
        in_a_guest(),
        "this test must have a machine to itself: run it with `make test-vm`"
    );
}
