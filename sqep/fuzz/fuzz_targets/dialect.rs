//! `cargo fuzz run dialect`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sqep_fuzz::dialect(data));
