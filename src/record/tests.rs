use proptest::prelude::*;

use super::bytes::MAX_PADDING;
use super::encode::encode;
use super::*;
use crate::bpf::types;

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
fn an_event_survives_the_way_through_bytes_with_any_padding() {
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
fn what_follows_the_first_nul_of_a_name_is_not_part_of_it() {
    let mut stale = sample();
    stale.subject.comm = *b"abc\0stale bytes\0";
    let event = Event::decode(&encode(&stale)).unwrap();
    assert_eq!(event.subject.comm, sample().subject.comm);
}

#[test]
fn a_failed_exec_is_refused_and_an_exit_may_have_any_status() {
    let mut failure = sample();
    failure.subject.retval = -2;
    assert_eq!(
        Event::decode(&encode(&failure)).unwrap_err(),
        DecodeError::Retval(-2)
    );
    let mut exit = failure;
    exit.subject.is_exit = 1;
    let exit = Event::decode(&encode(&exit)).unwrap();
    assert_eq!(kind(&exit.subject), Kind::Exit);
    assert_eq!(exit.subject.retval, -2);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let fits = (size_of::<Event>()..=size_of::<Event>() + MAX_PADDING).contains(&bytes.len());
        match Event::decode(&bytes) {
            Ok(event) => {
                prop_assert!(fits);
                prop_assert!(nul_terminated(&event.subject.comm).len() <= 16);
            }
            Err(DecodeError::Length(len)) => prop_assert!(!fits && len == bytes.len()),
            Err(DecodeError::Retval(retval)) => prop_assert!(fits && retval != 0),
        }
        let _ = (Event::decode_subject(&bytes), Traced::decode_subject(&bytes));
        let _ = (decode_tally_count(&bytes), decode_ledger(&bytes), decode_failures(&bytes), decode_cgroup_name(&bytes));
    }

    #[test]
    fn bytes_of_the_right_length_decode_to_the_same_bytes(
        mut bytes in proptest::collection::vec(any::<u8>(), size_of::<Event>()),
    ) {
        bytes[12..16].fill(0); // retval
        bytes[48] = 0; // is_exit
        bytes[16..48].iter_mut().for_each(|b| *b |= 1); // no NUL in the names
        let event = Event::decode(&bytes).unwrap();
        prop_assert_eq!(&encode(&event)[..], &bytes[..]);
    }

    #[test]
    fn any_bytes_of_the_right_length_are_a_traced_observation(
        bytes in proptest::collection::vec(any::<u8>(), size_of::<types::traced>()),
    ) {
        let traced = Traced::decode(&bytes).unwrap();
        if let Some(args) = traced.args {
            prop_assert!(!args.bytes.is_empty() && args.bytes.len() <= 1408);
        }
    }
}
