//! Errors of system calls, for people.

use nix::errno::Errno;

/// As it is called in C, `ENOENT`; `E` and the number of one that has no name.
pub fn name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => format!("E{errno}"),
        errno => format!("{errno:?}"),
    }
}

/// As `strerror(3)` has it.
pub fn meaning(errno: i32) -> &'static str {
    Errno::from_raw(errno).desc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_name_and_one_that_is_not_known_its_number() {
        assert_eq!(
            (&*name(2), meaning(2)),
            ("ENOENT", "No such file or directory")
        );
        assert_eq!((&*name(8), meaning(8)), ("ENOEXEC", "Exec format error"));
        assert_eq!((&*name(4000), meaning(4000)), ("E4000", "Unknown errno"));
    }
}
