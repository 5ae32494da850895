//! Bars from CSV files of any known dialect.
//!
//! A file's way: [`files`] turns arguments into files, [`ledger`] says what is to be done with each, a thread looks at
//! it and [`load`] reads it in its [`dialect`], [`enrich`] joins what [`side`] files know, [`source`] hands its rows to
//! the publishing loop in the order of the input, and [`report`] tells what became of them. In a daemon [`watch`] says
//! when to look again.

mod code;
pub mod config;
pub mod dialect;
pub mod dry;
pub mod enrich;
pub mod error;
pub mod files;
mod give;
mod input;
mod judge;
pub mod ledger;
mod lines;
pub mod load;
mod number;
mod options;
mod parse;
mod pass;
pub mod plan;
mod pool;
mod repeat;
pub mod report;
pub mod row;
pub mod side;
pub mod source;
mod tally;
mod text;
pub mod watch;
mod work;
pub mod write;
