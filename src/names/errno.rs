//! Names of system call errors.

use nix::errno::Errno;

/// Returns the C name, such as `ENOENT`, or `E` and the number if there is no name.
pub fn name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("E{errno}"),
        errno => format!("{errno:?}"),
    }
}

/// Returns the message of `strerror(3)`.
pub fn meaning(errno: i32) -> &'static str {
    Errno::from_raw(errno).desc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_error_has_its_name_and_an_unknown_one_its_number() {
        assert_eq!(
            (&*name(2), meaning(2)),
            ("ENOENT", "No such file or directory")
        );
        assert_eq!((&*name(8), meaning(8)), ("ENOEXEC", "Exec format error"));
        assert_eq!((&*name(4000), meaning(4000)), ("E4000", "Unknown errno"));
    }
}
