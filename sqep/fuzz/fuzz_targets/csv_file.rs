//! `cargo fuzz run csv_file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sqep_fuzz::csv_file(data));
