//! What the start has used and nothing needs later, given back.

#![allow(unsafe_code)] // one of the three exceptions named in Cargo.toml: malloc_trim(3)

/// Give memory that is free in the process back to the kernel.
///
/// libbpf goes through the kernel's types at each load, in megabytes. glibc takes their
/// release for a sign that as much will be asked for again, and keeps it (`mallopt(3)`,
/// `M_MMAP_THRESHOLD`). Other C libraries are left to themselves.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it is thread-safe and asks for nothing (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
