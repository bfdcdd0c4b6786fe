//! Tests that need a machine of their own.

/// Refuse to go on anywhere but in a guest of `make test-vm`: on another machine these
/// tests would disturb what runs there, or be disturbed by it.
pub(crate) fn only_in_a_guest() {
    assert!(
        std::env::var_os("EXECSNOOPD_GUEST").is_some(),
        "this needs a machine of its own: run it by `make test-vm`"
    );
}
