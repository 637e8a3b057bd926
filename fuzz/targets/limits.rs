//! Fuzzes `fuzz::limits`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::limits::check(data));
