//! Text for what the kernel numbers or leaves raw.
//!
//! Numbers and bytes come in, text goes out: names of users, units and containers, names of
//! errors, and escaped label values. `parse` is the opposite direction: text that users write, to
//! numbers and bytes. Everything is pure except `users`, which looks names up on a thread of its
//! own, and `parse::uid`. `escape` decides how bytes become text.

pub mod cgroup;
pub mod errno;
pub mod escape;
pub mod parse;
pub mod users;
