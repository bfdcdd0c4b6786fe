//! Trims the heap, so that memory that only the start needed goes back to the kernel.

#![allow(unsafe_code)] // one of the exceptions named in Cargo.toml: malloc_trim(3)

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
