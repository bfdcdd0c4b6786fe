//! The name of a file, or a name from the path of a cgroup.

use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bytes::Bytes;

/// The longest name of a file or a cgroup in bytes, as in `limits.h`.
const NAME_MAX: usize = 255;

#[allow(clippy::ref_option)] // serde passes a reference to the field
pub(in crate::pipeline::view) fn serialize<S: Serializer>(
    name: &Option<Arc<[u8]>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    name.as_deref().map(Bytes).serialize(to)
}

pub(in crate::pipeline::view) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Arc<[u8]>>, D::Error> {
    let name = Option::<&[u8]>::deserialize(from)?;
    if name.is_some_and(|name| name.len() > NAME_MAX) {
        return Err(D::Error::custom(
            "the name of a cgroup or a file is too long",
        ));
    }
    Ok(name.map(Arc::from))
}
