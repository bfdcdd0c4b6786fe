//! See `fuzz::label`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::label::check(bytes));
