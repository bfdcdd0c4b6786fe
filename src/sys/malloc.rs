//! Keeps the heap small.

#![allow(unsafe_code)] // one of the exceptions named in Cargo.toml: mallopt(3) and malloc_trim(3)

/// Makes all threads share one heap. By default, glibc gives each of the first threads its own
/// (`mallopt(3)`, `M_ARENA_MAX`), and in each of them, the memory of the largest answer to a scrape can
/// remain. Call this before the first thread starts.
pub fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) has no preconditions, and no other thread runs.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Returns free memory of the process to the kernel.
///
/// libbpf reads megabytes of the kernel's types at each load. When it frees them, glibc raises
/// its threshold and keeps the memory (`mallopt(3)`, `M_MMAP_THRESHOLD`). Other C libraries do
/// not need this.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) is thread-safe and has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}
