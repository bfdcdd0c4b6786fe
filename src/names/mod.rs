//! Names as text, from the numbers and bytes of the kernel.
//!
//! Numbers and bytes come in, text goes out: names of users, units and containers, names of
//! errors, and escaped label values. `parse` is the opposite direction: text that users write, to
//! numbers and bytes, as are the patterns of `glob` and the expressions of `own_label` and `rename`.
//! Everything is pure except `users`, which looks names up on a separate thread, and `parse::uid`, which
//! looks up a user. `escape` decides how bytes become text.

pub mod cgroup;
pub mod errno;
pub mod escape;
mod expression;
pub mod glob;
pub mod own_label;
pub mod parse;
mod pod;
pub mod rename;
pub mod users;
