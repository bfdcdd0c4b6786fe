//! The decoder agrees with testkit's encoder, which implements the layout of `bpf/execsnoop.h`
//! independently.

use execsnoopd::record::{DecodeError, Event, Kind, Observation, Outcome, kind, nul_terminated};
use proptest::prelude::*;
use testkit::bytes::encode;

/// Perf records are padded to a multiple of 8 bytes.
const MAX_PADDING: usize = 7;

fn sample() -> Event {
    let mut event = Event {
        time_ns: 7,
        pid: 8,
        ppid: 9,
        ..Event::default()
    };
    event.subject.uid = 10;
    event.subject.cgroup_id = 11;
    event.subject.comm[..3].copy_from_slice(b"abc");
    event
}

#[test]
fn an_event_is_decoded_with_any_padding() {
    for padding in 0..=MAX_PADDING {
        let mut bytes = encode(&sample());
        bytes.extend(std::iter::repeat_n(0xff, padding));
        let event = Event::decode(&bytes).unwrap();
        assert_eq!(
            (event.time_ns, event.pid, event.ppid, event.subject.uid),
            (7, 8, 9, 10)
        );
        assert_eq!(event.subject.cgroup_id, 11);
        assert_eq!(nul_terminated(&event.subject.comm), b"abc");
    }
}

#[test]
fn bytes_after_the_nul_of_a_name_are_dropped() {
    let mut stale = sample();
    stale.subject.comm = *b"abc\0stale bytes\0";
    let event = Event::decode(&encode(&stale)).unwrap();
    assert_eq!(event.subject.comm, sample().subject.comm);
}

#[test]
fn exits_without_an_outcome_and_failures_without_an_error_are_rejected() {
    let mut failure = sample();
    failure.subject.kind = Kind::Failure.in_kernel();
    failure.subject.retval = -2;
    let failed = Event::decode(&encode(&failure)).unwrap();
    assert_eq!(kind(&failed.subject), Kind::Failure);
    for retval in [1, -256, i32::MIN] {
        failure.subject.retval = retval;
        let error = Event::decode(&encode(&failure)).unwrap_err();
        assert_eq!(error, DecodeError::Errno(retval));
    }
    let mut exit = failure;
    exit.subject.kind = Kind::Exit.in_kernel();
    assert_eq!(
        Event::decode(&encode(&exit)).unwrap_err(),
        DecodeError::Outcome(0)
    );
    let mut freed = sample();
    freed.subject.kind = Kind::CpuTime.in_kernel();
    let freed = Event::decode(&encode(&freed)).unwrap();
    assert_eq!(kind(&freed.subject), Kind::CpuTime);
}

#[test]
fn an_exit_has_the_outcome_that_the_kernel_side_gave_it() {
    let mut exit = sample();
    exit.subject.kind = Kind::Exit.in_kernel();
    for (code, outcome) in (1..).zip(Outcome::ALL) {
        exit.subject.outcome = code;
        let subject = Event::decode(&encode(&exit)).unwrap().subject;
        assert_eq!(kind(&subject), Kind::Exit);
        assert_eq!(Outcome::of(&subject), Some(outcome));
    }
    exit.subject.outcome = 6;
    assert_eq!(
        Event::decode(&encode(&exit)).unwrap_err(),
        DecodeError::Outcome(6)
    );
}

proptest! {
    #[test]
    fn bytes_of_the_right_length_decode_to_the_same_bytes(
        mut bytes in proptest::collection::vec(any::<u8>(), size_of::<Event>()),
    ) {
        bytes[60] = 0; // kind: an exec
        bytes[62] %= 6; // origin
        bytes[24..56].iter_mut().for_each(|b| *b |= 1); // no NUL in the names
        let event = Event::decode(&bytes).unwrap();
        prop_assert_eq!(&encode(&event)[..], &bytes[..]);
    }
}
