//! See `fuzz::web_config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::web_config::check(bytes));
