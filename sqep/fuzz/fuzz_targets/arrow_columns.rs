//! `cargo fuzz run arrow_columns`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sqep_fuzz::arrow_columns(data));
