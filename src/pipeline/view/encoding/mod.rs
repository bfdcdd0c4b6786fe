//! Encodes the names in a key as bytes, and checks them when they are decoded.

mod bytes;
pub(super) mod cgroup_name;
pub(super) mod comm;
pub(super) mod own;
