//! See `fuzz::metrics`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::metrics::check(bytes));
