//! Tests that need a machine on which nothing else runs. `make test-vm` runs them in guests (virtual
//! machines). Elsewhere they fail, because they would disturb other programs or be disturbed by them.

mod clock; // the time of day is set while the daemon counts
mod hotplug; // CPUs go offline and come online
mod memory; // clients do not read, and memory is limited
mod outcomes; // the OOM killer, of a whole cgroup and of the host
mod totals; // totals where nothing else executes

/// Compiles the programs for the guests, which have no compiler: `make test-vm` runs this test on the
/// host first.
#[test]
fn programs_are_compiled() {
    use testkit::compiled;
    assert!(compiled::nop().exists());
    assert!(compiled::failing(totals::FAILURES, totals::STATUS).exists());
    let storm = compiled::failing(totals::STORM_FAILURES, totals::STORM_STATUS);
    assert!(storm.exists());
    assert!(compiled::ways().exists());
}
