use std::mem::offset_of;

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
            Err(DecodeError::Kind(kind)) => prop_assert!(fits && kind > 3),
            Err(DecodeError::Origin(origin)) => prop_assert!(fits && origin > 5),
            Err(DecodeError::Errno(retval)) => prop_assert!(fits && !(-255..0).contains(&retval)),
            Err(DecodeError::Outcome(outcome)) => prop_assert!(fits && !(1..=5).contains(&outcome)),
        }
        let _ = (Event::decode_subject(&bytes), Traced::decode_subject(&bytes));
        let _ = (decode_tally_count(&bytes), decode_ledger(&bytes), decode_failures(&bytes), decode_exits(&bytes), decode_cgroup_name(&bytes), decode_exe_name(&bytes));
    }

    #[test]
    fn any_bytes_of_the_right_length_and_a_known_kind_are_a_traced_observation(
        bytes in proptest::collection::vec(any::<u8>(), size_of::<types::traced>()),
    ) {
        let mut bytes = bytes;
        let subject = offset_of!(types::traced, event.subject);
        bytes[subject + offset_of!(Subject, kind)] = Kind::Exec.in_kernel();
        bytes[subject + offset_of!(Subject, origin)] %= 6;
        let traced = Traced::decode(&bytes).unwrap();
        if let Some(args) = traced.args {
            prop_assert!(!args.bytes.is_empty() && args.bytes.len() <= 1408);
        }
    }
}
