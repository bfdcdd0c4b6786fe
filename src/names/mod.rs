//! Names as text, from the numbers and bytes of the kernel.
//!
//! Numbers and bytes come in, text goes out: names of users, units and containers, names of
//! errors, and escaped label values. `parse` is the opposite direction: text that users write, to
//! numbers and bytes. Everything is pure except `users`, which looks names up on a separate
//! thread, and `parse::uid`, which looks up a user. `escape` decides how bytes become text.

pub mod cgroup;
pub mod errno;
pub mod escape;
pub mod parse;
pub mod users;
