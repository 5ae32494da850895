//! `cargo fuzz run config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sqep_fuzz::config(data));
