//! Records of the kernel side: decoding and encoding a record again gives the same bytes.

use execsnoopd::record::{
    CgroupName, DecodeError, Event, ExeName, Ledger, Observation, Subject, Text, Traced,
    decode_cgroup_name, decode_exe_name, decode_failures, decode_ledger, decode_tally_count,
};

use crate::up_to_the_edge;
use testkit::bytes::{encode, encode_count, encode_subject};

/// Sizes of the records in `bpf/execsnoop.h`. These and the offsets below are written by hand, so
/// that they do not depend on the code under test.
const SUBJECT: usize = 64;
const EVENT: usize = 96;
const TRACED: usize = 2224;
const LEDGER: usize = 120;
const TALLY_COUNT: usize = 24;

/// The largest number of bytes that a buffer can add to a record: perf records are padded to a
/// multiple of 8.
const PADDING: usize = 7;

/// Decodes any bytes as each kind of record.
pub fn check(bytes: &[u8]) {
    let room = |size: usize| (size..=size + PADDING).contains(&bytes.len());
    let (event, traced) =
        up_to_the_edge::look(bytes, |bytes| (Event::decode(bytes), Traced::decode(bytes)));
    match event {
        Ok(event) => {
            assert!(room(EVENT));
            assert_eq!(encode(&event), clean(&bytes[..EVENT]));
        }
        Err(DecodeError::Length(len)) => assert!(!room(EVENT) && len == bytes.len()),
        Err(error) => assert_eq!(error, uncounted(bytes)),
    }
    match traced {
        Ok(traced) => {
            assert!(room(EVENT) || room(TRACED));
            assert_eq!(encode(traced.event()), clean(&bytes[..EVENT]));
            let (path, args) = if room(TRACED) {
                (path(bytes), args(bytes))
            } else {
                (None, None)
            };
            assert_eq!((traced.path, traced.args), (path, args));
        }
        Err(DecodeError::Length(len)) => {
            assert!(!room(EVENT) && !room(TRACED) && len == bytes.len());
        }
        Err(error) => assert_eq!(error, uncounted(bytes)),
    }
    check_what_has_one_size(bytes);
}

/// Decodes the bytes as each kind of map key and map value, which have no padding.
fn check_what_has_one_size(bytes: &[u8]) {
    let (subject, traced) = up_to_the_edge::look(bytes, |bytes| {
        (Event::decode_subject(bytes), Traced::decode_subject(bytes))
    });
    for subject in [subject, traced] {
        match subject {
            Ok(subject) => assert_eq!(encode_subject(&of(subject)), clean(bytes)),
            Err(DecodeError::Length(len)) => assert!(len != SUBJECT && len == bytes.len()),
            Err(error) => assert_eq!(error, uncounted(bytes)),
        }
    }
    let (count, ledger, failures, name, exe) = up_to_the_edge::look(bytes, |bytes| {
        let (count, ledger) = (decode_tally_count(bytes), decode_ledger(bytes));
        (
            count,
            ledger,
            decode_failures(bytes),
            decode_cgroup_name(bytes),
            decode_exe_name(bytes),
        )
    });
    match count {
        Ok(count) => assert_eq!(encode_count(&count), bytes),
        Err(error) => {
            assert!(bytes.len() != TALLY_COUNT && error == DecodeError::Length(bytes.len()));
        }
    }
    match ledger {
        Ok(ledger) => assert_eq!(encode_ledger(&ledger), bytes),
        Err(error) => assert!(bytes.len() != LEDGER && error == DecodeError::Length(bytes.len())),
    }
    match failures {
        Ok(failures) => {
            let mut again = [0; 512];
            let unattributed = failures
                .unattributed()
                .map(|(errno, count)| (errno + 256, count));
            for (index, count) in failures.iter().chain(unattributed) {
                again[usize::try_from(index).expect("an index")] = count;
            }
            assert_eq!(again.map(u64::to_ne_bytes).concat(), bytes);
        }
        Err(error) => assert!(bytes.len() != 4096 && error == DecodeError::Length(bytes.len())),
    }
    match name {
        Ok(CgroupName { parent_id, name }) => {
            assert_eq!([&parent_id.to_ne_bytes()[..], &name].concat(), bytes);
        }
        Err(error) => assert!(bytes.len() != 264 && error == DecodeError::Length(bytes.len())),
    }
    match exe {
        Ok(ExeName { name }) => assert_eq!(name, bytes),
        Err(error) => assert!(bytes.len() != 256 && error == DecodeError::Length(bytes.len())),
    }
}

/// Returns what is wrong with a subject that the kernel side does not send.
fn uncounted(bytes: &[u8]) -> DecodeError {
    let (kind, outcome, origin) = (bytes[60], bytes[61], bytes[62]);
    match kind {
        4.. => return DecodeError::Kind(kind),
        _ if origin > 5 => return DecodeError::Origin(origin),
        2 => {
            assert!(!(1..=5).contains(&outcome));
            return DecodeError::Outcome(outcome);
        }
        kind => assert_eq!(kind, 1),
    }
    let retval = int(bytes, 20).cast_signed();
    assert!(!(-255..0).contains(&retval));
    DecodeError::Errno(retval)
}

/// Returns an event with this subject, because [`encode_subject`] takes an event.
fn of(subject: Subject) -> Event {
    Event {
        subject,
        ..Event::default()
    }
}

fn encode_ledger(ledger: &Ledger) -> Vec<u8> {
    let fields = [
        ledger.sent,
        ledger.tallied,
        ledger.unattributed,
        ledger.buffer_full,
        ledger.no_buffer,
        ledger.other,
        ledger.recovered.cast_unsigned(),
        ledger.unattributed_cpu_ns,
    ];
    let last = [ledger.unattributed_lifetime_ns, ledger.seen];
    let fields = fields.iter().chain(&ledger.unattributed_exits).chain(&last);
    fields.flat_map(|field| field.to_ne_bytes()).collect()
}

/// Clears both names of a subject, or of a record that begins with one, after their first NUL.
fn clean(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for name in [24..40, 40..56] {
        let name = &mut bytes[name];
        let end = until_nul(name).len();
        name[end..].fill(0);
    }
    bytes
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn int(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn path(bytes: &[u8]) -> Option<Text> {
    let path = Text {
        bytes: until_nul(&bytes[304..816]).to_vec(),
        is_truncated: bytes[104] != 0,
    };
    (int(bytes, 96) > 0).then_some(path)
}

fn args(bytes: &[u8]) -> Option<Text> {
    let size = int(bytes, 100) as usize;
    let there = &bytes[816..TRACED];
    let args = Text {
        bytes: there[..size.min(there.len())].to_vec(),
        is_truncated: size > there.len(),
    };
    (size > 0).then_some(args)
}
