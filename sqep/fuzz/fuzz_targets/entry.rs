//! `cargo fuzz run entry`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sqep_fuzz::entry(data));
