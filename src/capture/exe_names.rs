//! The names of files that were executed, by the ids that `bpf/exe.h` gives them.

use std::hash::Hasher;
use std::io;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use rustix::rand::{GetRandomFlags, getrandom};
use siphasher::sip::SipHasher13;

use crate::record;

/// The key of the hash of names. Somebody who knows it could find names with the same id.
pub(super) type Key = [u64; 2];

pub(super) fn new_key() -> io::Result<Key> {
    let mut bytes = [0; size_of::<Key>()];
    // The kernel returns up to 256 bytes as a whole (getrandom(2)).
    getrandom(&mut bytes[..], GetRandomFlags::empty())?;
    let (words, _) = bytes.as_chunks();
    Ok([0, 1].map(|n| u64::from_ne_bytes(words[n])))
}

/// Returns the id of a name.
pub(super) fn id(key: Key, name: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    hasher.write(name);
    hasher.finish()
}

/// Returns the name with this id, if the map still has it. The kernel can replace an entry while it is
/// read, so a name is accepted only if it hashes to the wanted id.
pub(super) fn look_up(map: &MapHandle, key: Key, wanted: u64) -> io::Result<Option<Vec<u8>>> {
    let found = map.lookup(&wanted.to_ne_bytes(), MapFlags::ANY);
    let Some(bytes) = found.map_err(io::Error::other)? else {
        return Ok(None);
    };
    let decoded = record::decode_exe_name(&bytes).map_err(io::Error::other)?;
    let name = record::nul_terminated(&decoded.name);
    Ok((id(key, name) == wanted).then(|| name.to_vec()))
}
