//! The values of the labels that the configuration defines.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserializer, Serializer};

use super::bytes::Bytes;
use crate::names::own_label::MAX_VALUE;

type Names = Box<[Arc<[u8]>]>;

#[allow(clippy::borrowed_box)] // serde passes a reference to the field
pub(in crate::pipeline::view) fn serialize<S: Serializer>(
    values: &Names,
    to: S,
) -> Result<S::Ok, S::Error> {
    let mut to = to.serialize_seq(Some(values.len()))?;
    for value in values {
        to.serialize_element(&Bytes(value))?;
    }
    to.end()
}

pub(in crate::pipeline::view) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Names, D::Error> {
    from.deserialize_seq(Values)
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = from.next_element::<&[u8]>()? {
            if value.len() > MAX_VALUE {
                return Err(A::Error::custom("the value of a label is too long"));
            }
            // The default allocates nothing.
            values.push(if value.is_empty() {
                Arc::default()
            } else {
                value.into()
            });
        }
        Ok(values.into())
    }
}
