//! Encodes events in the layout of `bpf/execsnoop.h`. The layout is repeated here on purpose: tests
//! check that the decoder agrees with it. Tests and benchmarks also create events this way, without
//! a kernel.

use execsnoopd::record::{Event, TallyCount};

/// The 96 bytes of a `struct event`.
pub fn encode(event: &Event) -> Vec<u8> {
    let mut bytes = encode_subject(event);
    bytes.extend(event.time_ns.to_ne_bytes());
    bytes.extend(event.pid.to_ne_bytes());
    bytes.extend(event.ppid.to_ne_bytes());
    bytes.extend(event.lifetime_ns.to_ne_bytes());
    bytes.extend(event.cpu_ns.to_ne_bytes());
    assert_eq!(bytes.len(), 96);
    bytes
}

/// The 64 bytes of an event's `struct subject`.
pub fn encode_subject(event: &Event) -> Vec<u8> {
    let subject = &event.subject;
    let mut bytes = Vec::with_capacity(96);
    bytes.extend(subject.cgroup_id.to_ne_bytes());
    bytes.extend(subject.exe.to_ne_bytes());
    bytes.extend(subject.uid.to_ne_bytes());
    bytes.extend(subject.retval.to_ne_bytes());
    bytes.extend(subject.comm);
    bytes.extend(subject.parent_comm);
    bytes.extend(subject.login.to_ne_bytes());
    bytes.push(subject.kind);
    bytes.push(subject.outcome);
    bytes.push(subject.origin);
    bytes.push(subject.facts);
    assert_eq!(bytes.len(), 64);
    bytes
}

/// The 24 bytes of a `struct tally_count`.
pub fn encode_count(count: &TallyCount) -> Vec<u8> {
    [count.count, count.cpu_ns, count.lifetime_ns]
        .map(u64::to_ne_bytes)
        .concat()
}
