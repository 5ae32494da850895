//! `cargo fuzz run csv`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sqep_fuzz::csv(data));
