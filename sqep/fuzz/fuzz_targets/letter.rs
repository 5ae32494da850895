//! `cargo fuzz run letter`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sqep_fuzz::letter(data));
