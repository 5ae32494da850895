//! Day bars from the daily files of {{name}}.
//!
//! A line's way: [`source`] finds the files and takes their lines in order, [`row`] says what a line means, and the
//! publishing loop of the core crate does everything else.

pub mod config;
pub mod row;
pub mod source;
