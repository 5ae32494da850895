//! `cargo fuzz run arrow_rows`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sqep_fuzz::arrow_rows(data));
