//! `cargo fuzz run symbol`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sqep_fuzz::symbol(data));
