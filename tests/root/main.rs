//! Real programs, real BPF, the real daemon. These tests need root and fail without it: a tier that
//! did not run must not look like one that passed.
//!
//! A daemon counts what the whole host executes, including what other tests execute. No other test
//! runs while a test executes programs: see [`testkit::host`].
//!
//! `make test-vm` runs some of these modules in guests (virtual machines), which have no compiler and
//! few tools.

mod attacks; // hostile clients
mod cgroups; // units, slices and containers, in cgroups that the test creates
mod containers; // containers that runc and podman run
mod cpu_time; // CPU time, compared with what wait4(2) reports
mod doctor; // the report of `execsnoopd doctor`
mod execs; // storms of execs, full buffers, names
mod exits; // exit statuses, lifetimes
mod facts; // what the name of a program does not show
mod failures; // failed execs, and the classic mode
mod failures_survive; // restarts and kills that the counts of failed execs survive
mod forgotten_names; // more names of files than the kernel side keeps
mod handover; // programs that a later daemon continues with
mod hooks; // hooks and standby programs that this kernel may not need
mod image; // the container image, with the privileges of a pod
mod jobs; // the watches on a service and on jobs that the packages have
mod log; // a log that cannot be written
mod logins; // who logged in, through su, sudo, screen and cron
mod namespaces; // pid, user and time namespaces
mod outcomes; // how processes end, by view
mod per_second; // execs in each second
mod privileges; // capabilities
mod refusals; // system calls that fail during the start
mod replaced; // daemons with another build or configuration than the one before
mod shortage; // too few threads, too little memory
mod shutdown; // signals at every stage of the start and the stop
mod startup; // starts that fail
mod starved; // a storm while the daemon gets too little CPU time or memory
mod store; // descriptor stores that are full or hold something else
mod survival; // restarts and kills that the counts survive
mod suspicious; // the watches on facts that the packages have
mod systemd; // notifications, reloads, passed sockets
mod trace; // the live table
mod users; // names of users while the name service hangs
mod watches; // counts of execs that match conditions
mod ways; // every way to execute a program
mod web; // the web configuration of the unprivileged daemon

/// Compiles the programs for the guests, which have no compiler: `make test-vm` runs this test on the
/// host first.
#[test]
fn programs_are_compiled() {
    use testkit::compiled;
    assert!(compiled::nop().exists());
    #[cfg(target_arch = "x86_64")]
    assert!(compiled::nop32().exists());
    assert!(compiled::ways().exists());
    assert!(compiled::inside().exists());
    assert!(compiled::failing(trace::FAILURES, 0).exists());
}
