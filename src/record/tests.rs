use proptest::prelude::*;

use super::bytes::MAX_PADDING;
use super::*;
use crate::bpf::types;

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
            Err(DecodeError::Errno(retval)) => prop_assert!(fits && !(-255..0).contains(&retval)),
            Err(DecodeError::Outcome(outcome)) => prop_assert!(fits && !(1..=5).contains(&outcome)),
        }
        let _ = (Event::decode_subject(&bytes), Traced::decode_subject(&bytes));
        let _ = (decode_tally_count(&bytes), decode_ledger(&bytes), decode_failures(&bytes), decode_exits(&bytes), decode_cgroup_name(&bytes));
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
