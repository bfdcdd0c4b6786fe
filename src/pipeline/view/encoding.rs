//! Encodes the names in a key as bytes, and checks them when they are decoded.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name of a cgroup: `NAME_MAX` of `limits.h`.
const NAME_MAX: usize = 255;

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

/// A program's name without the padding.
pub(super) mod comm {
    use super::{Bytes, Deserialize, Deserializer, Error, Serialize, Serializer};
    use crate::record::{Comm, nul_terminated};

    pub(in super::super) fn serialize<S: Serializer>(
        comm: &Comm,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        Bytes(nul_terminated(comm)).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
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
}

/// The name of a unit, a slice or a container.
pub(super) mod cgroup_name {
    use std::sync::Arc;

    use super::{Bytes, Deserialize, Deserializer, Error, NAME_MAX, Serialize, Serializer};

    #[allow(clippy::ref_option)] // serde passes a reference to the field
    pub(in super::super) fn serialize<S: Serializer>(
        name: &Option<Arc<[u8]>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        name.as_deref().map(Bytes).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<[u8]>>, D::Error> {
        let name = Option::<&[u8]>::deserialize(from)?;
        if name.is_some_and(|name| name.len() > NAME_MAX) {
            return Err(D::Error::custom("the name of a cgroup is too long"));
        }
        Ok(name.map(Arc::from))
    }
}
