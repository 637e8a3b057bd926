//! Fuzzes `fuzz::incidents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::incidents::check(data));
