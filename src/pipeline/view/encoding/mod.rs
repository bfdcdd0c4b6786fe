//! Encodes the names in a key as bytes, and checks them when they are decoded.

mod bytes;
pub(super) mod comm;
pub(super) mod name;
pub(super) mod own;
