//! A program's name without the padding.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bytes::Bytes;
use crate::record::{Comm, nul_terminated};

pub(in crate::pipeline::view) fn serialize<S: Serializer>(
    comm: &Comm,
    to: S,
) -> Result<S::Ok, S::Error> {
    Bytes(nul_terminated(comm)).serialize(to)
}

pub(in crate::pipeline::view) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Comm, D::Error> {
    let name = <&[u8]>::deserialize(from)?;
    let mut comm = Comm::default();
    let padded = comm.get_mut(..name.len());
    let padded = padded.ok_or_else(|| D::Error::custom("a program's name is too long"))?;
    padded.copy_from_slice(name);
    if nul_terminated(&comm) != name {
        return Err(D::Error::custom("a program's name contains a NUL"));
    }
    Ok(comm)
}
