//! Fuzzes `fuzz::identities`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::identities::check(data));
