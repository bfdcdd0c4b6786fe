//! See `fuzz::tls`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::tls::check(bytes));
