//! Tests that need a machine of their own.

/// Whether this is one: then nothing else executes anything.
pub fn in_a_guest() -> bool {
    std::env::var_os("EXECSNOOPD_GUEST").is_some()
}

/// Refuse to go on anywhere but in a guest of `make test-vm`: on another machine these
/// tests would disturb what runs there, or be disturbed by it.
pub fn only_in_a_guest() {
    assert!(
        in_a_guest(),
        "this needs a machine of its own: run it by `make test-vm`"
    );
}
